"""Checks of ``fedfr site check`` and ``fedfr server check``: each prints ``ok`` or the fix."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.core.files import is_locked, read_json
from fedfr.deployment import machine_checks
from fedfr.deployment.address import listening
from fedfr.deployment.certificates import check_server_certificate, days_left, load_certificate
from fedfr.deployment.connection_checks import answering, registered, served
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.secrets import load_key
from fedfr.deployment.site import Site, SiteConfig, check_apart
from fedfr.deployment.site_folder import KEY, ROOT
from fedfr.deployment.site_running import RUNNING
from fedfr.deployment.status import site_status
from fedfr.experiments.components import make_compute
from fedfr.federation.private_store import PrivateStore
from fedfr.models import build_backbone

__all__ = ["Line", "check_server", "check_site"]

SOON = 30.0
"""Days before expiry from which a certificate should be replaced."""

PER_BYTE_OF_MODEL = 8
"""Memory for training, as a multiple of the model's bytes: gradients, momentum, two frozen copies, images."""


@dataclass(frozen=True)
class Line:
    """Result of one check; ``remedy`` is empty if it passed."""

    what: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        return (
            f"ok   {self.what}: {self.found}" if not self.remedy else f"DO   {self.what}: {self.found}; {self.remedy}"
        )


def _line(what: str, look: Callable[[], str]) -> Line:
    """Run a check and return its result or its error as a line."""
    try:
        return Line(what, look())
    except FedfrError as error:
        return _said(what, error)


def _said(what: str, error: FedfrError) -> Line:
    """Split an error into the problem and its last part, which is the remedy."""
    found, _, remedy = str(error).rpartition("; ")
    return Line(what, found, remedy) if found else Line(what, remedy, "fix it")


def check_site(path: Path) -> Iterator[Line]:
    """Check a site, from its configuration to the server, without changes; ``path`` is its ``site.yaml``."""
    try:
        config = SiteConfig.load(path)
    except FedfrError as error:
        yield _said("configuration", error)
        return
    yield Line("configuration", f"{path}, client {config.client}")
    key = _line("key", lambda: f"{type(load_key(path.parent / KEY)).__name__} in {path.parent / KEY}")
    yield key
    yield from _certificate("authority", path.parent / ROOT)
    server = _line("server", lambda: answering(config, path.parent / ROOT))
    yield server
    if not key.remedy and not server.remedy:
        yield _line("registered", lambda: registered(config, path.parent))
    running = is_locked(path.parent)
    yield _line("folder", lambda: machine_checks.writable(path.parent))
    port = _site_port(path.parent, config, running)
    yield _line("port", partial(machine_checks.port, port, [machine_checks.LOOPBACK], path.parent, running))
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
    if agreed.code:
        yield Line("code", f"{', '.join(agreed.code)}: allowed, installed, with the sources agreed on")
    yield _line("device", lambda: _device(site))
    yield _line("faces", lambda: _faces(site))
    yield _line("public faces", lambda: _public(site))
    yield _line("nobody in both", lambda: _apart(site))
    yield _line("disk", lambda: machine_checks.disk(Path(config.private), 4 * weights))
    yield _line("memory", lambda: machine_checks.memory(PER_BYTE_OF_MODEL * weights))
    yield _line("private states", lambda: _private(site))


def _bytes_of(backbone: str) -> int:
    return sum(value.numel() * value.element_size() for value in build_backbone(backbone, 0).state_dict().values())


def check_server(coordinator: Coordinator) -> Iterator[Line]:
    """Check a coordinator's folder and machine, without changes."""
    config = coordinator.config
    yield Line("configuration", f"{config.name}, {', '.join(config.hosts)}, port {config.port}")
    for name in ("ca", "server"):
        yield from _certificate(name, coordinator.tls / f"{name}.crt")
    yield _line("hosts", lambda: _hosts(coordinator))
    yield _line("listens at", coordinator.check_families)
    yield _line("folder", lambda: machine_checks.writable(coordinator.folder))
    running = is_locked(coordinator.folder)
    if running:
        yield _line("served", lambda: served(coordinator))
    found = shutil.which("nginx")
    yield Line("nginx", found or "not installed", "" if found else "apt install nginx-light")
    yield _line("proxy", lambda: f"{len(coordinator.proxy.configuration().splitlines())} lines of configuration")
    sites = coordinator.sites()
    yield Line("sites", ", ".join(sites) or "none", "" if sites else "`fedfr server register` their keys")
    yield _line("disk", lambda: machine_checks.disk(coordinator.runs, 1 << 30))
    for port, places in ((config.port, listening()), (config.inner_port, [machine_checks.LOOPBACK])):
        yield _line(f"port {port}", partial(machine_checks.port, port, places, coordinator.folder, running))
    yield Line("running", "yes" if running else "no", "" if running else f"`fedfr server run {coordinator.folder}`")


def _hosts(coordinator: Coordinator) -> str:
    check_server_certificate(coordinator.tls, coordinator.config.hosts)
    return f"the server's certificate is for {', '.join(coordinator.config.hosts)}"


def _certificate(what: str, path: Path) -> Iterator[Line]:
    try:
        left = days_left(load_certificate(path))
    except FedfrError as error:
        found = str(error).rpartition("; ")[0]
        yield Line(f"certificate {what}", found, "ask the coordinator for it" if what == "authority" else "init again")
        return
    remedy = {
        "authority": "ask the coordinator for a new one",
        "ca": "make a new authority, and distribute its ca.crt",
        "server": "remove it and its key, and init again",
    }[what]
    found = f"good for {left:.0f} days" if left > 0 else f"expired {-left:.0f} days ago"
    yield Line(f"certificate {what}", found, "" if left > SOON else remedy)


def _faces(site: Site) -> str:
    own = site.own_faces
    return f"{len(own)} images of {own.num_identities} identities for training"


def _public(site: Site) -> str:
    if not site.agreement.public:
        return "not needed by this method"
    if site.config.public is None or not Path(site.config.public).exists():
        raise FedfrError("they are not here; run `fedfr site fetch` to download them from the coordinator")
    faces = site.public_faces
    if faces.fingerprint() != site.agreement.public:
        raise FedfrError("they differ from the agreement; fetch them again")
    return f"{len(faces)} images of {faces.num_identities} identities, as in the agreement"


def _apart(site: Site) -> str:
    """Check that no image and no identity name is both private and public."""
    if not site.agreement.public:
        return "there are no public faces"
    if site.config.public is None:
        raise FedfrError("this check needs the public faces; fetch them first")
    check_apart(site.all_faces, site.public_faces, "the public ones")
    return "no name and no image is both private and public"


def _device(site: Site) -> str:
    """Open the site's training faces as training does."""
    runtime = site.config.runtime
    make_compute(site.agreement.config.model_copy(update={"runtime": runtime}))
    return f"{runtime.device}, {runtime.precision}, threads: {runtime.threads}"


def _private(site: Site) -> str:
    """Check that the newest private state can be read; a damaged one would fail every round."""
    store = PrivateStore(site.private, site.config.client)
    rounds = store.rounds()
    if not rounds:
        return "none yet"
    store.at_or_before(rounds[-1])
    return f"of rounds {', '.join(map(str, rounds))}"


def _site_port(folder: Path, config: SiteConfig, running: bool) -> int | None:
    """Return the configured port, or the free port that the running process chose."""
    if config.port is None and running:
        with suppress(FedfrError, LookupError, TypeError, ValueError):
            return int(read_json(folder / RUNNING)["port"]) or None
    return config.port


def _running(path: Path) -> str:
    """Check that the site's process keeps running."""
    found = site_status(path)
    if "next_start" in found:
        problem, start = found.get("last_problem", "it is down"), (found["starts"] or 0) + 1
        raise FedfrError(
            f"{problem}, start {start} follows at {found['next_start']}; fix this problem, or see the output of "
            "`fedfr site run`"
        )
    again = f", the last end: {found['last_problem']}" if "last_problem" in found else ""
    return f"{found.get('node', 'about to start')}, {found.get('starts', 1)} starts{again}"
