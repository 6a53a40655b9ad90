"""Checks of ``fedfr server check``: certificates, ports, disk, sites, nginx."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.deployment.conftest import Machine
from tests.support.check_results import coordinator_results, failures
from tests.support.deployment_folders import OTHER, SITE, Deployment, edit
from tests.support.neighbours import listening_for

from fedfr.core.locks import locked
from fedfr.deployment.certificates import issue_server, make_authority
from fedfr.deployment.checks import check_server
from fedfr.deployment.coordinator import Coordinator

pytestmark = pytest.mark.usefixtures("machine")


@contextmanager
def both_ports(deployment: Deployment) -> Iterator[list[int]]:
    """Processes that listen at the coordinator's two ports; yields their ids."""
    folder, config = deployment.coordinator.folder, deployment.coordinator.config
    with listening_for(folder, config.port) as (one, _), listening_for(folder, config.inner_port) as (other, _):
        yield [one, other]


def test_all_checks_of_a_running_coordinator_pass(deployment: Deployment, machine: Machine) -> None:
    config = deployment.coordinator.config
    machine.served = deployment.coordinator.tls / "server.crt"
    with locked(deployment.coordinator.folder), both_ports(deployment) as processes:
        lines = coordinator_results(deployment)
    assert failures(lines) == {}
    ports = [f"port {config.port}", f"port {config.inner_port}"]
    certificates = ["certificate ca", "certificate server"]
    assert [*lines] == [
        "configuration",
        *certificates,
        "hosts",
        "addresses",
        "folder",
        "certificate in use",
        "nginx",
        "proxy",
        "sites",
        "disk",
        *ports,
        "running",
    ]
    assert lines["configuration"].found == f"hospitals, localhost, port {config.port}"
    assert lines["addresses"].found == f"0.0.0.0:{config.port} and [::]:{config.port}"
    assert lines["certificate server"].found == "valid for 397 days"
    assert lines["sites"].found == f"{SITE}, {OTHER}"
    assert [lines[port].found for port in ports] == [
        f"{number}, in use by its own process {process} (the site in {deployment.coordinator.folder})"
        for number, process in zip((config.port, config.inner_port), processes, strict=True)
    ]
    assert machine.asked == [deployment.coordinator.runs]


def test_a_stopped_coordinator(deployment: Deployment) -> None:
    lines = coordinator_results(deployment)
    assert failures(lines) == {"running": f"no; `fedfr server run {deployment.coordinator.folder}`"}
    assert lines[f"port {deployment.coordinator.config.port}"].found.endswith("is free")


@pytest.mark.parametrize(
    ("which", "family", "place"),
    [
        ("inner_port", socket.AF_INET, "127.0.0.1"),
        ("port", socket.AF_INET, "127.0.0.2"),
        ("port", socket.AF_INET6, "::1"),
        ("port", socket.AF_INET6, "::"),
    ],
)
def test_a_port_in_use_is_reported(
    deployment: Deployment, which: str, family: socket.AddressFamily, place: str
) -> None:
    port = getattr(deployment.coordinator.config, which)
    with socket.create_server((place, port), family=family):
        found = failures(coordinator_results(deployment))
    assert found[f"port {port}"].startswith(f"{port} is used by process {os.getpid()} (")


def test_no_nginx_and_no_sites(deployment: Deployment, machine: Machine) -> None:
    machine.nginx = None
    for key in deployment.coordinator.sites().values():
        key.unlink()
    found = failures(coordinator_results(deployment))
    assert found["nginx"] == "not installed; apt install nginx-light"
    assert found["sites"] == "none; register their keys with `fedfr server register`"


def test_a_full_disk(deployment: Deployment, machine: Machine) -> None:
    machine.free = 10**9
    found = failures(coordinator_results(deployment))
    assert found["disk"] == f"1.0 GB free at {deployment.coordinator.runs}, 1.1 GB are needed; free space"


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        (-2, "expired 2 days ago; remove it and its key, and run `fedfr server init` again"),
        (10, "valid for 10 days; remove it and its key, and run `fedfr server init` again"),
        (31, ""),
    ],
)
def test_server_certificates_are_renewed_before_they_expire(deployment: Deployment, days: float, expected: str) -> None:
    tls = deployment.coordinator.tls
    for end in ("crt", "key"):
        (tls / f"server.{end}").unlink()
    issue_server(tls, ["localhost"], days=days)
    assert failures(coordinator_results(deployment)).get("certificate server", "") == expected


def test_server_certificates_that_do_not_match(deployment: Deployment, tmp_path: Path) -> None:
    tls, again = deployment.coordinator.tls, "; remove it and its key, and run `fedfr server init` again"
    own = {end: (tls / f"server.{end}").read_bytes() for end in ("crt", "key")}

    def remove() -> None:
        for end in own:
            (tls / f"server.{end}").unlink()

    remove()
    issue_server(tls, ["elsewhere.example.org"])
    assert failures(coordinator_results(deployment))["hosts"] == f"{tls / 'server.crt'} is not for localhost{again}"
    (tls / "server.crt").write_bytes(own["crt"])
    assert failures(coordinator_results(deployment))["hosts"] == (
        f"{tls / 'server.crt'} does not match server.key beside it{again}"
    )
    (tls / "server.key").write_bytes(own["key"][:60])
    assert failures(coordinator_results(deployment))["hosts"].startswith(f"{tls / 'server.key'} cannot be read (")
    make_authority(tmp_path / "other", "hospitals")
    (tls / "ca.crt").write_bytes((tmp_path / "other" / "ca.crt").read_bytes())
    assert failures(coordinator_results(deployment))["hosts"] == (
        f"{tls / 'server.crt'} is not signed by the authority ca.crt beside it{again}"
    )


def test_a_renewed_certificate_needs_a_restart_of_nginx(
    deployment: Deployment, machine: Machine, tmp_path: Path
) -> None:
    coordinator = deployment.coordinator
    machine.served = tmp_path / "former.crt"
    machine.served.write_bytes((coordinator.tls / "server.crt").read_bytes())
    for end in ("crt", "key"):
        (coordinator.tls / f"server.{end}").unlink()
    issue_server(coordinator.tls, ["localhost"])
    again = f"restart `fedfr server run {coordinator.folder}`"
    with locked(coordinator.folder), both_ports(deployment):
        assert failures(coordinator_results(deployment)) == {
            "certificate in use": f"the server uses a certificate other than {coordinator.tls / 'server.crt'}; {again}"
        }
        machine.served = None
        found = failures(coordinator_results(deployment))["certificate in use"]
    port = coordinator.config.port
    assert found == f"no process answers at 127.0.0.1:{port} ([Errno 111] Connection refused); see its log, and {again}"


def test_ipv4_and_ipv6_are_both_checked(
    deployment: Deployment, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = deployment.coordinator.config
    shown = (deployment.coordinator.tls / "server.crt").read_text("ascii")

    def only_ipv4(address: tuple[str, int], timeout: float) -> str:
        if ":" in address[0]:
            raise ConnectionRefusedError(111, "Connection refused")
        return shown

    monkeypatch.setattr(ssl, "get_server_certificate", only_ipv4)
    with locked(deployment.coordinator.folder):
        found = failures(coordinator_results(deployment))["certificate in use"]
    assert found.startswith(f"no process answers at [::1]:{config.port} ([Errno 111] Connection refused)")


def test_a_machine_without_ipv6(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets fail as with the kernel parameter ipv6.disable=1."""
    edit(deployment.coordinator.folder / "server.yaml", hosts=["localhost", "[2001:db8::7]"])
    coordinator = Coordinator.open(deployment.coordinator.folder)
    real = socket.socket

    def without(family: int = socket.AF_INET, *more: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, *more)

    monkeypatch.setattr(socket, "socket", without)
    expected = "this machine has no IPv6 for 2001:db8::7; enable it, or give other hosts in server.yaml"
    assert failures({line.what: line for line in check_server(coordinator)})["addresses"] == expected
    assert f"listen {coordinator.config.port} ssl" in coordinator.proxy.configuration()
    assert "[::]" not in coordinator.proxy.configuration()


def test_missing_certificates(deployment: Deployment) -> None:
    for name in ("ca", "server"):
        (deployment.coordinator.tls / f"{name}.crt").unlink()
    found = failures(coordinator_results(deployment))
    for name in ("ca", "server"):
        assert found[f"certificate {name}"].endswith(
            f"{name}.crt: No such file or directory; run `fedfr server init` again"
        )


def test_a_path_that_nginx_cannot_parse(deployment: Deployment, tmp_path: Path) -> None:
    moved = deployment.coordinator.folder.rename(tmp_path / "two words")
    found = failures(coordinator_results(Deployment(Coordinator.open(moved), deployment.site)))
    assert found["proxy"].endswith("; use one without spaces, quotes and braces")
