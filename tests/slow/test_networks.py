"""Federations over IPv6, and through a proxy between sites and coordinator."""

from __future__ import annotations

import re
import socket
import stat
from pathlib import Path

import pytest
from tests.support.connect_proxy import proxying
from tests.support.tiny_experiment import tiny_config

from fedfr.deployment.address import Address
from fedfr.deployment.background import free_port, wait_for
from fedfr.deployment.checks import CheckResult, check_server, check_site
from fedfr.deployment.demo import RUN, Demo
from fedfr.deployment.site import Site

pytestmark = pytest.mark.slow

SETTINGS = (
    "model.backbone=slimface",
    "split.settings.clients=2",
    "split.settings.identities_per_client=2",
    "federation.rounds=1",
    "deployment.poll=0.2",
)


def made(folder: Path, host: str) -> Demo:
    (folder / "config").mkdir()
    return Demo(folder / "demo", tiny_config(folder / "config", *SETTINGS), host=host)


def finish(demo: Demo) -> None:
    """Wait for the end of the run, in which every site took part."""
    wait_for(lambda: not demo.coordinator.submitted(), "the end of the run")
    assert demo.coordinator.outcome(RUN) == f"run {RUN} has ended"
    assert [event["clients"] for event in demo.events("round")] == [2]
    assert demo.events("refused") == []


def logged(demo: Demo) -> None:
    """Every shareable line has the same format and contains no identity name of a site."""
    words = "(info|warning|error|critical) (fedfr|supernode|superlink|nginx)"
    form = re.compile(rf"\d{{4}}-\d\d-\d\dT[\d:.]+\+00:00 {words}: .+")
    shown = {log.stem: log.read_text("utf-8") for log in demo.folder.glob("*.log")}
    assert {*shown} == {"coordinator", *demo.clients}
    assert [line for text in shown.values() for line in text.splitlines() if not form.fullmatch(line)] == []
    people = {name for site in demo.sites.values() for name in Site.open(site / "site.yaml").own_faces.identities}
    kept = [demo.coordinator.folder / "debug.log", *(site / "debug.log" for site in demo.sites.values())]
    private = [site / "log.jsonl" for site in demo.sites.values()]
    assert [name for name in people if any(name in text for text in shown.values())] == []
    assert {stat.S_IMODE(path.stat().st_mode) for path in [*kept, *private]} == {0o600}
    whole = [path.read_text("utf-8") for path in kept]
    assert not any("\x1b" in text for text in [*shown.values(), *whole])
    assert "POST /v1/fleet/" in whole[0]
    assert "Starting Flower SuperNode" in whole[1]


def lines(found: list[CheckResult]) -> dict[str, CheckResult]:
    return {line.what: line for line in found}


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python has no IPv6")
def test_a_federation_over_ipv6(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one machine, with unreachable proxies in the environment, which are not used."""
    for name in ("HTTPS_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "[::1]:1,%")
    with made(tmp_path, "::1") as demo:
        demo.submit()
        demo.start_server()
        port = demo.coordinator.config.port
        assert Address("127.0.0.1", port).is_listening(), "IPv4 is served as well"
        found = lines([*check_server(demo.coordinator)])
        assert found["addresses"] == CheckResult("addresses", f"0.0.0.0:{port} and [::]:{port}")
        assert found["certificate in use"] == CheckResult("certificate in use", "the server uses this certificate")
        for client, folder in demo.sites.items():
            demo.fetch(client)
            demo.start_site(client)
            server = lines([*check_site(folder / "site.yaml")])["server"]
            assert server.found == f"[::1]:{port} answers; its certificate is valid and the clocks agree"
        finish(demo)
        for name in [*demo.processes]:
            demo.end(name)
        logged(demo)


def test_a_federation_through_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the proxy can resolve the coordinator; connections within a machine do not use the proxy."""
    with made(tmp_path, "fed.invalid") as demo, proxying(demo.coordinator.config.port) as proxy:
        for name in ("HTTPS_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        demo.submit()
        demo.start_all()
        finish(demo)
        assert {*proxy.asked} == {f"fed.invalid:{demo.coordinator.config.port}"}
