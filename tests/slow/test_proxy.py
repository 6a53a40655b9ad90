"""nginx with the generated configuration: what it forwards for whom, and what it rejects."""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fedfr.deployment.address import Address
from fedfr.deployment.background import free_port, wait_for
from fedfr.deployment.certificates import issue_operator, issue_server, make_authority
from fedfr.deployment.proxy import LARGEST_REQUEST, Proxy, find_nginx

pytestmark = pytest.mark.slow


@dataclass
class Behind:
    """Server in place of the SuperLink, and the requests that reached it."""

    port: int
    arrived: list[tuple[str, str, int]] = field(default_factory=list)


@pytest.fixture
def tls(tmp_path: Path) -> Path:
    """Certificates of the server and of three people, of which one has expired and one is revoked."""
    made = tmp_path / "tls"
    make_authority(made, "hospitals")
    issue_server(made, ["localhost", "127.0.0.1"])
    issue_operator(made, "ada")
    issue_operator(made, "gone", days=-1)
    issue_operator(made, "left")
    (tmp_path / "taken-back").mkdir()
    for end in ("crt", "key"):
        (made / f"left.{end}").rename(tmp_path / "taken-back" / f"left.{end}")
    return made


@pytest.fixture
def behind(tls: Path) -> Iterator[Behind]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            found.arrived.append((self.command, self.path, len(content)))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *arguments: object) -> None:
            pass

    for method in ("POST", "GET", "PUT", "DELETE", "OPTIONS"):
        setattr(Handler, f"do_{method}", Handler.answer)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls / "server.crt", tls / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    found = Behind(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Front:
    """Client of the proxy."""

    port: int
    tls: Path
    log: Path

    def ask(
        self,
        path: str,
        content: bytes = b"x",
        person: tuple[Path, str] | None = None,
        method: str = "POST",
        headers: dict[str, str] | None = None,
    ) -> int:
        """The status of the answer."""
        context = ssl.create_default_context(cafile=str(self.tls / "ca.crt"))
        if person is not None:
            context.load_cert_chain(person[0] / f"{person[1]}.crt", person[0] / f"{person[1]}.key")
        connection = http.client.HTTPSConnection("localhost", self.port, context=context, timeout=20)
        try:
            connection.request(method, path, content, headers or {})
            return connection.getresponse().status
        finally:
            connection.close()


@pytest.fixture
def front(tmp_path: Path, tls: Path, behind: Behind) -> Iterator[Front]:
    program = find_nginx()
    assert program, "nginx is not installed; make test-slow does that"
    folder, port = tmp_path / "proxy", free_port()
    folder.mkdir()
    (folder / "nginx.conf").write_text(Proxy(folder, tls, port, behind.port).configuration(), encoding="utf-8")
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(command, stderr=log)
    wait_for(Address("127.0.0.1", port).is_listening, "nginx", 20)
    yield Front(port, tls, folder / "log")
    process.terminate()
    process.wait(20)


def test_sites_reach_the_fleet_api(front: Front, behind: Behind) -> None:
    assert front.ask("/v1/fleet/pull-messages", b"y" * 100) == 200
    assert front.ask("/v1/fleet/push-object", b"z" * (6 << 20)) == 200
    assert behind.arrived == [("POST", "/v1/fleet/pull-messages", 100), ("POST", "/v1/fleet/push-object", 6 << 20)]


def test_people_with_a_certificate_reach_the_control_api(front: Front, behind: Behind) -> None:
    assert front.ask("/v1/control/start-run", person=(front.tls, "ada")) == 200
    assert behind.arrived == [("POST", "/v1/control/start-run", 1)]
    wait_for(lambda: 'ada" POST /v1/control/start-run 200' in front.log.read_text("utf-8"), "her line in the log", 20)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/control/start-run",
        "//v1/control/start-run",
        "/v1/fleet/../control/start-run",
        "/v1/fleet/%2e%2e/control/start-run",
        "/v1/fleet/..%2fcontrol%2fstart-run",
        "/v1/fleet/x/../../control/start-run",
        "/v1/%63ontrol/start-run",
        "/v1/fleet/pull-messages/../../control/start-run",
    ],
)
def test_the_control_api_needs_a_certificate_on_every_path(front: Front, behind: Behind, path: str) -> None:
    assert front.ask(path) in (403, 404)
    assert behind.arrived == []


@pytest.mark.parametrize(
    "path",
    ["/", "/v1/runtime/get-nodes", "/v1/control", "/v1/control/", "/v1/fleet/", "/docs", "/openapi.json", "/v1/health"],
)
def test_all_other_paths_are_not_found(front: Front, behind: Behind, path: str) -> None:
    assert front.ask(path, person=(front.tls, "ada")) == 404
    assert behind.arrived == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_only_post_is_forwarded(front: Front, behind: Behind, method: str) -> None:
    for path in ("/v1/fleet/pull-messages", "/v1/control/list-runs"):
        assert front.ask(path, person=(front.tls, "ada"), method=method) in (403, 405)
    assert behind.arrived == []


def test_wrong_and_expired_certificates_are_rejected(front: Front, behind: Behind, tmp_path: Path) -> None:
    other = tmp_path / "other"
    make_authority(other, "hospitals")
    issue_operator(other, "ada")
    for person in ((other, "ada"), (front.tls, "gone"), (front.tls, "server")):
        for path in ("/v1/control/start-run", "/v1/fleet/pull-messages"):
            assert front.ask(path, person=person) == 400
    assert behind.arrived == []


def test_a_revoked_certificate_is_rejected(front: Front, behind: Behind, tmp_path: Path) -> None:
    assert front.ask("/v1/control/start-run", person=(tmp_path / "taken-back", "left")) == 403
    assert behind.arrived == []


def test_successful_fleet_requests_are_not_logged(front: Front) -> None:
    assert front.ask("/v1/fleet/pull-messages") == 200
    assert front.ask("/v1/control/start-run") == 403
    wait_for(lambda: "/v1/control/start-run 403" in front.log.read_text("utf-8"), "the line of the refusal", 20)
    assert "/v1/fleet/" not in front.log.read_text("utf-8")


def test_a_server_of_another_authority_is_refused(front: Front, tmp_path: Path) -> None:
    other = tmp_path / "other"
    make_authority(other, "hospitals")
    with pytest.raises(ssl.SSLCertVerificationError):
        Front(front.port, other, front.log).ask("/v1/fleet/pull-messages")


def test_a_request_of_ten_gigabytes_is_refused_by_its_header(front: Front, behind: Behind) -> None:
    """By its header: the client sends none of the announced bytes."""
    context = ssl.create_default_context(cafile=str(front.tls / "ca.crt"))
    with (
        socket.create_connection(("127.0.0.1", front.port), 20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as channel,
    ):
        channel.sendall(
            b"POST /v1/fleet/push-object HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000000\r\n\r\n"
        )
        assert channel.recv(100).startswith(b"HTTP/1.1 413")
    assert front.ask("/v1/fleet/push-object", b"z" * ((LARGEST_REQUEST << 20) + 1)) == 413
    assert behind.arrived == []


def test_requests_without_tls_are_rejected(front: Front, behind: Behind) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=20)
    connection.request("POST", "/v1/fleet/pull-messages", b"x")
    assert connection.getresponse().status == 400
    connection.close()
    assert behind.arrived == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_of_tls_are_refused(front: Front, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context(cafile=str(front.tls / "ca.crt"))
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match=r"TLSVersion\.TLSv1"):
        context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", front.port), 20) as plain, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(plain, server_hostname="localhost")
