"""Routes of requests: spellings of the proxy variables, exceptions, and unusable proxies."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.connect_proxy import ConnectProxy, proxying
from tests.support.deployment_folders import Deployment, edit
from tests.support.https import Server, serving

from fedfr.core.errors import FedfrError
from fedfr.deployment.address import Address
from fedfr.deployment.background import free_port
from fedfr.deployment.certificates import issue_server, make_authority, tls_context
from fedfr.deployment.checks import CheckResult, check_site
from fedfr.deployment.processes import environment
from fedfr.deployment.public_set import fetch, publish
from fedfr.deployment.routes import Route, tracker_proxies
from fedfr.deployment.site_service import run_site
from fedfr.faces import FaceSet

# No resolver knows it: only a proxy leads there.
FAR = Address("fed.invalid", 9443)
PROXY = "http://proxy.example.org:3128"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer at once for the reserved domains .invalid and .test; some resolvers wait seconds before they fail.

    Names in .invalid do not exist (RFC 6761); ``here.test`` is this machine, ``both.test`` only with one of its
    addresses.
    """
    real = socket.getaddrinfo
    known = {"here.test": ["127.0.0.1", "::1"], "both.test": ["127.0.0.1", "192.0.2.7"]}

    def answer(host: str, *more: Any, **named: Any) -> Any:
        if host.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if host in known:
            return [found for address in known[host] for found in real(address, *more, **named)]
        return real(host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", answer)


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Server]:
    """An HTTPS server with a certificate for :data:`FAR`, which only the proxy reaches."""
    make_authority(tmp_path / "tls", "hospitals")
    issue_server(tmp_path / "tls", [FAR.host])
    with serving(tmp_path / "proxy", tmp_path / "tls") as made:
        yield made


@pytest.fixture
def proxy(far: Server) -> Iterator[ConnectProxy]:
    with proxying(Address.parse(far.address).port) as made:
        yield made


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ""),
        ({"HTTPS_PROXY": PROXY}, PROXY),
        ({"https_proxy": PROXY}, PROXY),
        ({"Https_Proxy": PROXY}, PROXY),
        ({"ALL_PROXY": PROXY}, PROXY),
        ({"all_proxy": PROXY}, PROXY),
        ({"HTTP_PROXY": PROXY, "http_proxy": PROXY}, ""),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other:1", "ALL_PROXY": "socks4://other:2"}, PROXY),
        ({"https_proxy": "", "HTTPS_PROXY": "http://other:1"}, ""),
        ({"https_proxy": "", "HTTPS_PROXY": "http://other:1", "all_proxy": PROXY}, PROXY),
        ({"HTTPS_PROXY": "proxy.example.org:3128"}, PROXY),
        ({"HTTPS_PROXY": " HTTP://proxy.example.org:3128/ "}, PROXY),
        ({"HTTPS_PROXY": "http://proxy.example.org"}, "http://proxy.example.org:80"),
        ({"HTTPS_PROXY": "https://proxy.example.org"}, "https://proxy.example.org:443"),
        ({"HTTPS_PROXY": "http://[2001:db8::1]:3128"}, "http://[2001:db8::1]:3128"),
        ({"HTTPS_PROXY": "http://ada:p%40ss@proxy.example.org:3128"}, "http://ada:p%40ss@proxy.example.org:3128"),
        ({"HTTPS_PROXY": "ada:p@s/s#1@proxy.example.org:3128"}, "http://ada:p%40s%2Fs%231@proxy.example.org:3128"),
        # Bytes that are no UTF-8, in a URL's spelling and as the environment gives them.
        ({"HTTPS_PROXY": "http://ada:%e9@proxy.example.org:3128"}, "http://ada:%E9@proxy.example.org:3128"),
        ({"HTTPS_PROXY": "http://\udce9:p@proxy.example.org:3128"}, "http://%E9:p@proxy.example.org:3128"),
    ],
)
def test_spellings_of_the_proxy_variables(variables: dict[str, str], expected: str) -> None:
    assert Route.to(FAR, variables).proxy == expected


@pytest.mark.parametrize(
    "value",
    [
        "socks4://proxy:1080",
        "socks://proxy:1080",
        "ftp://proxy:21",
        "http://proxy:99999",
        "http://proxy:0",
        "http://proxy:port",
        "http://",
        "://proxy:1",
        "http://::1:3128",
        "http://[::1:3128",
        "http://a b:3128",
        "http://proxy:3128\nX: y",
        "@",
    ],
)
@pytest.mark.parametrize("name", ["https_proxy", "ALL_PROXY"])
def test_unusable_proxies_are_refused_without_showing_passwords(name: str, value: str) -> None:
    scheme, sign, place = value.partition("://")
    given = f"{scheme}{sign}ada:secret@{place}" if sign else f"ada:secret{value}"
    for each in (value, given):
        with pytest.raises(
            FedfrError, match=f"^{name} (names|does not name) .*; set {name} to .*, or name fed.invalid in NO_PROXY$"
        ) as said:
            Route.to(FAR, {name: each})
        assert "secret" not in str(said.value)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_socks_needs_its_package(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedfr.deployment.routes.find_spec", lambda name: None)
    with pytest.raises(
        FedfrError, match=rf"{scheme}://proxy:1080.* but SOCKS needs an extra package; pip install 'httpx\[socks\]'"
    ):
        Route.to(FAR, {"ALL_PROXY": f"{scheme}://proxy"})


@pytest.mark.parametrize(
    ("exceptions", "address", "direct"),
    [
        ("*", FAR, True),
        ("fed.invalid", FAR, True),
        ("FED.Invalid.", FAR, True),
        (".invalid", FAR, True),
        ("*.invalid", FAR, True),
        ("invalid", FAR, True),
        ("valid", FAR, False),
        ("ed.invalid", FAR, False),
        ("fed.invalid:9443", FAR, True),
        ("fed.invalid:443", FAR, False),
        ("https://fed.invalid", FAR, True),
        ("other.org, fed.invalid", FAR, True),
        ("other.org fed.invalid", FAR, True),
        ("", FAR, False),
        (",, ,", FAR, False),
        ("192.0.2.0/24", Address("192.0.2.7", 1), True),
        ("192.0.2.0/24", Address("192.0.3.7", 1), False),
        ("192.0.2.7:1", Address("192.0.2.7", 1), True),
        ("192.0.2.*", Address("192.0.2.7", 1), True),
        ("2001:db8::/32", Address("[2001:db8::7]", 1), True),
        ("[2001:db8:0::7]:1", Address("[2001:db8::7]", 1), True),
        ("[2001:db8::7]:2", Address("[2001:db8::7]", 1), False),
        ("[garbage, %, 300.1.1.1/99", FAR, False),
    ],
)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_no_proxy_entries(name: str, exceptions: str, address: Address, direct: bool) -> None:
    assert Route.to(address, {"HTTPS_PROXY": PROXY, name: exceptions}).proxy == ("" if direct else PROXY)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "[::1]", "LOCALHOST", "a.localhost"])
@pytest.mark.parametrize("proxy", [PROXY, "socks5://proxy:1080", "socks4://proxy", "http://proxy:99999"])
def test_this_machine_is_never_reached_through_a_proxy(host: str, proxy: str) -> None:
    variables = {"https_proxy": proxy, "all_proxy": proxy, "http_proxy": proxy}
    assert Route.to(Address(host, 9443), variables).proxy == ""
    assert Route.to(Address(socket.gethostname(), 9443), variables).proxy == ""


@pytest.mark.parametrize(("host", "direct"), [("here.test", True), ("both.test", False)])
def test_a_name_is_this_machine_if_all_its_addresses_are_local(host: str, direct: bool) -> None:
    assert Route.to(Address(host, 9443), {"https_proxy": PROXY}).proxy == ("" if direct else PROXY)


def test_check_fetch_and_processes_use_the_proxy(
    far: Server, proxy: ConnectProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = Deployment.make(tmp_path / "deployment")
    edit(deployment.site_file, server=str(FAR))
    (deployment.site / "ca.crt").write_bytes((tmp_path / "tls" / "ca.crt").read_bytes())
    proxy.login = base64.b64encode(b"ada:p@ss").decode().lower()
    monkeypatch.setenv("HTTPS_PROXY", f"http://ada:p%40ss@127.0.0.1:{proxy.port}")
    lines = {line.what: line for line in check_site(deployment.site_file)}
    shown = f"http://127.0.0.1:{proxy.port} (HTTPS_PROXY)"
    found = f"fed.invalid:9443 through the proxy {shown} answers; its certificate is valid and the clocks agree"
    assert lines["server"] == CheckResult("server", found)
    assert lines["registered"] == CheckResult("registered", "the site's key is registered")
    assert proxy.asked == ["fed.invalid:9443"] * 2

    faces = FaceSet.load(deployment.site / "public")
    publish(faces, tmp_path / "proxy")
    fetch(str(FAR), tmp_path / "tls" / "ca.crt", faces.fingerprint(), tmp_path / "fetched")
    assert len(proxy.asked) == 3

    # Another process with the environment that a SuperNode has, by the library that it uses.
    code = "import httpx, ssl, sys; c = ssl.create_default_context(cafile=sys.argv[2]); "
    code += "print(httpx.Client(verify=c).post(sys.argv[1]).status_code)"
    variables = environment(tmp_path, proxies=Route.to(FAR).variables())
    command = [sys.executable, "-c", code, f"https://{FAR}/", str(tmp_path / "tls" / "ca.crt")]
    assert subprocess.run(command, env=variables, capture_output=True, text=True).stdout == "404\n"
    assert len(proxy.asked) == 4

    proxy.login = "another"
    lines = {line.what: line for line in check_site(deployment.site_file)}
    assert lines["server"].found == (
        f"fed.invalid:9443 does not answer (the proxy {shown} refuses: 407 Proxy Authentication Required)"
    )


def test_an_unreachable_proxy_is_named(tmp_path: Path, far: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("all_proxy", f"ada:secret@127.0.0.1:{port}")
    dead = rf"the proxy http://127.0.0.1:{port} \(all_proxy\) does not answer: Connection refused"
    with pytest.raises(FedfrError, match=rf"cannot fetch faces.json from fed.invalid:9443: {dead}; fetch again"):
        fetch(str(FAR), tmp_path / "tls" / "ca.crt", "0" * 64, tmp_path / "fetched")
    # This machine's own server is asked directly all the same.
    client = Route.to(Address.parse(far.address)).client(tls_context(tmp_path / "tls" / "ca.crt"), 5)
    with client, pytest.raises(httpx.ConnectError, match="Hostname mismatch"):
        client.get("/")


def test_a_site_does_not_start_with_a_proxy_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = Deployment.make(tmp_path)
    edit(deployment.site_file, server=str(FAR))
    monkeypatch.setenv("ALL_PROXY", "socks4://ada:secret@proxy:1080")
    with pytest.raises(FedfrError, match="ALL_PROXY names a socks4 proxy at proxy, which cannot be used"):
        run_site(deployment.site_file)
    lines = {line.what: line for line in check_site(deployment.site_file)}
    assert lines["server"].found == "ALL_PROXY names a socks4 proxy at proxy, which cannot be used"
    assert "registered" not in lines


@pytest.mark.parametrize("variables", [{"ALL_PROXY": "socks5://proxy"}, {"https_proxy": PROXY, "NO_PROXY": "[::1]:1"}])
def test_processes_on_this_machine_use_no_proxy(
    tmp_path: Path, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the variables of started processes, httpx works and connects directly, for any variables of the user."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    code = "import httpx; print([client._transport_for_url(httpx.URL(url)) is client._transport"
    code += (
        " for client in [httpx.Client()] for url in ('https://localhost:1', 'https://127.0.0.1:1', 'http://[::1]:1')])"
    )
    trackers, said = tracker_proxies(os.environ)
    site = Route(FAR, PROXY, PROXY).variables()
    for proxies in ({}, site, trackers):
        made = environment(tmp_path, proxies=proxies)
        shown = subprocess.run([sys.executable, "-c", code], env=made, capture_output=True, text=True)
        assert shown.stdout == "[True, True, True]\n", shown.stderr
    assert len(said) == (1 if "ALL_PROXY" in variables and not _has_socks() else 0)
    assert trackers.get("HTTPS_PROXY") == (PROXY if "https_proxy" in variables else None)


def _has_socks() -> bool:
    return subprocess.run([sys.executable, "-c", "import socksio"], capture_output=True).returncode == 0
