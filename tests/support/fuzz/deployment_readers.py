"""Targets that read the files of coordinators and sites."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.support.fuzz.run_samples import experiment
from tests.support.fuzz.targets import Target

from fedfr.deployment.agreement import Agreement
from fedfr.deployment.certificates import issue_operator, load_certificate, make_authority
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.partition_export import export_partitions
from fedfr.deployment.secrets import load_key, make_node_key, save_key
from fedfr.deployment.site import Site
from fedfr.deployment.site_programs import check_bundle
from fedfr.deployment.site_status_file import read_site_statuses
from fedfr.deployment.state_files import SUBMITTED

__all__ = ["TARGETS"]


def _deployed(folder: Path) -> None:
    export_partitions(experiment(folder).components, folder / "federation", "remote")
    for name in ("run", "faceset"):
        shutil.rmtree(folder / name)
    for path in (folder / "federation" / "coordinator", folder / "federation" / "sites" / "client-02"):
        shutil.rmtree(path, ignore_errors=True)


def _read_deployed(folder: Path) -> None:
    site = folder / "federation" / "sites" / "client-01"
    Agreement.load(site / "agreement.yaml")
    Site.open(site / "site.yaml").hello()


def _secrets(folder: Path) -> None:
    save_key(folder / "a.key", make_node_key())
    make_authority(folder, "federation")
    issue_operator(folder, "operator")
    (folder / "sites.json").write_text(json.dumps({"a": {"state": "training", "round": 1, "since": "2026"}}))


def _read_secrets(folder: Path) -> None:
    load_key(folder / "a.key")
    for path in sorted(folder.glob("*.crt")):
        load_certificate(path)
    read_site_statuses(folder)


def _bundle(folder: Path) -> None:
    import io
    import zipfile

    from fedfr.deployment.site_programs import EXPECTED

    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in EXPECTED.items():
            archive.writestr(name, content)
    (folder / "a.fab").write_bytes(whole.getvalue())


def _coordinator(folder: Path) -> None:
    Coordinator.init(folder / "server", ["localhost"], "north", 9443, 9444)
    run = folder / "server" / "runs" / "first"
    run.mkdir()
    (run / SUBMITTED).write_text(json.dumps({"place": 1}))


def _read_coordinator(folder: Path) -> None:
    Coordinator.open(folder / "server").submitted()
    load_certificate(folder / "server" / "tls" / "server.crt")


TARGETS = {
    "coordinator": Target(("deployment.coordinator",), _coordinator, _read_coordinator),
    "site": Target(("deployment.agreement", "deployment.site"), _deployed, _read_deployed, "*.yaml", cost=3),
    "keys": Target(
        ("deployment.secrets", "deployment.certificates", "deployment.site_status_file"), _secrets, _read_secrets
    ),
    "bundle": Target(
        ("deployment.site_programs",), _bundle, lambda folder: check_bundle((folder / "a.fab").read_bytes())
    ),
}
