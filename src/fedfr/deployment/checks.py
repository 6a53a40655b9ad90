"""Checks of ``fedfr site check`` and ``fedfr server check``: each result is ``ok`` or names the remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json
from fedfr.core.locks import is_locked
from fedfr.deployment import machine_checks
from fedfr.deployment.address import listen_addresses
from fedfr.deployment.certificates import check_server_certificate, days_left, load_certificate
from fedfr.deployment.connection_checks import check_connection, check_registration, check_served_certificate
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.erasure.journal import refuse_unfinished
from fedfr.deployment.proxy import find_nginx
from fedfr.deployment.secrets import load_key
from fedfr.deployment.site import Site
from fedfr.deployment.site_config import SiteConfig
from fedfr.deployment.site_folder import KEY, ROOT
from fedfr.deployment.site_privacy import check_persons, spent_budget
from fedfr.deployment.site_service import RUNNING
from fedfr.deployment.site_sets import check_disjoint, site_strangers
from fedfr.deployment.site_sums import member_of
from fedfr.deployment.status import site_status
from fedfr.experiments.from_config import make_compute
from fedfr.federation.private_store import PrivateStore
from fedfr.models import build_backbone

__all__ = ["CheckResult", "check_server", "check_site"]

RENEWAL_DAYS = 30.0
"""Days before its expiry in which a certificate should be replaced."""

MEMORY_PER_MODEL_BYTE = 8
"""Memory for training in bytes per byte of the model: gradients, momentum, two frozen copies, and images."""


@dataclass(frozen=True)
class CheckResult:
    """Result of one check; ``remedy`` is empty if it passed."""

    what: str
    found: str
    remedy: str = ""

    def __str__(self) -> str:
        return (
            f"ok   {self.what}: {self.found}" if not self.remedy else f"FAIL {self.what}: {self.found}; {self.remedy}"
        )


def _run_check(what: str, check: Callable[[], str]) -> CheckResult:
    """Run a check and return its result; an error becomes a failed result."""
    try:
        return CheckResult(what, check())
    except FedfrError as error:
        return _failed(what, error)


def _failed(what: str, error: FedfrError) -> CheckResult:
    """Split an error message at its last semicolon into problem and remedy."""
    found, _, remedy = str(error).rpartition("; ")
    return CheckResult(what, found, remedy) if found else CheckResult(what, remedy, "correct it")


def check_site(path: Path) -> Iterator[CheckResult]:
    """Check a site and its connection to the server without changing anything; yields results as they are found.

    ``path``: its ``site.yaml``. Ends early if the configuration or the agreement cannot be used.
    """
    try:
        config = SiteConfig.load(path)
    except FedfrError as error:
        yield _failed("configuration", error)
        return
    yield CheckResult("configuration", f"{path}, client {config.client}")
    key = _run_check("key", lambda: f"{type(load_key(path.parent / KEY)).__name__} in {path.parent / KEY}")
    yield key
    yield from _certificate("authority", path.parent / ROOT)
    server = _run_check("server", lambda: check_connection(config, path.parent / ROOT))
    yield server
    if not key.remedy and not server.remedy:
        yield _run_check("registered", lambda: check_registration(config, path.parent))
    running = is_locked(path.parent)
    yield _run_check("folder", lambda: machine_checks.writable(path.parent))
    port = _site_port(path.parent, config, running)
    yield _run_check("port", partial(machine_checks.port, port, [machine_checks.LOOPBACK], path.parent, running))
    try:
        refuse_unfinished(Path(config.private))
    except FedfrError as error:
        yield _failed("erasure", error)
    try:
        site = Site(config)
        weights = _model_bytes(site.agreement.backbone)
    except FedfrError as error:
        yield _failed("agreement", error)
        return
    if running:
        yield _run_check("running", lambda: _process(path))
    agreed = site.agreement
    rounds = f"{agreed.rounds} round{'' if agreed.rounds == 1 else 's'}"
    yield CheckResult("agreement", f"{agreed.method.name}, {rounds}, {len(agreed.clients)} sites")
    if agreed.secure is not None:
        yield _run_check("key for secure sums", lambda: _sum_key(site, path.parent))
    for line in agreed.describe_privacy():
        yield CheckResult("privacy", line.removeprefix("privacy: "))
    if agreed.privacy is not None:
        terms = agreed.privacy
        yield _run_check("privacy budget", lambda: spent_budget(terms, Path(config.private)))
    if agreed.code:
        yield CheckResult("code", f"{', '.join(agreed.code)}: allowed, and installed as agreed")
    yield _run_check("device", lambda: _device(site))
    yield _run_check("faces", lambda: _faces(site))
    yield _run_check("public faces", lambda: _public_faces(site))
    yield _run_check("no overlap", lambda: _overlap(site))
    if agreed.strangers:
        yield _run_check("strangers", lambda: _strangers(site))
    yield _run_check("disk", lambda: machine_checks.disk(Path(config.private), 4 * weights))
    yield _run_check("memory", lambda: machine_checks.memory(MEMORY_PER_MODEL_BYTE * weights))
    yield _run_check("private states", lambda: _private_states(site))


def _model_bytes(backbone: str) -> int:
    return sum(value.numel() * value.element_size() for value in build_backbone(backbone, 0).state_dict().values())


def check_server(coordinator: Coordinator) -> Iterator[CheckResult]:
    """Check a coordinator's folder and machine without changing anything; yields results as they are found."""
    config = coordinator.config
    yield CheckResult("configuration", f"{config.name}, {', '.join(config.hosts)}, port {config.port}")
    for name in ("ca", "server"):
        yield from _certificate(name, coordinator.tls / f"{name}.crt")
    yield _run_check("hosts", lambda: _hosts(coordinator))
    yield _run_check("addresses", coordinator.check_families)
    yield _run_check("folder", lambda: machine_checks.writable(coordinator.folder))
    running = is_locked(coordinator.folder)
    if running:
        yield _run_check("certificate in use", lambda: check_served_certificate(coordinator))
    found = find_nginx()
    yield CheckResult("nginx", found or "not installed", "" if found else "apt install nginx-light")
    yield _run_check("proxy", lambda: f"{len(coordinator.proxy.configuration().splitlines())} lines of configuration")
    sites = coordinator.sites()
    yield CheckResult(
        "sites", ", ".join(sites) or "none", "" if sites else "register their keys with `fedfr server register`"
    )
    yield _run_check("disk", lambda: machine_checks.disk(coordinator.runs, 1 << 30))
    for port, places in ((config.port, listen_addresses()), (config.inner_port, [machine_checks.LOOPBACK])):
        yield _run_check(f"port {port}", partial(machine_checks.port, port, places, coordinator.folder, running))
    yield CheckResult(
        "running", "yes" if running else "no", "" if running else f"`fedfr server run {coordinator.folder}`"
    )


def _hosts(coordinator: Coordinator) -> str:
    check_server_certificate(coordinator.tls, coordinator.config.hosts)
    return f"the server certificate is for {', '.join(coordinator.config.hosts)}"


def _certificate(what: str, path: Path) -> Iterator[CheckResult]:
    try:
        left = days_left(load_certificate(path))
    except FedfrError as error:
        problem = str(error).rpartition("; ")[0]
        yield CheckResult(
            f"certificate {what}",
            problem,
            "ask the coordinator for it" if what == "authority" else "run `fedfr server init` again",
        )
        return
    remedy = {
        "authority": "ask the coordinator for a new one",
        "ca": "create a new authority, and distribute its ca.crt",
        "server": "remove it and its key, and run `fedfr server init` again",
    }[what]
    validity = f"valid for {left:.0f} days" if left > 0 else f"expired {-left:.0f} days ago"
    yield CheckResult(f"certificate {what}", validity, "" if left > RENEWAL_DAYS else remedy)


def _sum_key(site: Site, folder: Path) -> str:
    member_of(site, folder)
    return "it is the one in the agreement"


def _faces(site: Site) -> str:
    own = site.own_faces
    check_persons(site.config.client, own, site.agreement.privacy)
    return f"{len(own)} images of {own.num_identities} identities for training"


def _public_faces(site: Site) -> str:
    if not site.agreement.public:
        return "not needed by this method"
    if site.config.public is None or not Path(site.config.public).exists():
        raise FedfrError("the public faces are missing; run `fedfr site fetch` to download them from the coordinator")
    faces = site.public_faces
    if faces.fingerprint() != site.agreement.public:
        raise FedfrError("the public faces differ from the agreement; fetch them again")
    return f"{len(faces)} images of {faces.num_identities} identities, as in the agreement"


def _overlap(site: Site) -> str:
    """Check that private and public faces share no image and no identity name."""
    if not site.agreement.public:
        return "there are no public faces"
    if site.config.public is None:
        raise FedfrError("this check needs the public faces; fetch them first")
    check_disjoint(site.all_faces, site.public_faces, "the public ones")
    return "private and public faces share no name and no image"


def _strangers(site: Site) -> str:
    if site.config.strangers is None:
        return "not used by this site; site.yaml names no folder for them"
    faces = site_strangers(site)
    return f"{len(faces)} images of {faces.num_identities} identities, as in the agreement, none of them at this site"


def _device(site: Site) -> str:
    """Check that the configured device and precision can be used for training."""
    runtime = site.config.runtime
    make_compute(site.agreement.config.model_copy(update={"runtime": runtime}))
    return f"{runtime.device}, {runtime.precision}, threads: {runtime.threads}"


def _private_states(site: Site) -> str:
    """Check that the newest private state can be read; a damaged one would make every round fail."""
    store = PrivateStore(site.private, site.config.client)
    rounds = store.rounds()
    if not rounds:
        return "none yet"
    store.at_or_before(rounds[-1])
    return f"of rounds {', '.join(map(str, rounds))}"


def _site_port(folder: Path, config: SiteConfig, running: bool) -> int | None:
    """Return the configured port, else the port that the running process uses; None if there is neither."""
    if config.port is None and running:
        with suppress(FedfrError, LookupError, TypeError, ValueError):
            return int(read_json(folder / RUNNING)["port"]) or None
    return config.port


def _process(path: Path) -> str:
    """Check that the site's process is up and not waiting for a restart."""
    found = site_status(path)
    if "next_start" in found:
        problem, start = found.get("last_problem", "it is down"), (found["starts"] or 0) + 1
        raise FedfrError(
            f"{problem}, start {start} follows at {found['next_start']}; correct this problem, or see the output of "
            "`fedfr site run`"
        )
    again = f", last problem: {found['last_problem']}" if "last_problem" in found else ""
    return f"{found.get('node', 'about to start')}, {found.get('starts', 1)} starts{again}"
