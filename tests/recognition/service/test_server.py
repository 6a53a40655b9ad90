"""The real server on a socket of this machine: slow and greedy clients, addresses, TLS, a failing gallery."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from tests.support.https import authority_in

from fedfr.core.errors import FedfrError
from fedfr.recognition.recognizer import Recognizer
from fedfr.recognition.service.limits import ServiceLimits
from fedfr.recognition.service.protocol import TimedProtocol
from fedfr.recognition.service.server import Tls, listen, serve
from fedfr.recognition.service.tokens import Tokens

LIMITS = ServiceLimits(
    header_seconds=0.3, body_seconds=0.3, keep_alive_seconds=1.0, response_seconds=5.0, connections=8, stop_seconds=2.0
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    folder: Path, *, host: str = "127.0.0.1", tls: Tls | None = None, limits: ServiceLimits = LIMITS
) -> Iterator[int]:
    """Port of a service that is opening its gallery until the block ends; then it fails to open, and stops."""
    port, stop, errors = free_port(), threading.Event(), []

    def never() -> Recognizer:
        stop.wait(30)
        raise FedfrError("the gallery is damaged")

    def run() -> None:
        try:
            serve(folder, never, host=host, port=port, tls=tls, limits=limits)
        except FedfrError as error:
            errors.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        for _ in range(200):
            try:
                socket.create_connection((host, port)).close()
                break
            except OSError:
                time.sleep(0.02)
        yield port
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()
    assert errors == ["the gallery is damaged"]


def closed_after(connection: socket.socket, sent: bytes) -> tuple[bytes, float]:
    """What the server sends until it closes the connection, and how long that took."""
    began, received = time.monotonic(), b""
    connection.sendall(sent)
    connection.settimeout(10)
    try:
        while data := connection.recv(4096):
            received += data
    except ConnectionResetError:
        pass
    return received, time.monotonic() - began


def test_slow_clients_are_closed_and_others_served(tmp_path: Path) -> None:
    head = b"POST /v1/identify HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    with running(tmp_path) as port:
        address = ("127.0.0.1", port)
        with socket.create_connection(address) as silent, socket.create_connection(address) as slow:
            assert httpx.get(f"http://127.0.0.1:{port}/v1/health").json() == {"status": "starting"}
            received, seconds = closed_after(silent, b"")
            assert (received, seconds < 3) == (b"", True)
            received, seconds = closed_after(slow, b"GET / HTTP/1.1\r\nHost: loc")
            assert (received, seconds < 3) == (b"", True)
        with socket.create_connection(address) as second:  # the same after a first request
            received, seconds = closed_after(second, b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v1")
            assert received.startswith(b"HTTP/1.1 200")
            assert seconds < 4
        with socket.create_connection(address) as upload:
            received, seconds = closed_after(upload, head + b"Content-Length: 1000\r\n\r\n--x")
            assert b"503" in received.splitlines()[0]  # refused before the body is read: the gallery is not open
            assert b"connection: close" in received.lower()
            assert seconds < 8


def test_the_number_of_connections_is_limited(tmp_path: Path) -> None:
    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/v1/health", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    with running(tmp_path, limits=replace(LIMITS, header_seconds=30.0)) as port:
        opened = []
        while answers():
            opened.append(socket.create_connection(("127.0.0.1", port)))
            assert len(opened) <= LIMITS.connections
        assert len(opened) >= LIMITS.connections - 1
        for each in opened:
            each.close()
        assert any(answers() for _ in range(100))


def test_a_large_upload_gets_its_answer(tmp_path: Path) -> None:
    head = "POST /v1/identify HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 90000000\r\n\r\n"
    with running(tmp_path) as port:
        with socket.create_connection(("127.0.0.1", port)) as polite:
            assert closed_after(polite, head.encode())[0].startswith(b"HTTP/1.1 503")
        body = bytes(3 << 20)
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/identify", content=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "starting")


def test_a_port_in_use_and_addresses_of_others_are_refused(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(FedfrError, match=f"port {port} of 127.0.0.1 is in use by another program"):
            listen("127.0.0.1", port)
    for host in ("203.0.113.7", "no.such.host.invalid", "", "::g"):
        with pytest.raises(FedfrError, match=r"as --host|127\.0\.0\.1 or ::1"):
            listen(host, 0)


def test_nothing_is_served_beyond_this_machine_without_tokens_and_tls(tmp_path: Path) -> None:
    authority_in(tmp_path)

    def unused() -> Recognizer:
        raise AssertionError

    with pytest.raises(FedfrError, match="there is no token; create one with"):
        serve(tmp_path, unused, host="0.0.0.0", port=0, tls=Tls(tmp_path / "server.crt", tmp_path / "server.key"))
    Tokens(tmp_path).add("camera", "door")
    for host in ("0.0.0.0", "::", "203.0.113.7"):
        with pytest.raises(FedfrError, match="tokens would be sent in the clear; give --tls-cert and --tls-key"):
            serve(tmp_path, unused, host=host, port=0)


def test_tls_serves_the_names_of_the_certificate(tmp_path: Path) -> None:
    authority = authority_in(tmp_path)
    tls = Tls(tmp_path / "server.crt", tmp_path / "server.key")
    assert set(tls.names) == {"localhost", "127.0.0.1"}
    context = ssl.create_default_context(cafile=str(authority))
    with running(tmp_path, tls=tls) as port, httpx.Client(verify=context) as client:
        answer = client.get(f"https://localhost:{port}/v1/health")
        assert answer.json() == {"status": "starting"}
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        with socket.create_connection(("127.0.0.1", port)) as silent:  # no handshake
            assert closed_after(silent, b"")[1] < 3


def test_another_machine_has_few_connections() -> None:
    made = [TimedProtocol.__new__(TimedProtocol) for _ in range(40)]
    for number, each in enumerate(made):
        each.connections = set(made)
        each.client = ("192.168.0.9" if number < 33 else "127.0.0.1", number)
    assert made[0]._too_many_of_one()
    assert not made[39]._too_many_of_one()
    made[1].client = ("192.168.0.8", 1)
    assert not made[0]._too_many_of_one()
    for number, each in enumerate(made[:33]):  # one machine can have all addresses of a /64 network
        each.client = (f"2001:db8::{number:x}", number)
    assert made[0]._too_many_of_one()


def test_both_addresses_of_a_name_have_one_port() -> None:
    sockets = listen("localhost", 0)
    try:
        assert len({each.getsockname()[1] for each in sockets}) == 1
    finally:
        for each in sockets:
            each.close()


def test_ipv6(tmp_path: Path) -> None:
    try:
        listen("::1", 0)[0].close()
    except FedfrError:
        pytest.skip("this machine has no IPv6")
    with running(tmp_path, host="::1") as port:
        assert httpx.get(f"http://[::1]:{port}/v1/health").json() == {"status": "starting"}


@pytest.mark.parametrize("fault", ["missing", "damaged", "other key", "encrypted", "folder"])
def test_wrong_certificates_are_refused_in_one_line(tmp_path: Path, fault: str) -> None:
    from cryptography.hazmat.primitives import serialization

    authority_in(tmp_path)
    certificate, key = tmp_path / "server.crt", tmp_path / "server.key"
    if fault == "missing":
        certificate.unlink()
    if fault == "damaged":
        certificate.write_text("nothing", encoding="ascii")
    if fault == "other key":
        key.write_bytes((tmp_path / "ca.key").read_bytes())
    if fault == "folder":
        key = tmp_path
    if fault == "encrypted":
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        key.write_bytes(
            loaded.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"secret"),
            )
        )
    with pytest.raises(FedfrError) as refused:
        Tls(certificate, key)
    assert str(refused.value).isprintable()
    assert {"missing": "cannot read", "encrypted": "encrypted", "folder": "Is a directory"}.get(
        fault, "certificate"
    ) in str(refused.value)


def test_the_openapi_description_is_whole() -> None:
    from fedfr.recognition.service.app import create_app
    from fedfr.recognition.service.state import ServiceState

    description = create_app(ServiceState(Path(), LIMITS)).openapi()
    assert json.loads(json.dumps(description)) == description
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (path, method)
            success = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
            assert path == "/metrics" or "$ref" in str(success) or "anyOf" in str(success), (path, method)
            if path != "/v1/health":
                assert operation["security"] == [{"HTTPBearer": []}], (path, method)
                assert "4XX" in operation["responses"], (path, method)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    authority_in(tmp_path)
    certificate, key = tmp_path / "server.crt", tmp_path / "server.key"
    key.chmod(0o604)
    with pytest.raises(FedfrError, match=r"the TLS key .* is readable by other users; chmod 600"):
        Tls(certificate, key)
    key.chmod(0o640)
    with pytest.warns(UserWarning, match="is readable by its group"):
        Tls(certificate, key)
