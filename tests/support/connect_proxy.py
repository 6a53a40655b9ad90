"""HTTP proxy in a thread that accepts only CONNECT and connects every host name to one local port."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

__all__ = ["ConnectProxy", "proxying"]


@dataclass
class ConnectProxy:
    """``asked``: requested hosts and ports. ``login``: required credentials in Base64."""

    target: int
    port: int = 0
    login: str = ""
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def proxying(target: int) -> Iterator[ConnectProxy]:
    """Run a proxy that connects every tunnel to this port of 127.0.0.1."""
    made = ConnectProxy(target)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            method, host, _ = self.rfile.readline().decode("latin-1").split(" ")
            headers = [*iter(lambda: self.rfile.readline().strip().decode("latin-1"), "")]
            if method != "CONNECT":
                self.wfile.write(b"HTTP/1.1 405 Only CONNECT\r\n\r\n")
                return
            if made.login and f"proxy-authorization: basic {made.login}" not in [each.lower() for each in headers]:
                self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                return
            made.asked.append(host)
            with socket.create_connection(("127.0.0.1", made.target)) as beyond:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_pass_on, args=(beyond, self.connection))
                back.start()
                _pass_on(self.connection, beyond)
                back.join()

    class Quiet(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, *anything: object) -> None:
            """Ignore closed connections."""

    with Quiet(("127.0.0.1", 0), Handler) as server:
        made.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(1 << 16):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
