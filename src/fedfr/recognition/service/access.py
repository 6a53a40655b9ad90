"""Who may use the service: tokens, this machine alone without them, names of the service, and failed attempts."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from fedfr.core.errors import FedfrError
from fedfr.recognition.service.errors import ApiError
from fedfr.recognition.service.limits import RateLimit, ServiceLimits
from fedfr.recognition.service.tokens import Scope, Tokens

__all__ = ["Access", "Caller", "host_names", "is_loopback", "network_of"]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


@dataclass(frozen=True)
class Caller:
    """Sender of a request: ``key`` identifies it to the rate limit, ``scope`` says what it may do."""

    key: str
    scope: Scope


def is_loopback(host: str) -> bool:
    """Return whether an address or host name is this machine only."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    return address.is_loopback or bool(isinstance(address, ipaddress.IPv6Address) and _mapped_loopback(address))


def _mapped_loopback(address: ipaddress.IPv6Address) -> bool:
    return address.ipv4_mapped is not None and address.ipv4_mapped.is_loopback


def host_names(hosts: Iterable[str]) -> frozenset[str]:
    """Return host names as they are compared: lower case, addresses in their shortest form, no brackets."""
    return frozenset(_host(host) for host in hosts)


def _host(host: str) -> str:
    bare = host.strip().lower().removeprefix("[").removesuffix("]").rstrip(".")
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return bare


class Access:
    """Check the sender of each request.

    ``names``: host names and addresses by which clients may call the service, besides those of this machine.
    ``local_only``: whether the service listens on this machine alone. Only then, and while no token has been seen, it
    is open without one.
    """

    def __init__(
        self, tokens: Tokens, limits: ServiceLimits, *, names: Iterable[str] = (), local_only: bool = True
    ) -> None:
        self._tokens, self._local_only = tokens, local_only
        self._names = LOOPBACK | host_names(names)
        self._failed = RateLimit(limits.failed_rate, limits.failed_burst)
        self._needs_token = not local_only

    def check_site(self, headers: Headers, method: str) -> None:
        """Refuse requests to another name (DNS rebinding) and from pages of another site (request forgery)."""
        hosts = headers.getlist("host")
        try:
            name = urlsplit(f"//{hosts[0]}").hostname if len(hosts) == 1 and _HOST.fullmatch(hosts[0]) else None
        except ValueError:
            name = None
        if name is None or _host(name) not in self._names:
            raise ApiError(
                421,
                "wrong-host",
                "the service has another name; use its address, or start it with --name and this name",
            )
        origin = headers.get("origin")
        if origin is not None and not _same_place(origin, hosts[0]):
            raise ApiError(403, "wrong-origin", "pages of another site may not use this service")
        if headers.get("sec-fetch-site") in {"cross-site", "same-site"} and not _is_visit(headers, method):
            raise ApiError(403, "wrong-origin", "pages of another site may not use this service")

    def caller(self, headers: Headers, address: str) -> Caller:
        """Return the sender of a request; raises :class:`ApiError` without a valid token."""
        if not self._needs_token:
            self._needs_token = bool(self._all())
        if not self._needs_token:
            if not is_loopback(address) or any(name in headers for name in _FORWARDED):
                raise ApiError(
                    403, "local-only", "without tokens the service is for this machine only; create one first"
                )
            return Caller("local", "admin")
        text = _given(headers)
        if text is None:
            raise ApiError(401, "no-token", "the header Authorization: Bearer TOKEN is missing")
        self._all()
        token = self._tokens.find(text)
        if token is not None:
            return Caller(f"token {token.name}", token.scope)
        # A valid token works from an address with wrong ones, too: many clients may share it.
        wait = self._failed.wait(network_of(address))
        if wait:
            raise ApiError(429, "too-many-requests", "too many wrong tokens; wait, and try again", retry_after=wait)
        raise ApiError(401, "wrong-token", "this token is not valid; it may have been revoked")

    def _all(self) -> bool:
        try:
            return bool(self._tokens.all())
        except FedfrError as error:
            raise ApiError(503, "tokens-unreadable", "the service cannot read its tokens; see its log") from error


def _given(headers: Headers) -> str | None:
    key = headers.get("x-api-key")
    if key:
        return key
    kind, _, text = headers.get("authorization", "").partition(" ")
    return text.strip() or None if kind.lower() == "bearer" else None


def _same_place(origin: str, host: str) -> bool:
    try:
        there, here = urlsplit(origin), urlsplit(f"//{host}")
        default = {"http": 80, "https": 443}.get(there.scheme)
        return (
            default is not None
            and there.hostname is not None
            and here.hostname is not None
            and _host(there.hostname) == _host(here.hostname)
            and (there.port or default) == (here.port or default)
        )
    except ValueError:
        return False


def _is_visit(headers: Headers, method: str) -> bool:
    """Whether a browser opens a page, for instance by a link on another one."""
    return (
        method == "GET" and headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    )


def network_of(address: str) -> str:
    """Return the address, or its /64 network: a machine has many IPv6 addresses."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
