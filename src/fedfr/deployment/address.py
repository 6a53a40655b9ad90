"""Host and port of a process, as people write them: a name, an IPv4 address, or an IPv6 address in brackets."""

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
"""Seconds that a process of one's own has to end and give its port back."""
NUMBER = re.compile(r".*\.(?:[0-9]+|0[xX][0-9A-Fa-f]*)")
"""A name whose last label is a number: sockets take it for an IPv4 address."""


@dataclass(frozen=True)
class Address:
    """Where a process listens; an IPv6 address stands in brackets."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """A server as people write it; raises :class:`FedfrError` for anything but host and port."""
        refuse_zone("server", text)
        found = split_host(text)
        if found is None or found[1] is None:
            raise FedfrError(
                f"server = {text!r}; give host and port, for example fed.example.org:9443 or [2001:db8::7]:9443"
            )
        return cls(found[0], found[1])

    @property
    def name(self) -> str:
        """The host as sockets take it, without brackets."""
        return bare(self.host)

    def answers(self) -> bool:
        """Whether somebody listens there."""
        try:
            socket.create_connection((self.name, self.port), 1).close()
        except OSError:
            return False
        return True

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def split_host(text: str) -> tuple[str, int | None] | None:
    """A host, an IPv6 address in its brackets, and the port after it if one is given; None for what is neither."""
    found = PLACE.fullmatch(text)
    if found is None or not _is_host(found[1]) or not 1 <= int(found[2] or 1) <= 65535:
        return None
    return found[1], int(found[2]) if found[2] else None


def bare(host: str) -> str:
    """A host without the brackets of an IPv6 address."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def refuse_zone(what: str, text: str) -> None:
    """Raises :class:`FedfrError` for an IPv6 address with a zone, such as ``fe80::1%eth0``."""
    if "%" in text and ":" in text:
        raise FedfrError(f"{what} = {text!r} has a zone, which is of one machine; give a name or an address without %")


def listening() -> list[tuple[socket.AddressFamily, str]]:
    """The families that a server of this machine listens in, each with the address that stands for all of its own."""
    everywhere = [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")]
    return [(family, place) for family, place in everywhere if _binds(family, place)]


def refuse_taken(port: int, places: Sequence[tuple[socket.AddressFamily, str]]) -> None:
    """Raises :class:`FedfrError` unless a server can listen at this port of all these addresses."""
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
                raise FedfrError(f"{port} {why}; end that, or choose another port in the configuration") from error


def take_port(port: int, places: Sequence[tuple[socket.AddressFamily, str]], folder: Path) -> None:
    """:func:`refuse_taken`, once what was started for ``folder`` before and is still ending has ended.

    Whoever is killed leaves its processes some seconds to end.
    """
    ends = time.monotonic() + LEFTOVER
    while time.monotonic() < ends and any(each.belongs_to(folder) for each in listeners(port)):
        time.sleep(0.2)
    refuse_taken(port, places)


def number_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that ``host`` is, None where it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_own(host: str) -> bool:
    """Whether ``host`` is an address of this machine, not a name."""
    number = number_of(host)
    if number is None:
        return False
    number = getattr(number, "ipv4_mapped", None) or number
    if number.is_loopback or number.is_unspecified:
        return True
    # Nobody can listen at another machine's.
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
