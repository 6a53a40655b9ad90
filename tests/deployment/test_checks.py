"""What ``check`` says, line by line: fine, or what to do."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tests.support.https import Server, serving
from tests.support.neighbours import listening_for
from tests.support.site_standing import OTHER, SITE, Standing, edit, named
from tests.support.tiny_experiment import tiny_faces

from fedfr.core.errors import FedfrError
from fedfr.core.files import locked
from fedfr.deployment import checks
from fedfr.deployment.certificates import issue_server, make_authority
from fedfr.deployment.checks import CheckResult, check_server, check_site
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.site import Site
from fedfr.faces import FaceSet
from fedfr.federation.private_state import PrivateState
from fedfr.federation.private_store import PrivateStore

EVERY_LINE = [
    "configuration",
    "key",
    "certificate authority",
    "server",
    "registered",
    "folder",
    "port",
    "agreement",
    "code",
    "device",
    "faces",
    "public faces",
    "no overlap",
    "disk",
    "memory",
    "private states",
]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("standing")
    Standing.make(folder)
    return folder


@dataclass
class Machine:
    """What this machine has: ``free`` bytes on every disk, ``writable`` folders, ``nginx`` and what it shows."""

    free: int = 10**12
    writable: bool = True
    nginx: str | None = "/usr/sbin/nginx"
    shown: Path | None = None
    asked: list[Path] = field(default_factory=list)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()

    def disk_usage(path: Path) -> SimpleNamespace:
        made.asked.append(path)
        return SimpleNamespace(free=made.free)

    def get_server_certificate(address: tuple[str, int], timeout: float) -> str:
        if made.shown is None:
            raise ConnectionRefusedError(111, "Connection refused")
        return made.shown.read_text("ascii")

    monkeypatch.setattr(ssl, "get_server_certificate", get_server_certificate)
    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    monkeypatch.setattr(shutil, "which", lambda name: made.nginx)
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK or made.writable)
    return made


@pytest.fixture
def standing(tmp_path: Path, pristine: Path, machine: Machine) -> Standing:
    return Standing.copied(pristine, tmp_path)


@pytest.fixture
def server(standing: Standing) -> Iterator[Server]:
    with serving(standing.coordinator.folder, standing.coordinator.tls) as made:
        edit(standing.site_file, server=made.address)
        yield made


def site_lines(standing: Standing) -> dict[str, CheckResult]:
    return {line.what: line for line in check_site(standing.site_file)}


def server_lines(standing: Standing) -> dict[str, CheckResult]:
    return {line.what: line for line in check_server(standing.coordinator)}


def to_do(lines: dict[str, CheckResult]) -> dict[str, str]:
    return {what: f"{line.found}; {line.remedy}" for what, line in lines.items() if line.remedy}


def test_a_line_is_fine_or_says_what_to_do() -> None:
    assert str(CheckResult("disk", "9.0 GB free")) == "ok   disk: 9.0 GB free"
    assert str(CheckResult("disk", "0.0 GB free", "free space")) == "FAIL disk: 0.0 GB free; free space"


def test_an_error_that_advises_nothing_is_said_once() -> None:
    def check() -> str:
        raise FedfrError("it is broken")

    assert checks._run_check("disk", check) == CheckResult("disk", "it is broken", "correct it")


# A site


def test_a_site_where_nothing_is_to_be_done(standing: Standing, server: Server) -> None:
    before = {path: path.read_bytes() for path in standing.site.rglob("*") if path.is_file()}
    lines = site_lines(standing)
    assert to_do(lines) == {}
    assert [*lines] == EVERY_LINE
    assert lines["configuration"].found == f"{standing.site_file}, client {SITE}"
    assert lines["key"].found.endswith(f"in {standing.site / 'site.key'}")
    assert lines["certificate authority"].found == "valid for 3650 days"
    assert lines["server"].found == f"{server.address} answers; its certificate is valid and the clocks agree"
    assert lines["registered"].found == "the site's key is registered"
    assert lines["agreement"].found == "fedfr, 2 rounds, 2 sites"
    assert lines["faces"].found == "9 images of 3 identities for training"
    assert lines["public faces"].found == "55 images of 11 identities, as in the agreement"
    assert lines["no overlap"].found == "private and public faces share no name and no image"
    assert lines["disk"].found.startswith("1000.0 GB free, 0.0")
    assert lines["port"].found.endswith("is free")
    assert {path: path.read_bytes() for path in standing.site.rglob("*") if path.is_file()} == before
    assert server.asked == []


def test_without_a_configuration_there_is_nothing_else_to_look_at(standing: Standing, server: Server) -> None:
    standing.site_file.unlink()
    (line,) = check_site(standing.site_file)
    assert line.what == "configuration"
    assert line.found == f"{standing.site} holds no site.yaml"
    assert line.remedy == f"create a site with `fedfr site init {standing.site}`"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda key: key.unlink(), "No such file or directory; check the path"),
        (lambda key: key.chmod(0o640), "is readable by other users; chmod 600 it, or create a new one"),
        (lambda key: key.write_text("no key", "ascii"), "without passphrase (.*); give a key that fedfr created"),
        (lambda key: key.write_bytes(key.with_name("ca.crt").read_bytes()), "; give a key that fedfr created"),
    ],
    ids=["missing", "open", "garbage", "certificate"],
)
def test_a_key_that_cannot_be_used(
    standing: Standing, server: Server, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(standing.site / "site.key")
    found = to_do(site_lines(standing))
    assert [*found] == ["key"]
    begin, _, end = said.partition("(.*)")
    assert begin in found["key"]
    assert found["key"].endswith(end or begin)


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (-3, "expired 3 days ago; ask the coordinator for a new one"),
        (29.9, "valid for 30 days; ask the coordinator for a new one"),
        (30.5, ""),
    ],
)
def test_an_authority_that_ends(standing: Standing, server: Server, tmp_path: Path, days: float, said: str) -> None:
    make_authority(tmp_path / "new", "hospitals", days=days)
    (standing.site / "ca.crt").write_bytes((tmp_path / "new" / "ca.crt").read_bytes())
    assert to_do(site_lines(standing)).get("certificate authority", "") == said


def test_an_authority_that_is_missing_or_none(standing: Standing, server: Server) -> None:
    (standing.site / "ca.crt").write_text("no certificate", "ascii")
    found = to_do(site_lines(standing))
    assert [*found] == ["certificate authority", "server"]
    assert found["certificate authority"] == (
        f"{standing.site / 'ca.crt'} is not a PEM certificate; ask the coordinator for it"
    )
    assert found["server"].endswith("is not a PEM certificate; ask the coordinator for it again")
    (standing.site / "ca.crt").unlink()
    assert to_do(site_lines(standing))["certificate authority"].endswith(
        "ca.crt: No such file or directory; ask the coordinator for it"
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (412, "the coordinator does not know this site's key; send it site.key.pub to register"),
        (401, "the coordinator rejects this site's key; compare the clocks, then the versions"),
        (502, "the coordinator's SuperLink does not run; ask for `fedfr server check` there"),
        (500, "the coordinator answers with HTTP 500; ask for its logs"),
        (200, "the coordinator answers with HTTP 200; ask for its logs"),
    ],
)
def test_a_key_that_the_coordinator_does_not_take(standing: Standing, server: Server, answer: int, said: str) -> None:
    server.login = answer
    assert to_do(site_lines(standing)) == {"registered": said}


def test_a_server_of_another_authority(standing: Standing, server: Server, tmp_path: Path) -> None:
    make_authority(tmp_path / "other", "hospitals")
    (standing.site / "ca.crt").write_bytes((tmp_path / "other" / "ca.crt").read_bytes())
    found = to_do(site_lines(standing))
    assert [*found] == ["server"]
    assert found["server"].startswith(f"{server.address} has the wrong certificate (")
    assert found["server"].endswith("; do not continue until the coordinator has explained it")


def test_a_server_by_a_name_that_its_certificate_does_not_have(standing: Standing, tmp_path: Path) -> None:
    tls = tmp_path / "tls"
    shutil.copytree(standing.coordinator.tls, tls)
    for end in ("crt", "key"):
        (tls / f"server.{end}").unlink()
    issue_server(tls, ["fed.example.org"])
    with serving(tmp_path, tls) as made:
        edit(standing.site_file, server=made.address)
        found = to_do(site_lines(standing))
    assert [*found] == ["server"]
    assert "certificate is not valid for 'localhost'" in found["server"]


def test_nobody_listens(standing: Standing) -> None:
    edit(standing.site_file, server="localhost:1")
    found = to_do(site_lines(standing))
    assert found == {"server": "localhost:1 does not answer (Connection refused); check host, port and firewall"}


def test_somebody_else_listens(standing: Standing) -> None:
    """A server without TLS, which hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        edit(standing.site_file, server=f"localhost:{listening.getsockname()[1]}")
        lines = check_site(standing.site_file)
        found = next(line for line in _with_answer(lines, listening) if line.what == "server")
    assert "does not answer (" in found.found
    assert found.remedy == "check host, port and firewall"


def _with_answer(lines: Iterator[CheckResult], listening: socket.socket) -> Iterator[CheckResult]:
    def answer() -> None:
        channel, _ = listening.accept()
        channel.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        channel.close()

    thread = threading.Thread(target=answer)
    thread.start()
    yield from lines
    thread.join()


def test_no_server_is_named(standing: Standing) -> None:
    edit(standing.site_file, server=None)
    assert to_do(site_lines(standing)) == {"server": "site.yaml names no server; give its host and port"}


@pytest.mark.parametrize(
    ("off", "said"),
    [(300, "-300 s"), (-300, "+300 s"), (30, ""), (-30, "")],
)
def test_a_clock_that_is_off(standing: Standing, server: Server, off: float, said: str) -> None:
    # A crafted Date has whole seconds, and the answer takes some time.
    server.date = formatdate(round(time.time()) + off, usegmt=True)
    found = to_do(site_lines(standing)).get("server", "")
    if not said:
        assert found == ""
        return
    number = int(found.partition("differs from the server's by ")[2].partition(" s")[0])
    assert abs(number + off) <= 5
    assert found.endswith(" s; set it (timedatectl set-ntp true)")


@pytest.mark.parametrize("date", ["", "yesterday", "Wed, 99 Nov 2026 13:59:12 GMT"])
def test_a_server_that_does_not_know_the_time(standing: Standing, server: Server, date: str) -> None:
    server.date = date
    assert to_do(site_lines(standing)) == {}


def test_no_agreement_yet(standing: Standing, server: Server) -> None:
    (standing.site / "agreement.yaml").unlink()
    lines = site_lines(standing)
    assert [*lines] == EVERY_LINE[: EVERY_LINE.index("agreement") + 1]
    assert lines["agreement"].remedy == "put the coordinator's file there"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"clients": [OTHER]}, f"client = '{SITE}' is not in"),
        ({"backbone": "iresnet51"}, "unknown backbone 'iresnet51'"),
        ({"method": {"name": "fedrf"}}, "unknown method 'fedrf'"),
        ({"rounds": 0}, "rounds = 0: give a whole number"),
    ],
)
def test_an_agreement_that_does_not_fit(
    standing: Standing, server: Server, changes: dict[str, object], said: str
) -> None:
    edit(standing.site / "agreement.yaml", **changes)
    found = to_do(site_lines(standing))
    assert [*found] == ["agreement"]
    assert said in found["agreement"]


def test_no_faces(standing: Standing, server: Server) -> None:
    shutil.rmtree(standing.site / "faces")
    found = to_do(site_lines(standing))
    assert [*found] == ["faces", "no overlap"]
    assert found["faces"].endswith("is not a folder; give a folder written by `fedfr faces import`")


def test_no_public_faces(standing: Standing, server: Server) -> None:
    shutil.rmtree(standing.site / "public")
    found = to_do(site_lines(standing))
    assert [*found] == ["public faces", "no overlap"]
    assert found["public faces"].startswith("the public faces are missing; run `fedfr site fetch`")
    edit(standing.site_file, public=None)
    found = to_do(site_lines(standing))
    assert found["public faces"].startswith("the public faces are missing; run `fedfr site fetch`")
    assert found["no overlap"] == "this check needs the public faces; fetch them first"


def test_other_public_faces(standing: Standing, server: Server) -> None:
    shutil.rmtree(standing.site / "public")
    named(tiny_faces(4, 4, seed=3), ["a", "b", "c", "d"]).save(standing.site / "public")
    assert to_do(site_lines(standing)) == {
        "public faces": "the public faces differ from the agreement; fetch them again",
    }


def test_a_method_without_public_faces(standing: Standing, server: Server) -> None:
    edit(standing.site / "agreement.yaml", public="", method={"name": "fedavg"})
    shutil.rmtree(standing.site / "public")
    lines = site_lines(standing)
    assert to_do(lines) == {}
    assert lines["public faces"].found == "not needed by this method"
    assert lines["no overlap"].found == "there are no public faces"


def _replace_own(standing: Standing, faces: FaceSet) -> None:
    shutil.rmtree(standing.site / "faces")
    faces.save(standing.site / "faces")


def test_a_person_in_both_by_name(standing: Standing, server: Server) -> None:
    public = FaceSet.load(standing.site / "public").identities[2]
    _replace_own(standing, named(tiny_faces(3, 5, seed=7), ["patient-0", public, "patient-2"]))
    found = to_do(site_lines(standing))
    assert found == {
        "no overlap": f"1 identities of this site have the same name as some of the public ones, for example "
        f"{public}; remove them here, or rename them if they are other people"
    }


@pytest.mark.parametrize("where", [0, -1])
def test_a_person_in_both_by_image(standing: Standing, server: Server, where: int) -> None:
    """Under another name, be the image one of those that train or one of the site's own test."""
    own, public = FaceSet.load(standing.site / "faces"), FaceSet.load(standing.site / "public")
    pixels = own.images(range(len(own)))
    pixels[where] = public.images([0])[0]
    _replace_own(standing, FaceSet(pixels, own.labels, own.identities))
    assert to_do(site_lines(standing)) == {
        "no overlap": "an image of this site is among the public ones; remove that identity here"
    }


def test_a_full_disk_and_one_that_cannot_be_written(standing: Standing, server: Server, machine: Machine) -> None:
    machine.free = 1000
    found = to_do(site_lines(standing))
    assert [*found] == ["disk"]
    assert found["disk"].startswith(f"0.0 GB free at {standing.site}, 0.0")
    assert found["disk"].endswith(" GB are needed; free space")
    machine.writable = False
    said = f"{standing.site} is not writable; grant this user write access"
    assert to_do(site_lines(standing)) == {"folder": said, "disk": said}


def test_too_little_memory(standing: Standing, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MEMORY_PER_MODEL_BYTE", 10**9)
    found = to_do(site_lines(standing))
    assert [*found] == ["memory"]
    assert found["memory"].endswith(" GB are needed; add memory")


def test_a_port_that_is_taken(standing: Standing, server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        edit(standing.site_file, port=port)
        for running in (False, True):
            with locked(standing.site) if running else nullcontext():
                found = to_do(site_lines(standing))
            assert [*found] == ["port"]
            assert found["port"].startswith(f"{port} is used by process {os.getpid()} (")
            assert found["port"].endswith("); stop that process, or choose another port in the configuration")


def test_what_a_round_will_need_is_tried(standing: Standing, server: Server) -> None:
    """A device that is not there, and a private state that is damaged."""
    edit(standing.site_file, runtime={"device": "cuda:77"})
    assert to_do(site_lines(standing)) == {
        "device": "runtime.device = 'cuda:77', but this PyTorch is built without CUDA; "
        "install one built with it, or use cpu"
    }
    edit(standing.site_file, runtime={})
    store = PrivateStore(Site.open(standing.site_file).private, SITE)
    store.save(PrivateState(1, {"w": torch.ones(2)}, torch.ones(1, 4)))
    assert site_lines(standing)["private states"].found == "of rounds 1"
    (file,) = store.folder.glob("private-*.safetensors")
    file.write_bytes(file.read_bytes()[:-3])
    (found,) = to_do(site_lines(standing)).values()
    assert found.startswith(f"private state {file} cannot be read (")


# A coordinator


@contextmanager
def both_ports(standing: Standing) -> Iterator[list[int]]:
    """Processes that listen for the coordinator; their ids."""
    folder, config = standing.coordinator.folder, standing.coordinator.config
    with listening_for(folder, config.port) as (one, _), listening_for(folder, config.inner_port) as (other, _):
        yield [one, other]


def test_a_coordinator_where_nothing_is_to_be_done(standing: Standing, machine: Machine) -> None:
    config = standing.coordinator.config
    machine.shown = standing.coordinator.tls / "server.crt"
    with locked(standing.coordinator.folder), both_ports(standing) as processes:
        lines = server_lines(standing)
    assert to_do(lines) == {}
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
        f"{number}, in use by its own process {process} (the site in {standing.coordinator.folder})"
        for number, process in zip((config.port, config.inner_port), processes, strict=True)
    ]
    assert machine.asked == [standing.coordinator.runs]


def test_a_coordinator_that_does_not_run(standing: Standing) -> None:
    lines = server_lines(standing)
    assert to_do(lines) == {"running": f"no; `fedfr server run {standing.coordinator.folder}`"}
    assert lines[f"port {standing.coordinator.config.port}"].found.endswith("is free")


@pytest.mark.parametrize(
    ("which", "family", "place"),
    [
        ("inner_port", socket.AF_INET, "127.0.0.1"),
        ("port", socket.AF_INET, "127.0.0.2"),
        ("port", socket.AF_INET6, "::1"),
        ("port", socket.AF_INET6, "::"),
    ],
)
def test_a_coordinators_port_that_is_taken(
    standing: Standing, which: str, family: socket.AddressFamily, place: str
) -> None:
    port = getattr(standing.coordinator.config, which)
    with socket.create_server((place, port), family=family):
        found = to_do(server_lines(standing))
    assert found[f"port {port}"].startswith(f"{port} is used by process {os.getpid()} (")


def test_no_nginx_and_no_sites(standing: Standing, machine: Machine) -> None:
    machine.nginx = None
    for key in standing.coordinator.sites().values():
        key.unlink()
    found = to_do(server_lines(standing))
    assert found["nginx"] == "not installed; apt install nginx-light"
    assert found["sites"] == "none; register their keys with `fedfr server register`"


def test_a_coordinators_full_disk(standing: Standing, machine: Machine) -> None:
    machine.free = 10**9
    found = to_do(server_lines(standing))
    assert found["disk"] == f"1.0 GB free at {standing.coordinator.runs}, 1.1 GB are needed; free space"


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (-2, "expired 2 days ago; remove it and its key, and run `fedfr server init` again"),
        (10, "valid for 10 days; remove it and its key, and run `fedfr server init` again"),
        (31, ""),
    ],
)
def test_a_servers_certificate_that_ends(standing: Standing, days: float, said: str) -> None:
    tls = standing.coordinator.tls
    for end in ("crt", "key"):
        (tls / f"server.{end}").unlink()
    issue_server(tls, ["localhost"], days=days)
    assert to_do(server_lines(standing)).get("certificate server", "") == said


def test_a_servers_certificate_that_does_not_fit(standing: Standing, tmp_path: Path) -> None:
    tls, again = standing.coordinator.tls, "; remove it and its key, and run `fedfr server init` again"
    own = {end: (tls / f"server.{end}").read_bytes() for end in ("crt", "key")}

    def remove() -> None:
        for end in own:
            (tls / f"server.{end}").unlink()

    remove()
    issue_server(tls, ["elsewhere.example.org"])
    assert to_do(server_lines(standing))["hosts"] == f"{tls / 'server.crt'} is not for localhost{again}"
    (tls / "server.crt").write_bytes(own["crt"])
    assert to_do(server_lines(standing))["hosts"] == (
        f"{tls / 'server.crt'} does not match server.key beside it{again}"
    )
    (tls / "server.key").write_bytes(own["key"][:60])
    assert to_do(server_lines(standing))["hosts"].startswith(f"{tls / 'server.key'} cannot be read (")
    make_authority(tmp_path / "other", "hospitals")
    (tls / "ca.crt").write_bytes((tmp_path / "other" / "ca.crt").read_bytes())
    assert to_do(server_lines(standing))["hosts"] == (
        f"{tls / 'server.crt'} is not signed by the authority ca.crt beside it{again}"
    )


def test_a_certificate_that_was_made_anew_and_is_not_shown_yet(
    standing: Standing, machine: Machine, tmp_path: Path
) -> None:
    coordinator = standing.coordinator
    machine.shown = tmp_path / "former.crt"
    machine.shown.write_bytes((coordinator.tls / "server.crt").read_bytes())
    for end in ("crt", "key"):
        (coordinator.tls / f"server.{end}").unlink()
    issue_server(coordinator.tls, ["localhost"])
    again = f"restart `fedfr server run {coordinator.folder}`"
    with locked(coordinator.folder), both_ports(standing):
        assert to_do(server_lines(standing)) == {
            "certificate in use": f"the server uses a certificate other than {coordinator.tls / 'server.crt'}; {again}"
        }
        machine.shown = None
        found = to_do(server_lines(standing))["certificate in use"]
    port = coordinator.config.port
    assert found == f"no process answers at 127.0.0.1:{port} ([Errno 111] Connection refused); see its log, and {again}"


def test_what_runs_is_asked_in_both_families(
    standing: Standing, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = standing.coordinator.config
    shown = (standing.coordinator.tls / "server.crt").read_text("ascii")

    def only_ipv4(address: tuple[str, int], timeout: float) -> str:
        if ":" in address[0]:
            raise ConnectionRefusedError(111, "Connection refused")
        return shown

    monkeypatch.setattr(ssl, "get_server_certificate", only_ipv4)
    with locked(standing.coordinator.folder):
        found = to_do(server_lines(standing))["certificate in use"]
    assert found.startswith(f"no process answers at [::1]:{config.port} ([Errno 111] Connection refused)")


def test_a_machine_without_ipv6(standing: Standing, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel answers with ipv6.disable=1."""
    edit(standing.coordinator.folder / "server.yaml", hosts=["localhost", "[2001:db8::7]"])
    coordinator = Coordinator.open(standing.coordinator.folder)
    real = socket.socket

    def without(family: int = socket.AF_INET, *more: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return real(family, *more)

    monkeypatch.setattr(socket, "socket", without)
    said = "this machine has no IPv6 for 2001:db8::7; enable it, or give other hosts in server.yaml"
    assert to_do({line.what: line for line in check_server(coordinator)})["addresses"] == said
    assert f"listen {coordinator.config.port} ssl" in coordinator.proxy.configuration()
    assert "[::]" not in coordinator.proxy.configuration()


def test_certificates_that_are_missing(standing: Standing) -> None:
    for name in ("ca", "server"):
        (standing.coordinator.tls / f"{name}.crt").unlink()
    found = to_do(server_lines(standing))
    for name in ("ca", "server"):
        assert found[f"certificate {name}"].endswith(
            f"{name}.crt: No such file or directory; run `fedfr server init` again"
        )


def test_a_path_that_nginx_cannot_be_told(standing: Standing, tmp_path: Path) -> None:
    moved = standing.coordinator.folder.rename(tmp_path / "two words")
    found = to_do(server_lines(Standing(Coordinator.open(moved), standing.site)))
    assert found["proxy"].endswith("; use one without spaces, quotes and braces")
