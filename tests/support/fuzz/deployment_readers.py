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
from fedfr.deployment.public_keys import read_public_keys, read_sum_key
from fedfr.deployment.secrets import load_key, make_node_key, public_line, save_key
from fedfr.deployment.site import Site
from fedfr.deployment.site_programs import check_bundle
from fedfr.deployment.site_sets import site_strangers
from fedfr.deployment.site_status_file import read_site_statuses
from fedfr.deployment.state_files import SUBMITTED
from fedfr.deployment.sum_keys import load_sum_key, make_sum_key
from fedfr.engines.flower.sum_member import TrainedRound
from fedfr.federation.messages import Update, encode

__all__ = ["TARGETS"]


def _deployed(folder: Path) -> None:
    export_partitions(
        experiment(folder, "split.settings.stranger_identities=2").components, folder / "federation", "remote"
    )
    for name in ("run", "faceset"):
        shutil.rmtree(folder / name)
    for path in (folder / "federation" / "coordinator", folder / "federation" / "sites" / "client-02"):
        shutil.rmtree(path, ignore_errors=True)


def _read_deployed(folder: Path) -> None:
    site = folder / "federation" / "sites" / "client-01"
    Agreement.load(site / "agreement.yaml")
    opened = Site.open(site / "site.yaml")
    opened.hello()
    site_strangers(opened)


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


def _sum_keys(folder: Path) -> None:
    line = make_sum_key(folder)
    (folder / "site.sum").write_text(f"{line}\n")
    (folder / "site.pub").write_text(f"{public_line(make_node_key())}\n{line}\n")


def _read_sum_keys(folder: Path) -> None:
    read_sum_key(folder / "site.sum")
    read_public_keys(folder / "site.pub")
    load_sum_key(folder)


def _trained(folder: Path) -> None:
    ready = Update(3, "north", {}, None, 1, {"loss/total": 0.5})
    TrainedRound(round=3, model="ab" * 32, layout="cd" * 32, length=9, reply=encode(ready).hex()).save(folder)


def _read_trained(folder: Path) -> None:
    trained = TrainedRound.load(folder)
    if trained is not None:
        trained.plan(3)
        trained.update()


TARGETS = {
    "keys of secure sums": Target(("deployment.sum_keys", "deployment.public_keys"), _sum_keys, _read_sum_keys, "*"),
    "trained round of a secure sum": Target(("engines.flower.sum_member",), _trained, _read_trained, "*.json"),
    "coordinator": Target(("deployment.coordinator",), _coordinator, _read_coordinator),
    "site": Target(("deployment.agreement", "deployment.site_config"), _deployed, _read_deployed, "*.yaml", cost=3),
    "keys": Target(
        ("deployment.secrets", "deployment.certificates", "deployment.site_status_file"), _secrets, _read_secrets
    ),
    "bundle": Target(
        ("deployment.site_programs",), _bundle, lambda folder: check_bundle((folder / "a.fab").read_bytes())
    ),
}
