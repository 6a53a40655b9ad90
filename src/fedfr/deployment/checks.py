"""``fedfr site check`` and ``fedfr server check``: every line is fine, or says what to do."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.serialization import Encoding
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.protobuf.client import ProtobufRequestContext
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from fedfr.assembly import make_compute
from fedfr.deployment.address import Address, is_own, listening, refuse_taken
from fedfr.deployment.certificates import check_server_certificate, days_left, load_certificate, trust_only
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.listeners import listeners
from fedfr.deployment.routes import Route, distrust
from fedfr.deployment.secrets import load_key
from fedfr.deployment.site import Site, SiteConfig, check_apart
from fedfr.deployment.site_folder import KEY, ROOT
from fedfr.deployment.site_running import RUNNING
from fedfr.deployment.status import site_status
from fedfr.errors import FedfrError
from fedfr.federation.private_store import PrivateStore
from fedfr.files import is_locked, read_json
from fedfr.models import build_backbone

__all__ = ["Line", "check_server", "check_site"]

SOON = 30.0
"""Days before its end from which on a certificate should be replaced."""

CLOCK = 60.0
"""Seconds that this machine's clock may be off the server's: beyond them keys are refused."""

REFUSALS: dict[int, str] = {
    HTTPStatus.PRECONDITION_FAILED: f"the coordinator does not know this site's key; send it {KEY}.pub for registering",
    HTTPStatus.UNAUTHORIZED: "the coordinator does not believe this site's key; compare the clocks, then the versions",
    HTTPStatus.BAD_GATEWAY: "the coordinator's SuperLink does not run; ask for `fedfr server check` there",
}
"""What the answers to a site's key mean."""

LOOPBACK = (socket.AF_INET, "127.0.0.1")
PER_BYTE_OF_MODEL = 8
"""Bytes of memory that training takes for each of the model's: gradients, momentum, two frozen copies, pictures."""


@dataclass(frozen=True)
class Line:
    """One thing that was looked at; without a ``remedy`` it is fine."""

    what: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        return (
            f"ok   {self.what}: {self.found}" if not self.remedy else f"DO   {self.what}: {self.found}; {self.remedy}"
        )


def _line(what: str, look: Callable[[], str]) -> Line:
    """What ``look`` found, or its error."""
    try:
        return Line(what, look())
    except FedfrError as error:
        return _said(what, error)


def _said(what: str, error: FedfrError) -> Line:
    """An error's last part says what to do."""
    found, _, remedy = str(error).rpartition("; ")
    return Line(what, found, remedy) if found else Line(what, remedy, "mend it")


def check_site(path: Path) -> Iterator[Line]:
    """Look over a site, from its file to the server; nothing is changed. ``path`` is its ``site.yaml``."""
    try:
        config = SiteConfig.load(path)
    except FedfrError as error:
        yield _said("configuration", error)
        return
    yield Line("configuration", f"{path}, client {config.client}")
    key = _line("key", lambda: f"{type(load_key(path.parent / KEY)).__name__} in {path.parent / KEY}")
    yield key
    yield from _certificate("authority", path.parent / ROOT)
    server = _line("server", lambda: _server(config, path.parent / ROOT))
    yield server
    if not key.remedy and not server.remedy:
        yield _line("registered", lambda: _registered(config, path.parent))
    running = is_locked(path.parent)
    yield _line("folder", lambda: _writable(path.parent))
    yield _line("port", lambda: _port(_site_port(path.parent, config, running), [LOOPBACK], path.parent, running))
    try:
        site = Site(config)
        weights = _bytes_of(site.agreement.backbone)
    except FedfrError as error:
        yield _said("agreement", error)
        return
    if running:
        yield _line("running", lambda: _running(path))
    agreed = site.agreement
    yield Line("agreement", f"{agreed.method.name}, {agreed.rounds} rounds, {len(agreed.clients)} sites")
    yield _line("device", lambda: _device(site))
    yield _line("faces", lambda: _faces(site))
    yield _line("public faces", lambda: _public(site))
    yield _line("nobody in both", lambda: _apart(site))
    yield _line("disk", lambda: _disk(Path(config.private), 4 * weights))
    yield _line("memory", lambda: _memory(PER_BYTE_OF_MODEL * weights))
    yield _line("private states", lambda: _private(site))


def _bytes_of(backbone: str) -> int:
    return sum(value.numel() * value.element_size() for value in build_backbone(backbone, 0).state_dict().values())


def check_server(coordinator: Coordinator) -> Iterator[Line]:
    """Look over a coordinator's folder and machine; nothing is changed."""
    config = coordinator.config
    yield Line("configuration", f"{config.name}, {', '.join(config.hosts)}, port {config.port}")
    for name in ("ca", "server"):
        yield from _certificate(name, coordinator.tls / f"{name}.crt")
    yield _line("hosts", lambda: _hosts(coordinator))
    yield _line("listens at", coordinator.check_families)
    yield _line("folder", lambda: _writable(coordinator.folder))
    running = is_locked(coordinator.folder)
    if running:
        yield _line("served", lambda: _served(coordinator))
    found = shutil.which("nginx")
    yield Line("nginx", found or "not installed", "" if found else "apt install nginx-light")
    yield _line("proxy", lambda: f"{len(coordinator.proxy.configuration().splitlines())} lines of configuration")
    sites = coordinator.sites()
    yield Line("sites", ", ".join(sites) or "none", "" if sites else "`fedfr server register` their keys")
    yield _line("disk", lambda: _disk(coordinator.runs, 1 << 30))
    for port, places in ((config.port, listening()), (config.inner_port, [LOOPBACK])):
        yield _line(f"port {port}", partial(_port, port, places, coordinator.folder, running))
    yield Line("running", "yes" if running else "no", "" if running else f"`fedfr server run {coordinator.folder}`")


def _hosts(coordinator: Coordinator) -> str:
    check_server_certificate(coordinator.tls, coordinator.config.hosts)
    return f"the server's certificate is for {', '.join(coordinator.config.hosts)}"


def _served(coordinator: Coordinator) -> str:
    """Whether nginx shows the certificate that lies in the folder: it reads it when it starts."""
    again = f"restart `fedfr server run {coordinator.folder}`"
    lies = load_certificate(coordinator.tls / "server.crt").public_bytes(Encoding.DER)
    own = [host for host in coordinator.config.hosts if is_own(host)]
    heard = [{socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}[family] for family, _ in listening()]
    for host in dict.fromkeys([*heard, *own]):
        place = Address(f"[{host}]" if ":" in host else host, coordinator.config.port)
        try:
            shown = ssl.get_server_certificate((place.name, place.port), timeout=10)
        except OSError as error:
            raise FedfrError(f"nobody answers at {place} ({error}); look at its log, and {again}") from error
        if ssl.PEM_cert_to_DER_cert(shown) != lies:
            raise FedfrError(f"the server shows another certificate than {coordinator.tls / 'server.crt'}; {again}")
    return "the server shows this certificate"


def _certificate(what: str, path: Path) -> Iterator[Line]:
    try:
        left = days_left(load_certificate(path))
    except FedfrError as error:
        found = str(error).rpartition("; ")[0]
        yield Line(f"certificate {what}", found, "ask the coordinator for it" if what == "authority" else "init again")
        return
    remedy = {
        "authority": "ask the coordinator for a new one",
        "ca": "make a new authority, and give its ca.crt out",
        "server": "remove it and its key, and init again",
    }[what]
    found = f"good for {left:.0f} days" if left > 0 else f"expired {-left:.0f} days ago"
    yield Line(f"certificate {what}", found, "" if left > SOON else remedy)


def _server(config: SiteConfig, root: Path) -> str:
    """Whether the server answers, is who it should be, and has the same time as this machine."""
    if config.server is None:
        raise FedfrError("site.yaml names no server; give its host and port")
    route, trusted = Route.to(Address.parse(config.server)), trust_only(root)
    try:
        with route.client(trusted, 10) as client:
            answer = client.post("/")
    except httpx.HTTPError as error:
        if why := distrust(error):
            raise FedfrError(
                f"{config.server} is not who it should be ({why}); do not go on before the coordinator has said why"
            ) from error
        raise FedfrError(
            f"{config.server} does not answer ({route.failure(error)}); check host, port and firewall"
        ) from error
    with suppress(TypeError, ValueError):
        off = time.time() - parsedate_to_datetime(answer.headers["Date"]).timestamp()
        if abs(off) > CLOCK:
            raise FedfrError(
                f"this machine's clock is {off:+.0f} s off the server's; set it (timedatectl set-ntp true)"
            )
    return f"{route} answers, with the authority's certificate and the same time"


def _registered(config: SiteConfig, folder: Path) -> str:
    """Whether the SuperLink knows the site's key.

    Asked to let the site in with no heartbeat at all, it looks for the key first and does nothing in any case.
    """
    key, route = load_key(folder / KEY), Route.to(Address.parse(config.server or ""))
    asked = ActivateNodeRequest(public_key=public_key_to_bytes(key.public_key()), heartbeat_interval=0)
    try:
        # Not by Flower's own client, which would look for a proxy by itself.
        with route.client(trust_only(folder / ROOT), 10) as client:
            signed = NodeAuthHttpInterceptor(key, key.public_key())
            request = client.build_request(
                "POST",
                "/v1/fleet/activate-node",
                content=asked.SerializeToString(deterministic=True),
                headers={"content-type": "application/protobuf", "accept": "application/protobuf"},
            )
            context = ProtobufRequestContext("/flwr.proto.Fleet/ActivateNode", asked, request)
            status = signed.intercept(context, lambda given: client.send(given.request)).status_code
    except httpx.HTTPError as error:
        raise FedfrError(f"{route.address} does not answer ({route.failure(error)}); check again in a while") from error
    if status == HTTPStatus.BAD_REQUEST:
        return "the coordinator knows this site's key"
    raise FedfrError(REFUSALS.get(status, f"the coordinator answers with HTTP {status}; ask it what its logs say"))


def _faces(site: Site) -> str:
    own = site.own_faces
    return f"{len(own)} images of {own.num_identities} people train"


def _public(site: Site) -> str:
    if not site.agreement.public:
        return "not needed by this method"
    if site.config.public is None or not Path(site.config.public).exists():
        raise FedfrError("they are not here; `fedfr site fetch` gets them from where the coordinator has put them")
    faces = site.public_faces
    if faces.fingerprint() != site.agreement.public:
        raise FedfrError("they are others than agreed on; fetch them again")
    return f"{len(faces)} images of {faces.num_identities} people, as agreed on"


def _apart(site: Site) -> str:
    """No picture and no name of a person is on both sides."""
    if not site.agreement.public:
        return "there are no public faces"
    if site.config.public is None:
        raise FedfrError("this cannot be looked at without the public faces; fetch them first")
    check_apart(site.all_faces, site.public_faces, "the public ones")
    return "no name and no picture is on both sides"


def _device(site: Site) -> str:
    """What the site trains on, opened as training does."""
    runtime = site.config.runtime
    make_compute(site.agreement.config.model_copy(update={"runtime": runtime}))
    return f"{runtime.device}, {runtime.precision}, threads: {runtime.threads}"


def _private(site: Site) -> str:
    """Whether the newest state can be read; a damaged one would fail every round."""
    store = PrivateStore(site.private, site.config.client)
    rounds = store.rounds()
    if not rounds:
        return "none yet"
    store.until(rounds[-1])
    return f"of rounds {', '.join(map(str, rounds))}"


def _writable(folder: Path) -> str:
    place = folder
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK):
        raise FedfrError(f"{place} cannot be written; give this user the right to")
    return f"{place} can be written"


def _disk(folder: Path, needed: int) -> str:
    place = folder
    while not place.exists():
        place = place.parent
    _writable(place)
    free = shutil.disk_usage(place).free
    if free < needed:
        raise FedfrError(f"{free / 1e9:.1f} GB free at {place}, {needed / 1e9:.1f} GB are needed; make room")
    return f"{free / 1e9:.1f} GB free, {needed / 1e9:.2f} GB needed"


def _memory(needed: int) -> str:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    if free < needed:
        raise FedfrError(f"{free / 1e9:.1f} GB are free, about {needed / 1e9:.1f} GB are needed; add memory")
    return f"{free / 1e9:.1f} GB free, about {needed / 1e9:.2f} GB needed for the model"


def _port(port: int | None, places: Sequence[tuple[socket.AddressFamily, str]], folder: Path, running: bool) -> str:
    """Whether a port is free, or used by the site or coordinator in ``folder`` and not by anybody else."""
    if port is None:
        return "one that is free is found at every start"
    found = listeners(port)
    own = [each for each in found if each.belongs_to(folder)]
    if own and running:
        return f"{port}, in use by this one: {own[0]}"
    if running and found and all(each.process is None for each in found):
        return f"{port}, in use by {found[0]}, into whose processes this user cannot look"
    refuse_taken(port, places)
    if running:
        raise FedfrError(f"nobody listens at {port}, though this runs; look at its status, and wait for the next start")
    return f"{port} is free"


def _site_port(folder: Path, config: SiteConfig, running: bool) -> int | None:
    """The port that is configured, or that was found free for the process that runs."""
    if config.port is None and running:
        with suppress(FedfrError, LookupError, TypeError, ValueError):
            return int(read_json(folder / RUNNING)["port"]) or None
    return config.port


def _running(path: Path) -> str:
    """Whether the site's process stays up."""
    found = site_status(path)
    if "next_start" in found:
        problem, start = found.get("last_problem", "it is down"), (found["starts"] or 0) + 1
        raise FedfrError(
            f"{problem}, start {start} follows at {found['next_start']}; mend what it says, or look at the output of "
            "`fedfr site run`"
        )
    again = f", the last end: {found['last_problem']}" if "last_problem" in found else ""
    return f"{found.get('node', 'about to start')}, {found.get('starts', 1)} starts{again}"
