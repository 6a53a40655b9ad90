"""Coordinator's folder: certificates, registered sites, and runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import AF_INET6
from typing import Annotated

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from pydantic import AfterValidator, Field

from fedfr.config.loading import read_file
from fedfr.config.schema import ExperimentConfig
from fedfr.core.client_ids import NAME, check_client_ids, is_client_id
from fedfr.core.errors import FedfrError
from fedfr.core.files import empty_folder, make_folder, read_json, write_atomically, write_json
from fedfr.core.settings import Settings, validate
from fedfr.deployment.address import Address, bare, listening
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.certificates import issue_operator, issue_server, make_authority
from fedfr.deployment.proxy import Proxy
from fedfr.deployment.public_set import offer
from fedfr.deployment.run_state import AGREEMENT, STOPPED, SUBMITTED
from fedfr.deployment.secrets import write_new
from fedfr.deployment.site_board import now
from fedfr.deployment.site_folder import ROOT
from fedfr.experiments.experiment import Experiment
from fedfr.reporting.progress import Progress

__all__ = ["Coordinator", "CoordinatorConfig"]

HERE = ("localhost", "127.0.0.1", "::1")
CONFIG = """\
# The coordinator of a federation. `fedfr server check` checks this configuration.

name: {name}

# Names and addresses by which sites reach this machine, IPv4 or IPv6; tls/server.crt is good for these. After a change:
# remove tls/server.crt and tls/server.key, and run `fedfr server init` to make them again.
hosts: {hosts}

# The port that sites connect to (nginx, TLS). Open only this port in the firewall.
port: {port}

# A port of 127.0.0.1 for Flower's SuperLink. Never open it: anyone who reaches it may run code at every site.
inner_port: {inner_port}

# Trackers that receive the metrics of a run: tensorboard, mlflow, prometheus (docs/runs.md; extra `track`).
track: []
"""
Port = Annotated[int, Field(ge=1, le=65535)]


class CoordinatorConfig(Settings):
    """Contents of ``server.yaml``."""

    name: str = "federation"
    hosts: Annotated[tuple[Annotated[str, AfterValidator(bare)], ...], Field(min_length=1)]
    port: Port = 9443
    inner_port: Port = 9442
    track: tuple[str, ...] = ()


@dataclass(frozen=True)
class Coordinator:
    """Folder with ``server.yaml``, ``tls/``, ``sites/<id>.pub``, ``runs/<name>/``, and files of Flower and nginx."""

    folder: Path
    config: CoordinatorConfig

    @classmethod
    def init(cls, folder: Path, hosts: Sequence[str], name: str, port: int, inner_port: int) -> Coordinator:
        """Create the folder with an authority and a server certificate, or complete an existing folder.

        Raises :class:`FedfrError` for what cannot be a name, host or port; the folder is then as it was.
        """
        existed, begun = folder.exists(), (folder / "server.yaml").exists()
        if existed and not begun and (not folder.is_dir() or any(folder.iterdir())):
            raise FedfrError(f"{folder} exists and is not an empty folder; choose another place for the coordinator")
        given = {"name": name, "hosts": tuple(hosts), "port": port, "inner_port": inner_port}
        config = cls.open(folder).config if begun else validate(CoordinatorConfig, given, "server init")
        if not NAME.fullmatch(config.name) or config.port == config.inner_port:
            raise FedfrError(
                f"name = {config.name!r}, ports {config.port} and {config.inner_port}; give a name of letters, digits "
                "and the signs . _ -, and two ports"
            )
        made = cls(folder, config)
        made.proxy.configuration()
        if (made.tls / "server.crt").exists() and not (made.tls / ROOT).exists():
            raise FedfrError(
                f"{made.tls / ROOT} is missing, and {made.tls / 'server.crt'} needs it; restore it from any "
                "site, or remove both certificates and their keys to start again with all sites"
            )
        try:
            if not (made.tls / ROOT).exists():
                make_authority(made.tls, config.name)
            if not (made.tls / "server.crt").exists():
                issue_server(made.tls, [*dict.fromkeys([*config.hosts, *HERE])])
            for part in ("sites", "runs"):
                make_folder(folder / part)
            if not begun:
                # What JSON puts in quotes YAML takes as it is: a name such as 007 or off, too.
                text = CONFIG.format(**{**given, "name": json.dumps(name), "hosts": json.dumps([*hosts])})
                write_atomically(folder / "server.yaml", text.encode())
        except BaseException:
            if not begun:
                empty_folder(folder, remove=not existed)
            raise
        return made

    @classmethod
    def open(cls, folder: Path) -> Coordinator:
        """Open the coordinator in ``folder``; raises :class:`FedfrError` where there is none."""
        path = folder / "server.yaml"
        if not path.is_file():
            raise FedfrError(f"{folder} holds no server.yaml; make a coordinator with `fedfr server init {folder}`")
        return cls(folder, validate(CoordinatorConfig, read_file(path), str(path)))

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
        """Hosts at which sites reach this machine, IPv6 addresses in brackets."""
        return [Address(f"[{host}]" if ":" in host else host, self.config.port) for host in self.config.hosts]

    def check_families(self) -> str:
        """Return the addresses to listen at; raises :class:`FedfrError` where a host has another address family."""
        found = listening()
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
        """Register the site with this public key as ``client``; return the registration file.

        Raises :class:`FedfrError` for an id that is taken, a key that another site has, and anything but such a key.
        """
        check_client_ids([client, *(other for other in self.sites() if other != client)], "site")
        line = _public_key(key)
        for other, path in self.sites().items():
            if other != client and _public_key(path).split()[:2] == line.split()[:2]:
                raise FedfrError(f"{key} is already registered for {other}; every site needs its own key")
        place = self.folder / "sites" / f"{client}.pub"
        write_new(place, f"{line}\n".encode())
        return place

    def sites(self) -> dict[str, Path]:
        """Public keys of all registered sites, by client id."""
        return {path.stem: path for path in sorted((self.folder / "sites").glob("*.pub")) if is_client_id(path.stem)}

    def unregister(self, client: str) -> None:
        """Remove a site's registration; raises :class:`FedfrError` where no such site is registered."""
        if client not in self.sites():
            raise FedfrError(f"there is no site {client!r} here; there are {', '.join(self.sites()) or 'none'}")
        self.sites()[client].unlink()

    def admit(self, person: str) -> Path:
        """Create a certificate for a person who uses the control API through the proxy; return its file."""
        if not NAME.fullmatch(person) or person in ("ca", "server"):
            raise FedfrError(f"{person!r} cannot be a person's name here; give letters, digits and the signs . _ -")
        issue_operator(self.tls, person)
        return self.tls / f"{person}.crt"

    def submit(self, name: str, config: ExperimentConfig | None, progress: Progress | None = None) -> Path:
        """Submit the run ``name``, or resume an existing one; return the agreement for its sites.

        ``config`` is for a new run: recipe ``sites``, or a manifest whose clients have their faces elsewhere. Raises
        :class:`FedfrError` for a client that is not registered, and as :meth:`Experiment.begin` does.
        """
        if not NAME.fullmatch(name):
            raise FedfrError(f"{name!r} cannot be a run's name; give letters, digits and the signs . _ -, at most 64")
        folder = self.runs / name
        begun = (folder / "config.yaml").exists()
        if config is None and not begun:
            raise FedfrError(f"there is no run {name} in {self.runs}; give a configuration to make it")
        experiment = Experiment.open(folder) if config is None else Experiment.begin(config, folder, progress)
        try:
            method_run = experiment.method_runs()[0]
            terms = Agreement.of(method_run)
            strangers = [client for client in terms.clients if client not in self.sites()]
            if strangers:
                raise FedfrError(
                    f"{', '.join(strangers[:3])} of run {name} are not registered sites (registered: "
                    f"{', '.join(self.sites()) or 'none'}); `fedfr server register` their keys"
                )
            agreement = folder / AGREEMENT
            if not agreement.exists():
                terms.save(agreement)
        except BaseException:
            # Under a mended configuration the run is to be made anew.
            if not begun:
                empty_folder(folder, remove=True)
            raise
        if method_run.method.uses_public_prototypes:
            offer(experiment.components.public_faces, self.proxy.folder)
        (folder / STOPPED).unlink(missing_ok=True)
        if not (folder / SUBMITTED).exists():
            places = [self._place(each)[0] for each in self.submitted()]
            write_json(folder / SUBMITTED, {"place": max(places, default=0) + 1, "since": now()})
        return agreement

    def withdraw(self, name: str) -> None:
        """Withdraw the run from the queue, or stop it; finished rounds are kept.

        Raises :class:`FedfrError` where there is none.
        """
        if not NAME.fullmatch(name) or not (self.runs / name / "config.yaml").is_file():
            raise FedfrError(f"there is no run {name!r} in {self.runs}; there are {', '.join(self.begun()) or 'none'}")
        (self.runs / name / SUBMITTED).unlink(missing_ok=True)

    def outcome(self, name: str) -> str:
        """Describe in one line how a run ended that is no longer active."""
        stopped = self.runs / name / STOPPED
        if stopped.exists():
            return f"run {name} stopped: {stopped.read_text(encoding='utf-8').strip()}"
        return f"run {name} has ended"

    def begun(self) -> list[str]:
        """Names of all runs of this folder."""
        return sorted(path.parent.name for path in self.runs.glob("*/config.yaml"))

    def submitted(self) -> list[str]:
        """Return the active runs in the order of submission; they run one after the other.

        A run that was interrupted keeps its place, and so does the queue when the coordinator is started again.
        """
        return sorted((path.parent.name for path in self.runs.glob(f"*/{SUBMITTED}")), key=self._place)

    def _place(self, name: str) -> tuple[int, float, str]:
        """Return a run's place in the queue; one without a place sorts first, by the time of its file."""
        path = self.runs / name / SUBMITTED
        try:
            place, made = read_json(path)["place"], path.stat().st_mtime
        except (FedfrError, OSError, LookupError, TypeError):
            place, made = 0, path.stat().st_mtime if path.exists() else 0.0
        return place if isinstance(place, int) else 0, made, name


def _public_key(path: Path) -> str:
    """Return the public key as an OpenSSH line; Flower accepts keys of NIST curves only."""
    try:
        lines = path.read_text("ascii").split("\n")
        key = load_ssh_public_key(lines[0].encode())
    except OSError as error:
        raise FedfrError(f"cannot read the key {path}: {error.strerror or error}; check the path") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise FedfrError(f"{path} is not a public key; give the .pub file that `fedfr site init` made") from error
    if not isinstance(key, EllipticCurvePublicKey) or any(line.strip() for line in lines[1:]):
        raise FedfrError(f"{path} is not one key of a NIST curve; give the .pub file that `fedfr site init` made")
    return lines[0].strip()
