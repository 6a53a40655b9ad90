"""Checks of ``fedfr site check`` on key, certificates, connection, registration and clock."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest
from tests.support.check_results import failures, site_results
from tests.support.deployment_folders import Deployment, edit
from tests.support.https import Server, serving

from fedfr.deployment.certificates import issue_server, make_authority
from fedfr.deployment.checks import CheckResult, check_site

pytestmark = pytest.mark.usefixtures("machine")


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda key: key.unlink(), "No such file or directory; check the path"),
        (lambda key: key.chmod(0o640), "is readable by other users; chmod 600 it, or create a new one"),
        (lambda key: key.write_text("no key", "ascii"), "without passphrase (.*); give a key that fedfr created"),
        (lambda key: key.write_bytes(key.with_name("ca.crt").read_bytes()), "; give a key that fedfr created"),
    ],
    ids=["missing", "open", "garbage", "certificate"],
)
def test_unusable_keys(deployment: Deployment, server: Server, damage: Callable[[Path], object], expected: str) -> None:
    damage(deployment.site / "site.key")
    found = failures(site_results(deployment))
    assert [*found] == ["key"]
    begin, _, end = expected.partition("(.*)")
    assert begin in found["key"]
    assert found["key"].endswith(end or begin)


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (-3, "expired 3 days ago; ask the coordinator for a new one"),
        (29.9, "valid for 30 days; ask the coordinator for a new one"),
        (30.5, ""),
    ],
)
def test_an_authority_that_expires(
    deployment: Deployment, server: Server, tmp_path: Path, days: float, expected: str
) -> None:
    make_authority(tmp_path / "new", "hospitals", days=days)
    (deployment.site / "ca.crt").write_bytes((tmp_path / "new" / "ca.crt").read_bytes())
    assert failures(site_results(deployment)).get("certificate authority", "") == expected


def test_a_missing_or_invalid_authority(deployment: Deployment, server: Server) -> None:
    (deployment.site / "ca.crt").write_text("no certificate", "ascii")
    found = failures(site_results(deployment))
    assert [*found] == ["certificate authority", "server"]
    assert found["certificate authority"] == (
        f"{deployment.site / 'ca.crt'} is not a PEM certificate; ask the coordinator for it"
    )
    assert found["server"].endswith("is not a PEM certificate; ask the coordinator for it again")
    (deployment.site / "ca.crt").unlink()
    assert failures(site_results(deployment))["certificate authority"].endswith(
        "ca.crt: No such file or directory; ask the coordinator for it"
    )


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (412, "the coordinator does not know this site's key; send it site.key.pub to register"),
        (401, "the coordinator rejects this site's key; compare the clocks, then the versions"),
        (502, "the coordinator's SuperLink does not run; ask for `fedfr server check` there"),
        (500, "the coordinator answers with HTTP 500; ask for its logs"),
        (200, "the coordinator answers with HTTP 200; ask for its logs"),
    ],
)
def test_a_key_that_the_coordinator_rejects(deployment: Deployment, server: Server, answer: int, expected: str) -> None:
    server.login = answer
    assert failures(site_results(deployment)) == {"registered": expected}


def test_a_server_of_another_authority(deployment: Deployment, server: Server, tmp_path: Path) -> None:
    make_authority(tmp_path / "other", "hospitals")
    (deployment.site / "ca.crt").write_bytes((tmp_path / "other" / "ca.crt").read_bytes())
    found = failures(site_results(deployment))
    assert [*found] == ["server"]
    assert found["server"].startswith(f"{server.address} has the wrong certificate (")
    assert found["server"].endswith("; do not continue until the coordinator has explained it")


def test_a_server_with_a_certificate_for_another_host(deployment: Deployment, tmp_path: Path) -> None:
    tls = tmp_path / "tls"
    shutil.copytree(deployment.coordinator.tls, tls)
    for end in ("crt", "key"):
        (tls / f"server.{end}").unlink()
    issue_server(tls, ["fed.example.org"])
    with serving(tmp_path, tls) as made:
        edit(deployment.site_file, server=made.address)
        found = failures(site_results(deployment))
    assert [*found] == ["server"]
    assert "certificate is not valid for 'localhost'" in found["server"]


def test_no_process_listens(deployment: Deployment) -> None:
    edit(deployment.site_file, server="localhost:1")
    found = failures(site_results(deployment))
    assert found == {"server": "localhost:1 does not answer (Connection refused); check host, port and firewall"}


def test_another_program_listens(deployment: Deployment) -> None:
    """A server without TLS that closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        edit(deployment.site_file, server=f"localhost:{listening.getsockname()[1]}")
        lines = check_site(deployment.site_file)
        found = next(line for line in _with_answer(lines, listening) if line.what == "server")
    assert "does not answer (" in found.found
    assert found.remedy == "check host, port and firewall"


def _with_answer(lines: Iterator[CheckResult], listening: socket.socket) -> Iterator[CheckResult]:
    def answer() -> None:
        channel, _ = listening.accept()
        channel.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        channel.close()

    thread = threading.Thread(target=answer)
    thread.start()
    yield from lines
    thread.join()


def test_a_site_without_a_server(deployment: Deployment) -> None:
    edit(deployment.site_file, server=None)
    assert failures(site_results(deployment)) == {"server": "site.yaml names no server; give its host and port"}


@pytest.mark.parametrize(
    ("off", "expected"),
    [(0, "the clocks agree"), (290, "behind the server's, which is accepted"), (310, None), (-6, None), (-60, None)],
)
def test_clocks_that_differ(deployment: Deployment, server: Server, off: float, expected: str | None) -> None:
    """The check fails where Flower rejects the timestamp: 5 s ahead of the server, or 305 s behind it."""
    # A crafted Date has whole seconds; the request is sent up to a few seconds later.
    server.date = formatdate(time.time() + off, usegmt=True)
    result = site_results(deployment)["server"]
    if expected is None:
        where = "behind" if off > 0 else "ahead of"
        assert f" s {where} the server's, and the coordinator rejects requests signed more than 5 s" in result.found
        assert result.remedy == "set the clock (timedatectl set-ntp true)"
        assert abs(int(result.found.partition("about ")[2].partition(" s")[0]) - abs(off)) <= 4
    else:
        assert result.remedy == ""
        assert result.found.endswith(expected)


@pytest.mark.parametrize("date", ["", "yesterday", "Wed, 99 Nov 2026 13:59:12 GMT"])
def test_a_server_without_a_valid_date(deployment: Deployment, server: Server, date: str) -> None:
    server.date = date
    assert failures(site_results(deployment)) == {}
