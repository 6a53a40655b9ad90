"""HTTPS server in a thread that behaves as the coordinator's proxy: files, ranges, and injected faults."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from fedfr.deployment.certificates import issue_server, make_authority

__all__ = ["Server", "authority_in", "serving"]


def authority_in(folder: Path) -> Path:
    """Create an authority and a server certificate for this machine; return the authority's certificate."""
    make_authority(folder, "hospitals")
    issue_server(folder, ["localhost", "127.0.0.1"])
    return folder / "ca.crt"


@dataclass
class Server:
    """What it does may be changed between requests; ``asked``: path and range of every request for a file.

    ``cut``: bytes of an answer's body, by the file's name, after which the connection is closed, once. ``date``: what
    it says of the time. ``ranges``: whether it knows what a range is. ``silent``: it does not say how much comes.
    ``login``: its answer to a site's key, by default that of a SuperLink that knows it.
    """

    root: Path
    address: str = ""
    cut: dict[str, int] = field(default_factory=dict)
    date: str | None = None
    ranges: bool = True
    silent: bool = False
    login: int = 400
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def serving(root: Path, tls: Path) -> Iterator[Server]:
    """Serve the files below ``root`` with the certificate in ``tls`` until the block ends."""
    made = Server(root)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *anything: Any) -> None:
            pass

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(timestamp) if made.date is None else made.date

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.answer(made.login if self.path == "/v1/fleet/activate-node" else 404, b"")

        def do_GET(self) -> None:
            given = self.headers.get("Range", "")
            made.asked.append((self.path.rpartition("/")[2], given))
            path = made.root / self.path.lstrip("/")
            if not path.is_file():
                self.answer(404, b"no such file")
                return
            content = path.read_bytes()
            begin = int(given.removeprefix("bytes=").removesuffix("-")) if given and made.ranges else 0
            if given and made.ranges and begin >= len(content):
                self.answer(416, b"")
                return
            self.answer(206 if given and made.ranges else 200, content[begin:], made.cut.pop(path.name, None))

        def answer(self, status: int, body: bytes, cut: int | None = None) -> None:
            self.send_response(status)
            if made.silent:
                self.close_connection = True
            else:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:cut])
            self.close_connection = self.close_connection or cut is not None

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *anything: Any) -> None:
            """Ignore clients that reject the certificate."""

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls / "server.crt", tls / "server.key")
    server = Quiet(("127.0.0.1", 0), Handler)
    # The handshake belongs to each connection's own thread: one that fails must not stop the others.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    made.address = f"localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
