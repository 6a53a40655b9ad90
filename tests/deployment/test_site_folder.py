"""A site's folder: its file says what was given, whatever signs are in it; its key is its own."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from fedfr.deployment.certificates import make_authority
from fedfr.deployment.site import SiteConfig
from fedfr.deployment.site_folder import init_site
from fedfr.errors import FedfrError


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    make_authority(tmp_path / "tls", "hospitals")
    return tmp_path / "tls" / "ca.crt"


@pytest.mark.parametrize("faces", ["faces", "/data/Größe: 3 # 'faces'", '/a "b" {c}/\\d', "/no/yes"])
@pytest.mark.parametrize("client", ["north", "no", "12", "o'brien"])
def test_what_is_given_reads_back(tmp_path: Path, authority: Path, client: str, faces: str) -> None:
    made = init_site(tmp_path / "site", client, "fed.example.org:9443", authority, faces, 9555, 3)
    found = SiteConfig.load(made.config)
    assert (found.client, found.server, found.port, found.runtime.threads) == (client, "fed.example.org:9443", 9555, 3)
    assert found.faces.path == str((tmp_path / "site" / faces).resolve())
    assert found.public == str(tmp_path / "site" / "public")
    assert (tmp_path / "site" / "ca.crt").read_bytes() == authority.read_bytes()
    assert stat.S_IMODE((tmp_path / "site" / "site.key").stat().st_mode) == 0o600
    assert made.public_key.read_text("ascii").startswith("ecdsa-sha2-nistp384 ")


@pytest.mark.parametrize("server", ["fed.example.org", "https://h:9443", ":9443", "h:port", "", "h:9443/x"])
def test_a_server_is_a_host_and_a_port(tmp_path: Path, authority: Path, server: str) -> None:
    with pytest.raises(FedfrError, match=r"give host and port, for example fed\.example\.org:9443"):
        init_site(tmp_path / "site", "north", server, authority, "faces", 9444, 1)
    assert not (tmp_path / "site").exists()


def test_mistakes_leave_nothing_behind_and_nothing_is_replaced(tmp_path: Path, authority: Path) -> None:
    (tmp_path / "text").write_text("no certificate", encoding="utf-8")
    with pytest.raises(FedfrError, match="text is no certificate in PEM"):
        init_site(tmp_path / "site", "north", "h:1", tmp_path / "text", "faces", 9444, 1)
    assert not (tmp_path / "site").exists()
    init_site(tmp_path / "site", "north", "h:1", authority, "faces", 9444, 1)
    before = (tmp_path / "site" / "site.key").read_bytes()
    with pytest.raises(FedfrError, match="exists and is not an empty folder"):
        init_site(tmp_path / "site", "north", "h:1", authority, "faces", 9444, 1)
    assert (tmp_path / "site" / "site.key").read_bytes() == before
