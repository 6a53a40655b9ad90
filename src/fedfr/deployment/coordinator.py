"""Folder of a coordinator: certificates, registered sites, and runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import AF_INET6
from typing import Annotated

from pydantic import AfterValidator, Field

from fedfr.config.loading import read_settings_file
from fedfr.config.schema import ExperimentConfig
from fedfr.core.client_ids import NAME, check_client_ids, is_client_id
from fedfr.core.errors import FedfrError
from fedfr.core.files import empty_folder, make_folder, read_json, write_atomically, write_json
from fedfr.core.secret_files import refuse_existing, write_new
from fedfr.core.settings import Settings, validate
from fedfr.deployment.address import Address, listen_addresses, without_brackets
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.certificates import issue_operator, issue_server, make_authority
from fedfr.deployment.proxy import Proxy
from fedfr.deployment.public_keys import read_public_keys, read_sum_key
from fedfr.deployment.public_set import publish
from fedfr.deployment.site_folder import ROOT
from fedfr.deployment.site_status_file import timestamp
from fedfr.deployment.state_files import AGREEMENT, STOPPED, SUBMITTED
from fedfr.experiments.experiment import Experiment
from fedfr.reporting.progress import Progress

__all__ = ["Coordinator", "CoordinatorConfig"]

SUM_SUFFIX = ".sum"
"""Ending of the files in ``sites/`` with the keys for secure sums."""

LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
CONFIG = """\
# The coordinator of a federation. `fedfr server check` checks this configuration.

name: {name}

# Host names and addresses (IPv4 or IPv6) at which sites reach this machine; tls/server.crt is valid for these. After a
# change, remove tls/server.crt and tls/server.key, and run `fedfr server init` to create them again.
hosts: {hosts}

# Port for the sites (nginx with TLS). Open only this port in the firewall.
port: {port}

# Port of Flower's SuperLink on 127.0.0.1. Never open it: anyone who reaches it can submit code for every site.
inner_port: {inner_port}

# Trackers that receive the metrics of a run: tensorboard, mlflow, prometheus (docs/runs.md; extra `track`).
track: []
"""
Port = Annotated[int, Field(ge=1, le=65535)]


class CoordinatorConfig(Settings):
    """Contents of ``server.yaml``.

    ``hosts``: host names and addresses at which sites reach this machine. ``port``: for the sites. ``inner_port``: of
    the SuperLink on 127.0.0.1. ``track``: trackers that receive the metrics of a run.
    """

    name: str = "federation"
    hosts: Annotated[tuple[Annotated[str, AfterValidator(without_brackets)], ...], Field(min_length=1)]
    port: Port = 9443
    inner_port: Port = 9442
    track: tuple[str, ...] = ()


@dataclass(frozen=True)
class Coordinator:
    """Opened coordinator: a folder with ``server.yaml``, ``tls/``, ``sites/<id>.pub`` and ``runs/<name>/``."""

    folder: Path
    config: CoordinatorConfig

    @classmethod
    def init(cls, folder: Path, hosts: Sequence[str], name: str, port: int, inner_port: int) -> Coordinator:
        """Create the folder with an authority and a server certificate, or complete an existing folder.

        Raises :class:`FedfrError` for an invalid name, host or port, and for a folder with other content; nothing is
        changed then.
        """
        existed, exists = folder.exists(), (folder / "server.yaml").exists()
        if existed and not exists and (not folder.is_dir() or any(folder.iterdir())):
            raise FedfrError(f"{folder} exists and is not an empty folder; choose another folder for the coordinator")
        settings = {"name": name, "hosts": tuple(hosts), "port": port, "inner_port": inner_port}
        config = cls.open(folder).config if exists else validate(CoordinatorConfig, settings, "server init")
        if not NAME.fullmatch(config.name) or config.port == config.inner_port:
            raise FedfrError(
                f"name = {config.name!r}, ports {config.port} and {config.inner_port}; give a name of letters, digits "
                "and . _ -, and two different ports"
            )
        created = cls(folder, config)
        created.proxy.configuration()
        if (created.tls / "server.crt").exists() and not (created.tls / ROOT).exists():
            raise FedfrError(
                f"{created.tls / ROOT} is missing, and {created.tls / 'server.crt'} was signed by it; restore it from "
                "any site, or remove both certificates and their keys and distribute a new ca.crt to all sites"
            )
        try:
            if not (created.tls / ROOT).exists():
                make_authority(created.tls, config.name)
            if not (created.tls / "server.crt").exists():
                issue_server(created.tls, [*dict.fromkeys([*config.hosts, *LOCAL_HOSTS])])
            for part in ("sites", "runs"):
                make_folder(folder / part)
            if not exists:
                # Quoted, so that YAML reads names such as 007 or off as text.
                text = CONFIG.format(**{**settings, "name": json.dumps(name), "hosts": json.dumps([*hosts])})
                write_atomically(folder / "server.yaml", text.encode())
        except BaseException:
            if not exists:
                empty_folder(folder, remove=not existed)
            raise
        return created

    @classmethod
    def open(cls, folder: Path) -> Coordinator:
        """Open the coordinator in ``folder``; raises :class:`FedfrError` if it has no valid ``server.yaml``."""
        path = folder / "server.yaml"
        if not path.is_file():
            raise FedfrError(f"{folder} holds no server.yaml; create a coordinator with `fedfr server init {folder}`")
        return cls(folder, validate(CoordinatorConfig, read_settings_file(path), str(path)))

    @property
    def tls(self) -> Path:
        """Folder of certificates and their keys."""
        return self.folder / "tls"

    @property
    def runs(self) -> Path:
        """Folder of the runs, one subfolder each."""
        return self.folder / "runs"

    @property
    def addresses(self) -> list[Address]:
        """Addresses at which sites reach this machine."""
        return [Address(f"[{host}]" if ":" in host else host, self.config.port) for host in self.config.hosts]

    def check_families(self) -> str:
        """Return the addresses to listen at as text; raises :class:`FedfrError` for an IPv6 host without IPv6 here."""
        found = listen_addresses()
        missing = [host for host in self.config.hosts if ":" in host]
        if missing and AF_INET6 not in dict(found):
            raise FedfrError(
                f"this machine has no IPv6 for {', '.join(missing)}; enable it, or give other hosts in server.yaml"
            )
        return " and ".join(f"{f'[{place}]' if ':' in place else place}:{self.config.port}" for _, place in found)

    @property
    def proxy(self) -> Proxy:
        """The nginx proxy in front of the SuperLink."""
        return Proxy(self.folder / "proxy", self.tls, self.config.port, self.config.inner_port)

    def register(self, client: str, key: Path) -> Path:
        """Register the site with these public keys as ``client``; return the registration file.

        ``key``: file with the key of the node and, in a second line, the key for secure sums, which can be added to a
        registration that has none. Raises :class:`FedfrError` for an invalid or registered id, a key that is registered
        for another site, and a file with anything else.
        """
        check_client_ids([client, *(other for other in self.sites() if other != client)], "site")
        public_key, sum_key = read_public_keys(key)
        others = {name: path for name, path in self.sites().items() if name != client}
        for other, path in others.items():
            used = read_public_keys(path)[0].split()[:2] == public_key.split()[:2]
            if used or (sum_key is not None and self.sum_keys().get(other) == sum_key):
                raise FedfrError(f"{key} is already registered for {other}; every site needs its own key")
        place = self.folder / "sites" / f"{client}.pub"
        sums = place.with_suffix(SUM_SUFFIX)
        known = place.exists() and read_public_keys(place)[0].split()[:2] == public_key.split()[:2]
        if known and sum_key is not None and not sums.exists():
            write_new(sums, f"{sum_key}\n".encode())
            return sums
        refuse_existing(place)
        sums.unlink(missing_ok=True)
        if sum_key is not None:
            write_new(sums, f"{sum_key}\n".encode())
        write_new(place, f"{public_key}\n".encode())
        return place

    def sum_keys(self) -> dict[str, str]:
        """Public keys for secure sums of the registered sites that have one, by client id."""
        files = {client: path.with_suffix(SUM_SUFFIX) for client, path in self.sites().items()}
        return {client: read_sum_key(path) for client, path in files.items() if path.exists()}

    def sites(self) -> dict[str, Path]:
        """Public keys of all registered sites, by client id."""
        return {path.stem: path for path in sorted((self.folder / "sites").glob("*.pub")) if is_client_id(path.stem)}

    def unregister(self, client: str) -> None:
        """Remove a site's registration; raises :class:`FedfrError` if it is not registered."""
        if client not in self.sites():
            raise FedfrError(f"site {client!r} is not registered; registered are {', '.join(self.sites()) or 'none'}")
        place = self.sites()[client]
        place.unlink()
        place.with_suffix(SUM_SUFFIX).unlink(missing_ok=True)

    def admit(self, person: str) -> Path:
        """Create a certificate with which a person may use the control API through the proxy; return its file.

        Raises :class:`FedfrError` for an invalid or used name, and without the authority's key.
        """
        if not NAME.fullmatch(person) or person in ("ca", "server"):
            raise FedfrError(f"{person!r} is not a valid name for an operator; give letters, digits and . _ -")
        issue_operator(self.tls, person)
        return self.tls / f"{person}.crt"

    def submit(self, name: str, config: ExperimentConfig | None, progress: Progress | None = None) -> Path:
        """Submit the run ``name``, or resume an existing one; return the agreement for its sites.

        ``config``: for a new run, with the split recipe ``sites`` or a manifest whose clients have their faces
        elsewhere; None resumes a run. Raises :class:`FedfrError` for an invalid name, for clients that are not
        registered, and as :meth:`Experiment.begin` does; a new run's folder is removed then.
        """
        if not NAME.fullmatch(name):
            raise FedfrError(f"{name!r} is not a valid name for a run; give letters, digits and . _ -, at most 64")
        folder = self.runs / name
        exists = (folder / "config.yaml").exists()
        if config is None and not exists:
            raise FedfrError(f"there is no run {name} in {self.runs}; give a configuration to create it")
        experiment = Experiment.open(folder) if config is None else Experiment.begin(config, folder, progress)
        try:
            method_run = experiment.method_runs()[0]
            terms = Agreement.of(method_run, self.sum_keys())
            unregistered = [client for client in terms.clients if client not in self.sites()]
            if unregistered:
                raise FedfrError(
                    f"{', '.join(unregistered[:3])} of run {name} are not registered (registered: "
                    f"{', '.join(self.sites()) or 'none'}); register their keys with `fedfr server register`"
                )
            agreement = folder / AGREEMENT
            if not agreement.exists():
                terms.save(agreement)
        except BaseException:
            # So that the run can be created with a corrected configuration.
            if not exists:
                empty_folder(folder, remove=True)
            raise
        if method_run.method.needs_public_faces:
            publish(experiment.components.public_faces, self.proxy.folder)
        if len(experiment.components.split.strangers):
            publish(experiment.components.stranger_faces, self.proxy.folder)
        (folder / STOPPED).unlink(missing_ok=True)
        if not (folder / SUBMITTED).exists():
            places = [self._queue_position(each)[0] for each in self.submitted()]
            write_json(folder / SUBMITTED, {"place": max(places, default=0) + 1, "since": timestamp()})
        return agreement

    def withdraw(self, name: str) -> None:
        """Withdraw the run from the queue, or stop it; finished rounds are kept.

        Raises :class:`FedfrError` if there is no such run.
        """
        if not NAME.fullmatch(name) or not (self.runs / name / "config.yaml").is_file():
            raise FedfrError(
                f"there is no run {name!r} in {self.runs}; existing runs: {', '.join(self.run_names()) or 'none'}"
            )
        (self.runs / name / SUBMITTED).unlink(missing_ok=True)

    def outcome(self, name: str) -> str:
        """Describe in one line how a run ended."""
        stopped = self.runs / name / STOPPED
        if stopped.exists():
            return f"run {name} stopped: {stopped.read_text(encoding='utf-8').strip()}"
        return f"run {name} has ended"

    def run_names(self) -> list[str]:
        """Names of all runs in this folder, sorted."""
        return sorted(path.parent.name for path in self.runs.glob("*/config.yaml"))

    def submitted(self) -> list[str]:
        """Return the names of the submitted runs in the order of the queue.

        An interrupted run keeps its position. The queue survives a restart of the coordinator.
        """
        return sorted((path.parent.name for path in self.runs.glob(f"*/{SUBMITTED}")), key=self._queue_position)

    def _queue_position(self, name: str) -> tuple[int, float, str]:
        """Return the sort key of a run in the queue; runs without a position come first, by the time of their file."""
        path = self.runs / name / SUBMITTED
        try:
            place, created = read_json(path)["place"], path.stat().st_mtime
        except (FedfrError, OSError, LookupError, TypeError):
            place, created = 0, path.stat().st_mtime if path.exists() else 0.0
        return place if isinstance(place, int) else 0, created, name
