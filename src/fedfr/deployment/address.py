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
    "bare",
    "is_own",
    "listening",
    "number_of",
    "refuse_taken",
    "refuse_zone",
    "split_host",
    "take_port",
]

PLACE = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)(?::([0-9]{1,5}))?")
LEFTOVER = 20.0
"""Seconds to wait for an earlier process of the same folder to end and free its port."""
NUMBER = re.compile(r".*\.(?:[0-9]+|0[xX][0-9A-Fa-f]*)")
"""A name whose last label is a number, which sockets interpret as an IPv4 address."""


@dataclass(frozen=True)
class Address:
    """Address of a server; IPv6 addresses are in brackets."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``host:port``; raises :class:`FedfrError` for anything else."""
        refuse_zone("server", text)
        found = split_host(text)
        if found is None or found[1] is None:
            raise FedfrError(
                f"server = {text!r}; give host and port, for example fed.example.org:9443 or [2001:db8::7]:9443"
            )
        return cls(found[0], found[1])

    @property
    def name(self) -> str:
        """Host without brackets, as sockets expect it."""
        return bare(self.host)

    def answers(self) -> bool:
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
    found = PLACE.fullmatch(text)
    if found is None or not _is_host(found[1]) or not 1 <= int(found[2] or 1) <= 65535:
        return None
    return found[1], int(found[2]) if found[2] else None


def bare(host: str) -> str:
    """Return a host without the brackets of an IPv6 address."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def refuse_zone(what: str, text: str) -> None:
    """Raise :class:`FedfrError` for an IPv6 address with a zone, such as ``fe80::1%eth0``."""
    if "%" in text and ":" in text:
        raise FedfrError(
            f"{what} = {text!r} has a zone, valid on one machine only; give a name or an address without %"
        )


def listening() -> list[tuple[socket.AddressFamily, str]]:
    """Return the address families that a server on this machine listens in, each with its wildcard address."""
    everywhere = [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]
    return [(family, place) for family, place in everywhere if _binds(family, place)]


def refuse_taken(port: int, places: Sequence[tuple[socket.AddressFamily, str]]) -> None:
    """Raise :class:`FedfrError` unless a server can listen at this port of all these addresses."""
    for family, place in places:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind((place, port))
            except OSError as error:
                by = " and ".join(map(str, listeners(port)))
                why = f"is used by {by}" if by else f"cannot be used ({error.strerror})"
                raise FedfrError(
                    f"{port} {why}; stop that process, or choose another port in the configuration"
                ) from error


def take_port(port: int, places: Sequence[tuple[socket.AddressFamily, str]], folder: Path) -> None:
    """Wait for earlier processes of ``folder`` that are still ending, then call :func:`refuse_taken`.

    Whoever is killed leaves its processes some seconds to end.
    """
    ends = time.monotonic() + LEFTOVER
    while time.monotonic() < ends and any(each.belongs_to(folder) for each in listeners(port)):
        time.sleep(0.2)
    refuse_taken(port, places)


def number_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return ``host`` as an IP address, or None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_own(host: str) -> bool:
    """Return whether ``host`` is an IP address of this machine."""
    number = number_of(host)
    if number is None:
        return False
    number = getattr(number, "ipv4_mapped", None) or number
    if number.is_loopback or number.is_unspecified:
        return True
    # Listening at another machine's address is impossible.
    return _binds(socket.AF_INET if number.version == 4 else socket.AF_INET6, str(number))


def _binds(family: socket.AddressFamily, place: str) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((place, 0))
    except OSError:
        return False
    return True


def _is_host(host: str) -> bool:
    if host.startswith("["):
        return isinstance(number_of(bare(host)), ipaddress.IPv6Address)
    # No name is longer, and the resolver ends in another error than that it does not know one.
    if len(host) > 253 or any(len(label) > 63 for label in host.split(".")):
        return False
    return not NUMBER.fullmatch(host) or isinstance(number_of(host), ipaddress.IPv4Address)
