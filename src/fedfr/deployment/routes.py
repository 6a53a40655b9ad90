"""Routes to other machines: direct, or through the HTTP or SOCKS proxy named in the environment.

All processes of a federation use httpx, which would read the proxy variables by itself. Instead, this module reads them
once, in every spelling, and decides the route. fedfr's own requests use that route, and a process that fedfr starts
gets only the variables of its route.
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
from fedfr.deployment.address import Address, is_local_address, parse_ip, split_host, without_brackets

__all__ = ["Route", "tracker_proxies"]

DEFAULT_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
"""Proxy schemes that httpx supports, with their default ports."""

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Route:
    """Route to ``address``.

    ``proxy``: URL of the proxy with credentials, empty for a direct route. ``display``: the URL without credentials and
    the variable that names it, for messages.
    """

    address: Address
    proxy: str = field(default="", repr=False)
    display: str = ""

    @classmethod
    def to(cls, address: Address, environment: Mapping[str, str] | None = None) -> Route:
        """Return the route that ``environment`` selects, by default the environment of this process.

        ``https_proxy`` takes precedence over ``all_proxy``, and a lower-case name over other spellings. Hosts in
        ``no_proxy`` and this machine are reached directly. Raises :class:`FedfrError` for an unusable proxy.
        """
        environment = os.environ if environment is None else environment
        for scheme in ("https", "all"):
            name, value = _variable(environment, f"{scheme}_proxy")
            if value:
                if _is_exempt(address, _variable(environment, "no_proxy")[1]) or _is_local(address.name):
                    break
                try:
                    proxy, display = _parse_proxy(name, value)
                except FedfrError as error:
                    raise FedfrError(f"{error}, or name {address.name} in NO_PROXY") from error
                return cls(address, proxy, display)
        return cls(address)

    def client(self, trusted: ssl.SSLContext, timeout: float) -> httpx.Client:
        """Return an HTTPS client for this route; ``trusted`` verifies the server, ``timeout`` is in seconds."""
        return httpx.Client(
            base_url=f"https://{self.address}",
            verify=trusted,
            proxy=self.proxy or None,
            timeout=timeout,
            trust_env=False,
        )

    def variables(self) -> dict[str, str]:
        """Return the proxy variables for a process that uses only this route."""
        return _both_cases({"https_proxy": self.proxy, "no_proxy": ",".join(LOOPBACK_HOSTS)} if self.proxy else {})

    def failure(self, error: Exception) -> str:
        """Explain in a few words why a request failed, naming the proxy if it was the cause."""
        if isinstance(error, httpx.ProxyError):
            return f"the proxy {self.display} refuses: {error}"
        cause = _cause(error, OSError)
        why = (isinstance(cause, OSError) and cause.strerror) or str(error) or type(error).__name__
        connected = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) or isinstance(cause, ssl.SSLError)
        return why if connected or not self.proxy else f"the proxy {self.display} does not answer: {why}"

    def __str__(self) -> str:
        return f"{self.address} through the proxy {self.display}" if self.proxy else str(self.address)


def certificate_error(error: Exception) -> str:
    """Return why the server's certificate was rejected; empty if the error has another cause."""
    found = _cause(error, ssl.SSLCertVerificationError)
    return str(found.verify_message) if isinstance(found, ssl.SSLCertVerificationError) else ""


def tracker_proxies(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return proxy variables for a process that reaches this machine directly and whose trackers may use a proxy.

    Unusable proxies, which would end that process, are left out; the second value holds a warning for each.
    """
    kept: dict[str, str] = {}
    warnings = []
    for scheme in ("http", "https", "all"):
        name, value = _variable(environment, f"{scheme}_proxy")
        if value:
            try:
                kept[f"{scheme}_proxy"] = _parse_proxy(name, value)[0]
            except FedfrError as error:
                warnings.append(f"trackers do not use a proxy: {error}")
    exemptions = [token for token in _tokens(_variable(environment, "no_proxy")[1]) if _is_portable(token)]
    kept["no_proxy"] = ",".join(dict.fromkeys([*exemptions, *LOOPBACK_HOSTS, socket.gethostname()]))
    return _both_cases(kept), warnings


def without_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of an environment whose variables disable all proxies."""
    kept = {name: value for name, value in environment.items() if not name.lower().endswith("_proxy")}
    return {**kept, **_both_cases({"no_proxy": "*"})}


def _both_cases(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for key, value in variables.items() for name in (key, key.upper())}


def _variable(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return a proxy variable in either case; lower case takes precedence, even if empty, as in Python's libraries."""
    found = [(key, value.strip()) for key, value in environment.items() if key.lower() == name]
    found.sort(key=lambda each: (each[0] != name, not each[1], each[0]))
    return found[0] if found else (name, "")


def _parse_proxy(name: str, value: str) -> tuple[str, str]:
    """Return a proxy's URL with and without credentials; raises :class:`FedfrError` for an unusable one."""
    scheme, given, rest = value.partition("://")
    scheme, rest = (scheme.lower(), rest) if given else ("http", value)
    credentials, _, address_info = rest.rpartition("@")
    found = split_host(re.split(r"[/?#]", address_info, maxsplit=1)[0].rstrip(":."))
    hint = f"set {name} to a proxy such as http://proxy.example.org:3128"
    if found is None:
        # The value is not shown because an unparsed part may be a password.
        raise FedfrError(f"{name} does not name a proxy by scheme, host and port; {hint}")
    if scheme not in DEFAULT_PORTS:
        raise FedfrError(f"{name} names a {scheme} proxy at {found[0]}, which cannot be used; {hint}")
    display = f"{scheme}://{found[0]}:{found[1] or DEFAULT_PORTS[scheme]}"
    if scheme.startswith("socks") and find_spec("socksio") is None:
        raise FedfrError(
            f"{name} names {display}, but SOCKS needs an extra package; pip install 'httpx[socks]', {hint}"
        )
    user, colon, password = credentials.partition(":")
    encoded = "".join([_percent_encoded(user), colon, _percent_encoded(password)])
    return display.replace("://", f"://{encoded}@") if credentials else display, f"{display} ({name})"


def _percent_encoded(text: str) -> str:
    """Percent-encode a user name or password for a URL."""
    return quote(unquote(text, errors="surrogateescape"), safe="", errors="surrogateescape")


def _tokens(exemptions: str) -> list[str]:
    return [token.rpartition("://")[2] for token in re.split(r"[\s,;]+", exemptions) if token]


def _is_portable(token: str) -> bool:
    """Return whether every HTTP library can parse this ``no_proxy`` entry; some fail on others."""
    return (
        token == "*" or _network(token) is not None or ("[" not in token and split_host(token.lstrip(".")) is not None)
    )


def _is_exempt(address: Address, exemptions: str) -> bool:
    """Return whether ``no_proxy`` matches this address by name, domain, port, address or network."""
    return any(_matches(address, token.lower()) for token in _tokens(exemptions))


def _matches(address: Address, token: str) -> bool:
    if token == "*":
        return True
    name, number = address.name.lower().rstrip("."), parse_ip(address.name)
    network = _network(token.strip("[]"))
    if network is None and (found := split_host(token)) is not None and found[1] is not None:
        if found[1] != address.port:
            return False
        token, network = found[0], _network(without_brackets(found[0]))
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


def _is_local(host: str) -> bool:
    """Return whether a host is this machine: by its name, or because all its addresses are local."""
    name = host.lower().rstrip(".")
    if name in ("localhost", socket.gethostname().lower()) or name.endswith(".localhost"):
        return True
    try:
        found = {str(address_info[0]) for _, _, _, _, address_info in socket.getaddrinfo(host, None)}
    except OSError:
        # Behind a proxy, often only the proxy can resolve the names of other machines.
        return False
    return all(map(is_local_address, found))


def _cause(error: BaseException | None, kind: type[BaseException]) -> BaseException | None:
    """Return the exception of this kind in the chain of ``error``, or None."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error
