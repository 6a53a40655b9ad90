"""Folder of a coordinator: creation, completion, and errors that leave it unchanged."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.new_coordinator import content_of, new_coordinator

from fedfr.core.errors import FedfrError
from fedfr.deployment.certificates import check_server_certificate, load_certificate
from fedfr.deployment.coordinator import Coordinator, CoordinatorConfig


def test_content_of_a_new_folder(coordinator: Coordinator) -> None:
    made = {"server.yaml", "sites", "runs", "tls", "tls/ca.crt", "tls/ca.key", "tls/server.crt", "tls/server.key"}
    assert content_of(coordinator.folder).keys() == made
    for path in coordinator.tls.glob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    server, authority = (load_certificate(coordinator.tls / f"{name}.crt") for name in ("server", "ca"))
    assert server.issuer == authority.subject
    assert coordinator.sites() == {}
    assert coordinator.submitted() == []


@pytest.mark.parametrize(
    ("name", "hosts"),
    [
        ("hospitals", ["fed.example.org", "192.0.2.7", "2001:db8::7"]),
        ("007", ["localhost"]),
        ("off", ["1e5", "null"]),
        ("n" * 64, [f"{'h' * 60}.{'x' * 60}.example"]),
        ("2026-01-02", ["*.example.org", "under_scored"]),
    ],
)
def test_the_commented_configuration_reads_back(tmp_path: Path, name: str, hosts: list[str]) -> None:
    folder = tmp_path / "made"
    made = new_coordinator(folder, name=name, hosts=hosts, port=1443, inner_port=1442)
    text = (folder / "server.yaml").read_text("utf-8")
    assert sum(line.startswith("#") for line in text.splitlines()) >= 5
    assert Coordinator.open(folder).config == made.config
    assert made.config == CoordinatorConfig(name=name, hosts=tuple(hosts), port=1443, inner_port=1442)


def test_ipv6_is_written_with_or_without_brackets(tmp_path: Path) -> None:
    made = new_coordinator(tmp_path / "made", hosts=["[2001:db8::7]", "::1", "fed.example.org"])
    assert Coordinator.open(made.folder).config.hosts == ("2001:db8::7", "::1", "fed.example.org")
    assert [str(address) for address in made.addresses] == ["[2001:db8::7]:9443", "[::1]:9443", "fed.example.org:9443"]
    check_server_certificate(made.tls, made.config.hosts)


def test_init_again_adds_missing_files_and_replaces_none(coordinator: Coordinator) -> None:
    before = content_of(coordinator.folder)
    assert new_coordinator(coordinator.folder, name="others", hosts=["elsewhere"], port=1).config == coordinator.config
    assert content_of(coordinator.folder) == before
    (coordinator.folder / "sites").rmdir()
    for end in ("crt", "key"):
        (coordinator.tls / f"server.{end}").unlink()
    new_coordinator(coordinator.folder)
    after = content_of(coordinator.folder)
    assert after.keys() == before.keys()
    assert {name for name in before if after[name] != before[name]} == {"tls/server.crt", "tls/server.key"}


def test_a_lost_authority_is_not_replaced_under_the_servers_certificate(coordinator: Coordinator) -> None:
    (coordinator.tls / "ca.crt").unlink()
    before = content_of(coordinator.folder)
    with pytest.raises(FedfrError, match=r"ca.crt is missing, .*; restore it from any site"):
        new_coordinator(coordinator.folder)
    assert content_of(coordinator.folder) == before


def test_only_new_certificates_need_the_authoritys_key(coordinator: Coordinator) -> None:
    """The key may be moved off the machine."""
    (coordinator.tls / "ca.key").unlink()
    new_coordinator(coordinator.folder)
    with pytest.raises(FedfrError, match="restore the authority's key"):
        coordinator.admit("ada")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"name": ""}, "name = ''"),
        ({"name": "two words"}, "give a name of letters, digits"),
        ({"name": "../up"}, "give a name of letters, digits"),
        ({"name": "n" * 65}, "give a name of letters, digits"),
        ({"hosts": []}, "server init: hosts = (): give a list of one or more values"),
        (
            {"hosts": ["fe80::1%eth0"]},
            "'fe80::1%eth0' has a zone, valid on one machine only; give a name or an address",
        ),
        ({"hosts": ["[::1]:9443"]}, "'[::1]:9443' is neither a name nor an address"),
        ({"hosts": ["300.1.1.1"]}, "'300.1.1.1' is neither a name nor an address"),
        ({"hosts": [""]}, "'' is neither a name nor an address"),
        ({"hosts": ["https://fed.example.org"]}, "is neither a name nor an address; give it without scheme and port"),
        ({"hosts": ["fed.example.org:9443"]}, "is neither a name nor an address"),
        ({"hosts": ["bücher.example"]}, "is neither a name nor an address"),
        ({"hosts": ["good.example", "it's"]}, "is neither a name nor an address"),
        ({"hosts": ["two\nlines"]}, "is neither a name nor an address"),
        ({"hosts": ["h" * 64]}, "is neither a name nor an address"),
        ({"port": 0}, "server init: port = 0: give a whole number of at least 1 and at most 65535"),
        ({"port": 65536}, "server init: port = 65536"),
        ({"inner_port": -1}, "server init: inner_port = -1"),
        ({"inner_port": 9443}, "two different ports"),
    ],
)
@pytest.mark.parametrize("exists", [True, False])
def test_invalid_settings_are_refused_and_leave_the_folder_unchanged(
    tmp_path: Path, given: dict[str, Any], expected: str, exists: bool
) -> None:
    folder = tmp_path / "coordinator"
    if exists:
        folder.mkdir()
    with pytest.raises(FedfrError) as refused:
        new_coordinator(folder, **given)
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)
    assert content_of(tmp_path) == ({"coordinator": b"folder"} if exists else {})


def test_a_path_that_nginx_cannot_parse_is_refused_before_files_are_written(tmp_path: Path) -> None:
    with pytest.raises(FedfrError, match="use one without spaces, quotes and braces"):
        new_coordinator(tmp_path / "two words")
    assert content_of(tmp_path) == {}


def test_a_folder_with_other_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for path in (tmp_path / "mine" / "letter.txt", tmp_path / "file"):
        path.write_text("mine")
    before = content_of(tmp_path)
    for name in ("mine", "file"):
        with pytest.raises(FedfrError, match="exists and is not an empty folder; choose another folder"):
            new_coordinator(tmp_path / name)
    with pytest.raises(FedfrError, match=r"cannot write .*Not a directory"):
        new_coordinator(tmp_path / "file" / "below")
    assert content_of(tmp_path) == before


def test_a_full_disk_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise FedfrError(f"cannot write {path}: No space left on device; free space")

    monkeypatch.setattr("fedfr.deployment.coordinator.write_atomically", full)
    with pytest.raises(FedfrError, match="No space left"):
        new_coordinator(tmp_path / "coordinator")
    assert content_of(tmp_path) == {}


def test_a_folder_without_a_coordinator_cannot_be_opened(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nobody"):
        with pytest.raises(FedfrError, match=r"holds no server.yaml; create a coordinator with `fedfr server init"):
            Coordinator.open(folder)
    assert content_of(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hosts: [a", "is not readable YAML"),
        ("[]", "it must be a mapping of settings"),
        ("hosts: []", "hosts = []: give a list of one or more values"),
        ("hosts: a", "hosts = 'a': give a list, for example [a]"),
        ("hosts: [a]\nports: 3", "unknown setting 'ports'; known here: name, hosts, port, inner_port"),
        ("hosts: [a]\nport: many", "port = 'many': give a whole number of at least 1 and at most 65535"),
    ],
)
def test_invalid_configurations_are_refused_with_one_line(coordinator: Coordinator, text: str, expected: str) -> None:
    (coordinator.folder / "server.yaml").write_text(text, "utf-8")
    uses: list[Callable[[Path], Coordinator]] = [Coordinator.open, new_coordinator]
    for use in uses:
        with pytest.raises(FedfrError) as refused:
            use(coordinator.folder)
        assert expected in str(refused.value)
        assert "\n" not in str(refused.value)
