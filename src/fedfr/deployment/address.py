"""Host and port of a process: a name, an IPv4 address, or an IPv6 address in brackets."""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fedfr.core.errors import FedfrError
from fedfr.deployment.listeners import listeners

__all__ = [
    "Address",
    "await_free_port",
    "check_port_free",
    "is_local_address",
    "listen_addresses",
    "parse_ip",
    "refuse_zone",
    "split_host",
    "without_brackets",
]

HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)(?::([0-9]{1,5}))?")
PORT_RELEASE_TIMEOUT = 20.0
"""Longest wait in seconds for an earlier process of the same folder to end and free its port."""
NUMERIC_LABEL = re.compile(r".*\.(?:[0-9]+|0[xX][0-9A-Fa-f]*)")
"""Host name whose last label is a number; sockets interpret such a name as an IPv4 address."""


@dataclass(frozen=True)
class Address:
    """Address of a server; IPv6 addresses are in brackets."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``host:port``; raises :class:`FedfrError` for anything else."""
        refuse_zone("server", text)
        match = split_host(text)
        if match is None or match[1] is None:
            raise FedfrError(
                f"server = {text!r}; give host and port, for example fed.example.org:9443 or [2001:db8::7]:9443"
            )
        return cls(match[0], match[1])

    @property
    def name(self) -> str:
        """Host without brackets, as sockets expect it."""
        return without_brackets(self.host)

    def is_listening(self) -> bool:
        """Return whether a process listens at this address."""
        try:
            socket.create_connection((self.name, self.port), 1).close()
        except OSError:
            return False
        return True

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def split_host(text: str) -> tuple[str, int | None] | None:
    """Split a text into host (IPv6 in brackets) and optional port; None if it is neither."""
    match = HOST_PORT.fullmatch(text)
    if match is None or not _is_host(match[1]) or not 1 <= int(match[2] or 1) <= 65535:
        return None
    return match[1], int(match[2]) if match[2] else None


def without_brackets(host: str) -> str:
    """Return a host without the brackets of an IPv6 address."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def refuse_zone(what: str, text: str) -> None:
    """Raise :class:`FedfrError` for an IPv6 address with a zone, such as ``fe80::1%eth0``."""
    if "%" in text and ":" in text:
        raise FedfrError(
            f"{what} = {text!r} has a zone, valid on one machine only; give a name or an address without %"
        )


def listen_addresses() -> list[tuple[socket.AddressFamily, str]]:
    """Return the address families that a server on this machine listens in, each with its wildcard address."""
    wildcards = [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]
    return [(family, address) for family, address in wildcards if _binds(family, address)]


def check_port_free(port: int, addresses: Sequence[tuple[socket.AddressFamily, str]]) -> None:
    """Raise :class:`FedfrError` unless a server can listen at this port of all these addresses."""
    for family, address in addresses:
        with socket.socket(family) as test_socket:
            test_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                test_socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                test_socket.bind((address, port))
            except OSError as error:
                by = " and ".join(map(str, listeners(port)))
                why = f"is used by {by}" if by else f"cannot be used ({error.strerror})"
                raise FedfrError(
                    f"{port} {why}; stop that process, or choose another port in the configuration"
                ) from error


def await_free_port(port: int, addresses: Sequence[tuple[socket.AddressFamily, str]], folder: Path) -> None:
    """Wait for earlier processes of ``folder`` that are still ending, then call :func:`refuse_taken`.

    The processes of a killed supervisor take some seconds to end. Waits up to :data:`PORT_RELEASE_TIMEOUT` seconds.
    """
    deadline = time.monotonic() + PORT_RELEASE_TIMEOUT
    while time.monotonic() < deadline and any(each.belongs_to(folder) for each in listeners(port)):
        time.sleep(0.2)
    check_port_free(port, addresses)


def parse_ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return ``host`` as an IP address, or None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_local_address(host: str) -> bool:
    """Return whether ``host`` is an IP address of this machine."""
    ip = parse_ip(host)
    if ip is None:
        return False
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_loopback or ip.is_unspecified:
        return True
    # Listening at another machine's address is impossible.
    return _binds(socket.AF_INET if ip.version == 4 else socket.AF_INET6, str(ip))


def _binds(family: socket.AddressFamily, address: str) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as test_socket:
            test_socket.bind((address, 0))
    except OSError:
        return False
    return True


def _is_host(host: str) -> bool:
    if host.startswith("["):
        return isinstance(parse_ip(without_brackets(host)), ipaddress.IPv6Address)
    # Limits of DNS. For longer names the resolver raises another exception than for unknown ones.
    if len(host) > 253 or any(len(label) > 63 for label in host.split(".")):
        return False
    return not NUMERIC_LABEL.fullmatch(host) or isinstance(parse_ip(host), ipaddress.IPv4Address)
