"""Folder of a new site: the configuration is read back unchanged, and errors leave no files."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from flwr.common.config import parse_config_args

from fedfr.core.errors import FedfrError
from fedfr.deployment.address import Address
from fedfr.deployment.certificates import make_authority
from fedfr.deployment.processes import supernode_command
from fedfr.deployment.secrets import load_key, public_line
from fedfr.deployment.site_config import SiteConfig
from fedfr.deployment.site_folder import NewSite, init_site
from fedfr.deployment.site_service import run_site
from fedfr.deployment.sum_keys import make_sum_key

ODD = [
    'it\'s "quoted"',
    "a: b, {c} [d] #e",
    "- x",
    "007",
    "off",
    "null",
    "12:30",
    "Klinik Süd 東京 😀",
    " spaces ",
    "back\\slash",
    "%percent @at !bang &and *star",
    "two\nlines",
    "x" * 300,
]


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    make_authority(tmp_path / "tls", "hospitals")
    return tmp_path / "tls" / "ca.crt"


def made(folder: Path, authority: Path, **changes: Any) -> NewSite:
    given = {"client": "clinic-a", "server": "fed.example.org:9443", "faces": "faces", "port": 9444, "threads": 3}
    return init_site(folder, authority=authority, **{**given, **changes})


def test_a_new_site_file_is_read_back(authority: Path, tmp_path: Path) -> None:
    folder = tmp_path / "below" / "site"
    new = made(folder, authority, port=1234)
    assert (new.config, new.public_key) == (folder / "site.yaml", folder / "site.key.pub")
    assert {path.name for path in folder.iterdir()} == {"site.yaml", "site.key", "sum.key", "site.key.pub", "ca.crt"}
    config = SiteConfig.load(new.config)
    assert (config.client, config.server, config.port) == ("clinic-a", "fed.example.org:9443", 1234)
    assert (config.agreement, config.faces.path) == (str(folder / "agreement.yaml"), str(folder / "faces"))
    assert (config.public, config.private) == (str(folder / "public"), str(folder / "private"))
    assert (config.faces.manifest, config.faces.test_share, config.faces.test_count) == (None, 0.4, None)
    assert (config.runtime.threads, config.runtime.device) == (3, "cpu")
    text = new.config.read_text("utf-8")
    assert sum(line.startswith("#") for line in text.splitlines()) >= 8
    assert yaml.safe_load(text)["faces"]["path"] == "faces"


@pytest.mark.parametrize("client", ["007", "off", "null", "12.30", "1e3", "s\u00fcd", "a" * 64])
def test_ids_that_yaml_could_misread(authority: Path, tmp_path: Path, client: str) -> None:
    assert SiteConfig.load(made(tmp_path / "site", authority, client=client).config).client == client


def test_keys_are_readable_by_their_owner_only(authority: Path, tmp_path: Path) -> None:
    new = made(tmp_path / "site", authority)
    assert {stat.S_IMODE((tmp_path / "site" / name).stat().st_mode) for name in ("site.key", "sum.key")} == {0o600}
    node, sums = new.public_key.read_text("ascii").splitlines()
    assert (node, sums) == (public_line(load_key(tmp_path / "site" / "site.key")), make_sum_key(tmp_path / "site"))
    assert (tmp_path / "site" / "ca.crt").read_bytes() == authority.read_bytes()
    other = made(tmp_path / "other", authority)
    assert other.public_key.read_bytes() != new.public_key.read_bytes()


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_paths_with_special_characters(authority: Path, tmp_path: Path, text: str) -> None:
    config = SiteConfig.load(made(tmp_path / "site", authority, faces=f"/srv/{text}/faces").config)
    assert config.faces.path == f"/srv/{text}/faces"


@pytest.mark.parametrize("server", ["[2001:db8::7]:9443", "12:30", "1:1", "LOCALHOST:65535", "a_b.example.org:443"])
def test_servers_that_yaml_could_misread(authority: Path, tmp_path: Path, server: str) -> None:
    assert SiteConfig.load(made(tmp_path / "site", authority, server=server).config).server == server
    assert str(Address.parse(server)) == server


def test_ipv6_addresses_are_resolved_without_brackets() -> None:
    assert Address.parse("[2001:db8::7]:9443").name == "2001:db8::7"
    assert Address.parse("fed.example.org:9443").name == "fed.example.org"


@pytest.mark.parametrize("text", ['it\'s "quoted"', "Klinik Süd 😀", "a=b c", 'back\\slash\\" x="1"'])
def test_flower_receives_the_folders_path_unchanged(tmp_path: Path, text: str) -> None:
    path = tmp_path / text / "site.yaml"
    command = supernode_command(Address("localhost", 1), path, Address("127.0.0.1", 2))
    assert parse_config_args([command[-1]]) == {"site": str(path)}


SERVERS = [
    "",
    "fed.example.org",
    ":9443",
    "fed.example.org:",
    "https://fed.example.org:9443",
    "fed.example.org:9443/",
    "ada@fed.example.org:9443",
    "fed.example.org:0",
    "fed.example.org:65536",
    "fed.example.org:-1",
    "fed.example.org:９４４３",
    "fed example:9443",
    "fed.example.org:9443\n",
    "bücher.example:9443",
    "2001:db8::7:9443",
    "fed..example:9443",
]


@pytest.mark.parametrize("server", SERVERS, ids=range(len(SERVERS)))
@pytest.mark.parametrize("existed", [True, False])
def test_servers_without_host_and_port_are_refused(authority: Path, tmp_path: Path, server: str, existed: bool) -> None:
    folder = tmp_path / "site"
    if existed:
        folder.mkdir()
    with pytest.raises(FedfrError, match=r"; give host and port, for example fed.example.org:9443") as refused:
        made(folder, authority, server=server)
    assert "\n" not in str(refused.value)
    assert ([*folder.iterdir()] if existed else folder.exists()) == ([] if existed else False)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"port": 0}, "port = 0; give a whole number of at least 1 and at most 65535"),
        ({"port": 65536}, "port = 65536; give"),
        ({"client": ""}, "client '' is not a valid client id"),
        ({"client": "../x"}, "client '../x' is not a valid client id"),
    ],
)
def test_unusable_site_settings_are_refused(authority: Path, tmp_path: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(FedfrError, match=said):
        made(tmp_path / "site", authority, **given)
    assert not (tmp_path / "site").exists()


def test_an_invalid_certificate(authority: Path, tmp_path: Path) -> None:
    (tmp_path / "text.crt").write_text("no certificate", "ascii")
    for wrong, said in [
        (tmp_path / "none.crt", r"cannot read the certificate .*: No such file or directory; check the path"),
        (tmp_path, r"cannot read the certificate .*: Is a directory; check the path"),
        (tmp_path / "text.crt", r"text.crt is not a PEM certificate; ask the coordinator for it again"),
        (authority.with_name("ca.key"), r"ca.key is not a PEM certificate"),
    ]:
        with pytest.raises(FedfrError, match=said):
            made(tmp_path / "site", wrong)
        assert not (tmp_path / "site").exists()


def test_an_occupied_folder_is_refused(authority: Path, tmp_path: Path) -> None:
    made(tmp_path / "site", authority)
    (tmp_path / "file").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for name in ("site", "file"):
        with pytest.raises(FedfrError, match="exists and is not an empty folder; choose another folder for the site"):
            made(tmp_path / name, authority)
    with pytest.raises(FedfrError, match=r"cannot write .*: Not a directory"):
        made(tmp_path / "file" / "site", authority)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("existed", [True, False])
@pytest.mark.parametrize("function", ["save_key", "write_atomically"])
def test_a_full_disk_leaves_no_site(
    authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existed: bool, function: str
) -> None:
    folder = tmp_path / "site"
    if existed:
        folder.mkdir()

    def full(path: Path, content: object) -> None:
        path.parent.mkdir(exist_ok=True)
        path.with_name(".half").write_bytes(b"half of a key")
        raise FedfrError("No space left on device; free space")

    monkeypatch.setattr(f"fedfr.deployment.site_folder.{function}", full)
    with pytest.raises(FedfrError, match="No space left"):
        made(folder, authority)
    assert folder.exists() == existed
    assert not existed or not [*folder.iterdir()]


# What an operator may write into site.yaml later


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server: nonsense", "server = 'nonsense': give host and port, for example fed.example.org:9443"),
        ("server: 9443", "server = 9443: give text"),
        ("faces: 3", "faces = 3: give its settings by name, for example faces.path=…"),
        ("port: 0", "port = 0: give a whole number of at least 1"),
        ("colour: red", "unknown setting 'colour'; known here: client, agreement"),
        ("client: [", "is not readable YAML"),
    ],
)
def test_invalid_settings_are_refused_with_one_line(authority: Path, tmp_path: Path, text: str, said: str) -> None:
    path = made(tmp_path / "site", authority).config
    name = text.partition(":")[0]
    content = {key: value for key, value in yaml.safe_load(path.read_text("utf-8")).items() if key != name}
    path.write_text(f"{yaml.safe_dump(content)}\n{text}\n", "utf-8")
    for use in (SiteConfig.load, run_site):
        with pytest.raises(FedfrError) as refused:
            use(path)
        assert said in str(refused.value)
        assert "\n" not in str(refused.value)


def test_the_home_of_an_unknown_user_is_a_missing_file(authority: Path, tmp_path: Path) -> None:
    path = made(tmp_path / "site", authority).config
    path.write_text(path.read_text("utf-8").replace("private: private", "private: ~nobody-of-this-name/x"), "utf-8")
    assert SiteConfig.load(path).private == str(tmp_path / "site" / "~nobody-of-this-name" / "x")


def test_processes_that_last_as_long_as_a_site_do_not_import_torch() -> None:
    """The supervisor of a site, and the program that hands every message over to the worker."""
    modules = "fedfr.cli.site_commands, fedfr.deployment.site_service, fedfr.deployment.site_programs"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
