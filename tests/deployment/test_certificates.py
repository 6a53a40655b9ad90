"""Certificates in real TLS handshakes: issuer, purpose, host names and validity."""

from __future__ import annotations

import socket
import ssl
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from fedfr.core.errors import FedfrError
from fedfr.deployment.certificates import (
    check_server_certificate,
    days_left,
    issue_operator,
    issue_server,
    load_certificate,
    make_authority,
)


@pytest.fixture
def tls(tmp_path: Path) -> Path:
    made = tmp_path / "tls"
    make_authority(made, "hospitals")
    issue_server(made, ["localhost", "127.0.0.1", "::1", "[2001:db8::7]"])
    issue_operator(made, "ada")
    return made


def handshake(
    server: tuple[Path, str], authority: Path, client: tuple[Path, str] | None = None, name: str = "localhost"
) -> tuple[str, str]:
    """Errors at the client and at the server, empty for none; both verify strictly (RFC 5280)."""
    accepting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority / "ca.crt"))
    accepting.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    accepting.verify_mode = ssl.CERT_OPTIONAL
    accepting.load_cert_chain(server[0] / f"{server[1]}.crt", server[0] / f"{server[1]}.key")
    calling = ssl.create_default_context(cafile=str(authority / "ca.crt"))
    calling.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    if client is not None:
        calling.load_cert_chain(client[0] / f"{client[1]}.crt", client[0] / f"{client[1]}.key")
    ours, theirs = socket.socketpair()
    refused = ["", ""]

    def accept() -> None:
        try:
            with accepting.wrap_socket(theirs, server_side=True) as channel:
                channel.send(b"in")
        except (ssl.SSLError, OSError) as error:
            refused[1] = str(error)
            theirs.close()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        with calling.wrap_socket(ours, server_hostname=name) as channel:
            # In TLS 1.3 the client learns with the first answer whether its certificate was taken.
            assert channel.recv(2) == b"in"
    except (ssl.SSLError, OSError, AssertionError) as error:
        refused[0] = str(error) or "closed"
        ours.close()
    thread.join()
    return refused[0], refused[1]


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "2001:db8::7", "2001:0DB8:0::7"])
def test_clients_with_the_authority_trust_the_server(tls: Path, name: str) -> None:
    assert handshake((tls, "server"), tls, name=name) == ("", "")
    assert handshake((tls, "server"), tls, (tls, "ada"), name=name) == ("", "")


def test_another_host_name_is_refused(tls: Path) -> None:
    refused, _ = handshake((tls, "server"), tls, name="elsewhere.example")
    assert "certificate is not valid for 'elsewhere.example'" in refused


def test_another_authority_of_the_same_name_is_refused(tls: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    make_authority(other, "hospitals")
    issue_server(other, ["localhost"])
    issue_operator(other, "ada")
    refused, _ = handshake((other, "server"), tls)
    assert "certificate verify failed" in refused
    _, refused = handshake((tls, "server"), tls, (other, "ada"))
    assert "certificate verify failed" in refused


def test_an_expired_certificate_is_refused(tls: Path) -> None:
    issue_operator(tls, "gone", days=-1)
    issue_server(tls, ["localhost"], days=-0.001, name="old")
    refused, _ = handshake((tls, "old"), tls)
    assert "certificate has expired" in refused
    _, refused = handshake((tls, "server"), tls, (tls, "gone"))
    assert "certificate has expired" in refused
    assert -1.1 < days_left(load_certificate(tls / "gone.crt")) < -0.9


def test_operator_and_server_certificates_are_not_interchangeable(tls: Path) -> None:
    """An operator's key cannot impersonate the server, and the server's key gives no access to the control API."""
    refused, _ = handshake((tls, "ada"), tls)
    assert "unsuitable certificate purpose" in refused or "unsupported certificate purpose" in refused
    _, refused = handshake((tls, "server"), tls, (tls, "server"))
    assert "certificate purpose" in refused


def test_issued_certificates_cannot_sign_others(tls: Path, tmp_path: Path) -> None:
    """A certificate signed with an operator's key is rejected."""
    forged = tmp_path / "forged"
    forged.mkdir()
    for end in ("crt", "key"):
        (forged / f"ca.{end}").write_bytes((tls / f"ada.{end}").read_bytes())
    issue_operator(forged, "eve")
    chain = forged / "chain.crt"
    chain.write_bytes((forged / "eve.crt").read_bytes() + (tls / "ada.crt").read_bytes())
    (forged / "chain.key").write_bytes((forged / "eve.key").read_bytes())
    _, refused = handshake((tls, "server"), tls, (forged, "chain"))
    assert "certificate verify failed" in refused


def test_private_keys_are_readable_by_their_owner_only(tls: Path) -> None:
    for key in ("ca.key", "server.key", "ada.key"):
        assert stat.S_IMODE((tls / key).stat().st_mode) == 0o600
    text = "".join((tls / name).read_text("ascii") for name in ("ca.crt", "server.crt", "ada.crt"))
    assert "PRIVATE" not in text


def test_validity_of_certificates(tls: Path) -> None:
    now = datetime.now(UTC)
    assert days_left(load_certificate(tls / "ca.crt"), now) == pytest.approx(3650, abs=0.1)
    assert days_left(load_certificate(tls / "server.crt"), now) == pytest.approx(397, abs=0.1)


def test_existing_files_are_not_replaced(tls: Path) -> None:
    before = {path: path.read_bytes() for path in tls.iterdir()}
    refused = "exists already and is not replaced"
    with pytest.raises(FedfrError, match=refused):
        make_authority(tls, "hospitals")
    with pytest.raises(FedfrError, match=refused):
        issue_server(tls, ["localhost"])
    with pytest.raises(FedfrError, match=refused):
        issue_operator(tls, "ada")
    assert {path: path.read_bytes() for path in tls.iterdir()} == before


@pytest.mark.parametrize(
    "host", ["", "https://fed.example.org", "fed.example.org:9443", "fed example", "bücher.example"]
)
def test_invalid_hosts_are_refused(tls: Path, host: str) -> None:
    with pytest.raises(FedfrError, match="is neither a name nor an address; give it without scheme and port"):
        issue_server(tls, [host], name="other")


def test_missing_and_damaged_files_are_named(tls: Path, tmp_path: Path) -> None:
    with pytest.raises(FedfrError, match=r"cannot read the certificate .*nobody.crt: No such file"):
        load_certificate(tmp_path / "nobody.crt")
    (tls / "ca.key").rename(tmp_path / "ca.key")
    with pytest.raises(FedfrError, match=r"ca.key: No such file or directory; restore the authority's key"):
        issue_operator(tls, "bob")
    (tls / "ca.key").write_bytes((tls / "ada.key").read_bytes())
    with pytest.raises(FedfrError, match=r"ca.key does not belong to ca.crt beside it"):
        issue_operator(tls, "bob")
    (tls / "ca.key").write_bytes((tmp_path / "ca.key").read_bytes()[:100])
    with pytest.raises(FedfrError, match=r"ca.key is not a PEM private key"):
        issue_operator(tls, "bob")
    (tls / "ca.crt").write_text("no certificate", encoding="ascii")
    with pytest.raises(FedfrError, match=r"ca.crt is not a PEM certificate"):
        issue_operator(tls, "bob")
    assert not (tls / "bob.crt").exists()
    with pytest.raises(FedfrError, match="give one or more"):
        issue_server(tls, [], name="other")


@pytest.mark.parametrize("values", [(0x00, 0x42), (0xFF, 0x80)])
def test_every_damaged_byte_of_a_certificate_is_refused_or_harmless(tls: Path, values: tuple[int, ...]) -> None:
    path = tls / "server.crt"
    content = x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)
    refused = 0
    for position in range(len(content)):
        for value in values:
            damaged = content[:position] + bytes([value]) + content[position + 1 :]
            path.write_text(ssl.DER_cert_to_PEM_cert(damaged), encoding="ascii")
            try:
                check_server_certificate(tls, ["localhost"])
            except FedfrError:
                refused += 1
    assert refused > 1.9 * len(content)
