"""Coordinators, keys and sites in the folder of a case of invalid input."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml
from tests.support.bad_input import Given

from fedfr.deployment.agreement import Agreement
from fedfr.deployment.certificates import make_authority
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.secrets import make_node_key, save_key
from fedfr.deployment.site_folder import init_site
from fedfr.experiments.experiment import Experiment

__all__ = ["authority", "coordinator", "key", "new_site", "public", "site"]


def coordinator(given: Given) -> str:
    """A coordinator in ``place/coordinator``, moved there because nginx could not use that path."""
    made = Coordinator.init(given.place.parent / "coordinator", ["localhost"], "test", 9443, 9442)
    return str(shutil.move(made.folder, given.place / "coordinator"))


def key(given: Given, name: str = "site.key") -> Path:
    """A site's private key; the public one is beside it."""
    save_key(given.place / name, make_node_key())
    return given.place / name


def public(path: Path) -> str:
    """The public key beside a private one."""
    return f"{path}.pub"


def authority(given: Given) -> str:
    """A certificate of an authority."""
    make_authority(given.place / "tls", "test")
    return str(given.place / "tls" / "ca.crt")


def site(given: Given, *, agreement: bool = True, client: str = "client-01", **changes: object) -> str:
    """A site in ``place/site`` that has the agreement of the run, and no public faces."""
    folder = given.place / "site"
    init_site(folder, client, "localhost:1", Path(authority(given)), str(given.faceset), 9444, 1)
    if agreement:
        Agreement.of(Experiment.open(given.run).method_runs()[0]).save(folder / "agreement.yaml")
    content = yaml.safe_load((folder / "site.yaml").read_text("utf-8"))
    (folder / "site.yaml").write_text(yaml.safe_dump({**content, **changes}), "utf-8")
    return str(folder)


def new_site(given: Given, **changes: str) -> list[str]:
    """The command that creates a site."""
    options = {"client": "north", "server": "fed.example.org:9443", **changes}
    options.setdefault("ca", str(given.place / "none.crt"))
    return ["site", "init", str(given.place / "site"), *(f"--{name}={value}" for name, value in options.items())]
