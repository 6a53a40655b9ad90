"""Route to another machine: direct, or through the proxy in the environment.

Every process of a federation speaks HTTP by one library, httpx, and would read the proxy variables by itself. The
decision is made here instead, once, from every spelling of them; what fedfr sends goes by the route that came of it,
and a process that fedfr starts sees the variables of its route and none else.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import os
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from urllib.parse import quote, unquote

import httpx

from fedfr.core.errors import FedfrError
from fedfr.deployment.address import Address, bare, is_own, number_of, split_host

__all__ = ["Route", "trackers_proxies"]

PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
"""Proxy schemes that httpx supports, with their default ports."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Route:
    """Route to ``address``; ``proxy``: its URL with credentials, ``shown``: its URL for messages."""

    address: Address
    proxy: str = field(default="", repr=False)
    shown: str = ""

    @classmethod
    def to(cls, address: Address, environment: Mapping[str, str] | None = None) -> Route:
        """Return the route that the environment selects, by default that of this process.

        ``https_proxy`` counts before ``all_proxy``, a lower-case name before the others; hosts of ``no_proxy`` and this
        machine itself are reached directly. Raises :class:`FedfrError` for a proxy that cannot be used.
        """
        environment = os.environ if environment is None else environment
        for scheme in ("https", "all"):
            name, value = _variable(environment, f"{scheme}_proxy")
            if value:
                if _excepted(address, _variable(environment, "no_proxy")[1]) or _is_here(address.name):
                    break
                try:
                    proxy, shown = _usable(name, value)
                except FedfrError as error:
                    raise FedfrError(f"{error}, or name {address.name} in NO_PROXY") from error
                return cls(address, proxy, shown)
        return cls(address)

    def client(self, trusted: ssl.SSLContext, timeout: float) -> httpx.Client:
        """Return an HTTP client for this route and servers that ``trusted`` accepts."""
        return httpx.Client(
            base_url=f"https://{self.address}",
            verify=trusted,
            proxy=self.proxy or None,
            timeout=timeout,
            trust_env=False,
        )

    def variables(self) -> dict[str, str]:
        """Return proxy variables for a process that uses this route and reaches all other hosts directly."""
        return _both_cases({"https_proxy": self.proxy, "no_proxy": ",".join(LOOPBACK)} if self.proxy else {})

    def failure(self, error: Exception) -> str:
        """Explain why a request failed, naming the responsible part."""
        if isinstance(error, httpx.ProxyError):
            return f"the proxy {self.shown} refuses: {error}"
        cause = _cause(error, OSError)
        why = (isinstance(cause, OSError) and cause.strerror) or str(error) or type(error).__name__
        reached = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) or isinstance(cause, ssl.SSLError)
        return why if reached or not self.proxy else f"the proxy {self.shown} does not answer: {why}"

    def __str__(self) -> str:
        return f"{self.address} through the proxy {self.shown}" if self.proxy else str(self.address)


def distrust(error: Exception) -> str:
    """Explain why the server's certificate was rejected; empty if it was not."""
    found = _cause(error, ssl.SSLCertVerificationError)
    return str(found.verify_message) if isinstance(found, ssl.SSLCertVerificationError) else ""


def trackers_proxies(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return proxy variables for a process that contacts this machine, and whose trackers may contact others.

    Proxies that cannot be used are left out: they would end that process. Returns what to say of them, too.
    """
    kept: dict[str, str] = {}
    said = []
    for scheme in ("http", "https", "all"):
        name, value = _variable(environment, f"{scheme}_proxy")
        if value:
            try:
                kept[f"{scheme}_proxy"] = _usable(name, value)[0]
            except FedfrError as error:
                said.append(f"trackers use no proxy: {error}")
    excepted = [token for token in _tokens(_variable(environment, "no_proxy")[1]) if _is_plain(token)]
    kept["no_proxy"] = ",".join(dict.fromkeys([*excepted, *LOOPBACK, socket.gethostname()]))
    return _both_cases(kept), said


def without_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without proxies."""
    kept = {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}
    return {**kept, **_both_cases({"no_proxy": "*"})}


def _both_cases(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for key, value in variables.items() for name in (key, key.upper())}


def _variable(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return a proxy variable in either case; lower case takes precedence, even if empty, as in Python's libraries."""
    found = [(key, value.strip()) for key, value in environment.items() if key.lower() == name]
    found.sort(key=lambda each: (each[0] != name, not each[1], each[0]))
    return found[0] if found else (name, "")


def _usable(name: str, value: str) -> tuple[str, str]:
    """Return a proxy's URL with and without credentials; raises :class:`FedfrError` for an unusable one."""
    scheme, given, rest = value.partition("://")
    scheme, rest = (scheme.lower(), rest) if given else ("http", value)
    login, _, place = rest.rpartition("@")
    found = split_host(re.split(r"[/?#]", place, maxsplit=1)[0].rstrip(":."))
    hint = f"set {name} to a proxy such as http://proxy.example.org:3128"
    if found is None:
        # The value is not shown: an unparsed part may be a password.
        raise FedfrError(f"{name} does not name a proxy by scheme, host and port; {hint}")
    if scheme not in PORTS:
        raise FedfrError(f"{name} names a {scheme} proxy at {found[0]}, which cannot be used; {hint}")
    shown = f"{scheme}://{found[0]}:{found[1] or PORTS[scheme]}"
    if scheme.startswith("socks") and find_spec("socksio") is None:
        raise FedfrError(f"{name} names {shown}, and SOCKS needs a library; pip install 'httpx[socks]', {hint}")
    user, colon, password = login.partition(":")
    coded = "".join([_coded(user), colon, _coded(password)])
    return shown.replace("://", f"://{coded}@") if login else shown, f"{shown} ({name})"


def _coded(text: str) -> str:
    """Percent-encode a part of a login for URLs."""
    return quote(unquote(text, errors="surrogateescape"), safe="", errors="surrogateescape")


def _tokens(exceptions: str) -> list[str]:
    return [token.rpartition("://")[2] for token in re.split(r"[\s,;]+", exceptions) if token]


def _is_plain(token: str) -> bool:
    """Return whether every library can parse this ``no_proxy`` entry; some crash on others."""
    return (
        token == "*" or _network(token) is not None or ("[" not in token and split_host(token.lstrip(".")) is not None)
    )


def _excepted(address: Address, exceptions: str) -> bool:
    """Return whether ``no_proxy`` matches this address by name, domain, port, address or network."""
    return any(_matches(address, token.lower()) for token in _tokens(exceptions))


def _matches(address: Address, token: str) -> bool:
    if token == "*":
        return True
    name, number = address.name.lower().rstrip("."), number_of(address.name)
    network = _network(token.strip("[]"))
    if network is None and (found := split_host(token)) is not None and found[1] is not None:
        if found[1] != address.port:
            return False
        token, network = found[0], _network(bare(found[0]))
    if network is not None:
        return number is not None and number.version == network.version and number in network
    domain = token.rstrip(".").removeprefix("*").removeprefix(".")
    if "*" in domain:
        return fnmatch.fnmatchcase(name, domain)
    return bool(domain) and (name == domain or name.endswith(f".{domain}"))


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _is_here(host: str) -> bool:
    """Return whether a host is this machine, by name or because all its addresses are local."""
    name = host.lower().rstrip(".")
    if name in ("localhost", socket.gethostname().lower()) or name.endswith(".localhost"):
        return True
    try:
        found = {str(place[0]) for _, _, _, _, place in socket.getaddrinfo(host, None)}
    except OSError:
        # Behind a proxy, names of other machines are often known to the proxy only.
        return False
    return all(map(is_own, found))


def _cause(error: BaseException | None, kind: type[BaseException]) -> BaseException | None:
    """Return the exception of this kind in the chain of ``error``, or None."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error
