"""Addresses of host and port: valid forms, and errors for all others."""

from __future__ import annotations

import socket

import pytest

from fedfr.core.errors import FedfrError
from fedfr.deployment.address import Address, is_local_address, listen_addresses
from fedfr.deployment.processes import superlink_command, supernode_command


@pytest.mark.parametrize(
    ("text", "name", "port"),
    [
        ("fed.example.org:9443", "fed.example.org", 9443),
        ("192.0.2.7:1", "192.0.2.7", 1),
        ("[::1]:9000", "::1", 9000),
        ("[2001:DB8::7]:65535", "2001:DB8::7", 65535),
        ("[::ffff:127.0.0.1]:9000", "::ffff:127.0.0.1", 9000),
    ],
)
def test_valid_addresses(text: str, name: str, port: int) -> None:
    address = Address.parse(text)
    assert (address.name, address.port, str(address)) == (name, port, text)


@pytest.mark.parametrize(
    "text",
    [
        "::1",
        "::1:9443",
        "[::1]",
        "[::1]:",
        "[:::1]:9",
        "[1.2.3.4]:9",
        "[fed]:9",
        "300.1.1.1:9",
        "1.2.3:9",
        "a:0",
        f"{'a' * 64}.example.org:9443",
        f"{'a.' * 127}org:9443",
        "[]:9",
    ],
)
def test_invalid_addresses(text: str) -> None:
    with pytest.raises(FedfrError) as refused:
        Address.parse(text)
    hint = "give host and port, for example fed.example.org:9443 or [2001:db8::7]:9443"
    assert str(refused.value) == f"server = {text!r}; {hint}"


@pytest.mark.parametrize("text", ["fe80::1%eth0", "[fe80::1%eth0]:9443", "[fe80::1%25eth0]:9443"])
def test_addresses_with_a_zone_are_refused(text: str) -> None:
    with pytest.raises(FedfrError) as refused:
        Address.parse(text)
    zone = "has a zone, valid on one machine only; give a name or an address without %"
    assert str(refused.value) == f"server = {text!r} {zone}"


def test_flower_receives_listen_addresses_without_brackets(tmp_path_factory: pytest.TempPathFactory) -> None:
    here = Address.parse("[::1]:9000")
    folder = tmp_path_factory.mktemp("site")
    assert superlink_command(here)[-4:] == ["--host", "::1", "--port", "9000"]
    command = supernode_command(here, folder / "site.yaml", here)
    assert command[command.index("--superlink") + 1] == "[::1]:9000"
    assert command[command.index("--host") + 1] == "::1"


def test_local_addresses() -> None:
    assert [family for family, _ in listen_addresses()] == [socket.AF_INET, socket.AF_INET6]
    assert [
        is_local_address(host)
        for host in ("::1", "127.9.9.9", "::ffff:127.0.0.1", "2001:db8::7", "192.0.2.7", "localhost")
    ] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]
