"""Run the service: socket, TLS, opening of the gallery, and an orderly stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import ssl
import stat
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from fedfr.core.errors import FedfrError
from fedfr.core.secret_files import refuse_readable
from fedfr.recognition.service.access import is_loopback
from fedfr.recognition.service.app import create_app
from fedfr.recognition.service.limits import ServiceLimits
from fedfr.recognition.service.protocol import TimedProtocol
from fedfr.recognition.service.rebuilding import RebuildWork
from fedfr.recognition.service.state import ServiceState
from fedfr.recognition.service.tokens import Tokens

if TYPE_CHECKING:
    from fedfr.recognition.recognizer import Recognizer

__all__ = ["Tls", "check_exposure", "listen", "serve"]


class _Loop(asyncio.SelectorEventLoop):
    """Event loop whose servers wait for a TLS handshake no longer than for headers."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def create_server(self, *given: Any, **named: Any) -> asyncio.Server:
        """Create a server as the loop does."""
        if named.get("ssl") is not None:
            named.setdefault("ssl_handshake_timeout", self._seconds)
        return await super().create_server(*given, **named)


class _Server(uvicorn.Server):
    """Server that a signal stops without ending the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGTERM and SIGINT; a second SIGINT does not wait for requests."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Tls:
    """TLS ``context`` with a certificate and its key; ``names`` are the names of the certificate."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            for path in (certificate, key):
                path.open("rb").close()
            # Servers of one machine often share a key by a group.
            refuse_readable(key, f"the TLS key {key}", stat.S_IRWXO)
            if key.stat().st_mode & stat.S_IRWXG:
                warnings.warn(f"the TLS key {key} is readable by its group", UserWarning, stacklevel=2)
            # An encrypted key would ask for its passphrase on the terminal.
            self.context.load_cert_chain(certificate, key, password=_no_passphrase)
        except OSError as error:
            if isinstance(error, ssl.SSLError):
                raise FedfrError(
                    f"{certificate} and {key} are no certificate with its unencrypted key (PEM); check both files"
                ) from error
            raise FedfrError(f"cannot read {error.filename}: {error.strerror}; check the path") from error
        except ValueError as error:
            raise FedfrError(f"{key} is encrypted; give an unencrypted key that only this user can read") from error
        try:
            self.names = _names_in(certificate)
        except ValueError as error:
            raise FedfrError(f"{certificate} is no certificate that can be read; give another one (PEM)") from error


def _no_passphrase() -> str:
    raise ValueError("encrypted")


def _names_in(certificate: Path) -> tuple[str, ...]:
    from cryptography import x509

    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    with contextlib.suppress(x509.ExtensionNotFound):
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        addresses = map(str, names.get_values_for_type(x509.IPAddress))
        return (*names.get_values_for_type(x509.DNSName), *addresses)
    return ()


def listen(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets for the addresses of a host name; raises :class:`FedfrError` if there are none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise FedfrError(f"--host {host!r} is no address or name of this machine; use 127.0.0.1 or ::1") from error
    opened: list[socket.socket] = []
    failed: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(found):
        place = (address[0], opened[0].getsockname()[1], *address[2:]) if opened and not port else address
        try:
            opened.append(_bound(family, kind, protocol, place))
        except OSError as error:
            failed = error
            if error.errno == errno.EADDRINUSE:
                break
    if failed is not None and (not opened or failed.errno == errno.EADDRINUSE):
        for each in opened:
            each.close()
        raise FedfrError(_cannot_listen(host, port, failed)) from failed
    return opened


def _bound(family: int, kind: int, protocol: int, address: Any) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        made.listen(128)
    except BaseException:
        made.close()
        raise
    return made


def _cannot_listen(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use by another program; use another --port"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"port {port} needs more rights than this user has; use a --port from 1024 to 65535"
    return f"cannot listen on {host}, port {port}: {error.strerror}; use an address of this machine as --host"


def serve(
    folder: Path,
    open_gallery: Callable[[], Recognizer],
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    tls: Tls | None = None,
    names: Sequence[str] = (),
    limits: ServiceLimits | None = None,
    rebuild: RebuildWork | None = None,
    started: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve a gallery until the process gets SIGTERM or SIGINT; requests that are being answered are finished.

    The gallery is opened while the service already answers ``/v1/health`` with ``starting``. ``started`` gets the
    address once the gallery is open, and ``rebuild`` does what ``POST /v1/rebuild`` asks for. Beyond this machine,
    tokens and ``tls`` are required. Raises :class:`FedfrError` if they are missing, if the address cannot be used, or
    if the gallery cannot be opened.
    """
    limits = limits or ServiceLimits()
    check_exposure(folder, host, tls)
    sockets = listen(host, port)
    local_only = all(is_loopback(str(each.getsockname()[0])) for each in sockets)
    if not local_only:
        check_exposure(folder, "0.0.0.0", tls)
    state = ServiceState(
        folder,
        limits,
        names=(host, *names, *(tls.names if tls else ())),
        local_only=local_only,
        rebuild=rebuild,
    )
    failure: list[BaseException] = []

    def open_now() -> None:
        try:
            state.open(open_gallery())
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            failure.append(error)
            server.should_exit = True
            return
        started(_address(host, sockets[0].getsockname()[1], tls))

    app = create_app(state, lambda: threading.Thread(target=open_now, daemon=True).start())
    config = uvicorn.Config(
        app,
        http=TimedProtocol.limited_by(limits),
        ws="none",
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        log_level="warning",
        timeout_keep_alive=round(limits.keep_alive_seconds),
        timeout_graceful_shutdown=round(limits.stop_seconds),
    )
    config.load()
    config.ssl = None if tls is None else tls.context
    server = _Server(config)
    with asyncio.Runner(loop_factory=lambda: _Loop(limits.header_seconds)) as runner:
        runner.run(server.serve(sockets))
    if state.recognizer is not None:
        state.recognizer.close()
    if failure:
        raise failure[0]


def check_exposure(folder: Path, host: str, tls: Tls | None) -> None:
    """Raise :class:`FedfrError` if the service would be reachable by others without tokens or TLS."""
    if is_loopback(host):
        return
    if not Tokens(folder).all():
        raise FedfrError(
            f"--host {host} can be reached from other machines, and there is no token; create one with "
            f"`fedfr gallery token add {folder} NAME`"
        )
    if tls is None:
        raise FedfrError(
            f"--host {host} can be reached from other machines, and tokens would be sent in the clear; "
            "give --tls-cert and --tls-key"
        )


def _address(host: str, port: int, tls: Tls | None) -> str:
    return f"{'http' if tls is None else 'https'}://{f'[{host}]' if ':' in host else host}:{port}"
