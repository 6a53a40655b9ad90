"""Targets that read settings and runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch
import yaml
from tests.support.fuzz.run_samples import WEIGHTS, experiment
from tests.support.fuzz.targets import Target

from fedfr.config.schema import load_config
from fedfr.core.files import write_json
from fedfr.evaluation.person_outcomes import PersonOutcomes
from fedfr.experiments.benchmark_results import read_results
from fedfr.experiments.events import Events
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.privacy_audit import stored_audit
from fedfr.experiments.report import open_report, save_page
from fedfr.faces import Split
from fedfr.federation.identity_key import IdentityKey
from fedfr.federation.journal import Journal
from fedfr.federation.method import GenericModel
from fedfr.federation.private_state import PrivateState
from fedfr.federation.private_store import PrivateStore
from fedfr.reporting.audit_table import audit_page_table, audit_text
from fedfr.results.audit_rows import AUDIT_FILE, AuditRow
from fedfr.results.costs import EpochCost, round_costs, starting_cost, write_epoch_costs
from fedfr.results.person_records import PersonRecord, read_person_records, write_person_records

__all__ = ["TARGETS"]


def _people(folder: Path) -> None:
    counts = np.arange(6)
    outcomes = PersonOutcomes(counts, counts // 2, counts, counts // 3, counts, 15, 0.01, 0.5)
    records = [PersonRecord("fedfr", 0, name, "generic", "generic-1:1", "TAR@FAR=1e-2", outcomes) for name in "ab"]
    write_person_records(folder / "people.npz", records)


def _config(folder: Path) -> None:
    given = {"federation": {"rounds": 3}, "method": {"name": "fedfr"}, "local": {"epochs": 2}, "seed": 1}
    (folder / "config.yaml").write_text(yaml.safe_dump({"preset": "quickstart", **given}))


def _split(folder: Path) -> None:
    experiment(folder, "split.settings.stranger_identities=2").components.split.save(folder / "split.json")
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)


def _read_split(folder: Path) -> None:
    split = Split.load(folder / "split.json")
    for part in split.clients.values():
        list(part.train), list(part.test)
    list(split.public), list(split.generic), list(split.strangers)


def _journal(folder: Path) -> None:
    Journal(folder / "rounds").commit(
        1, GenericModel(WEIGHTS, torch.ones(2, 4), {"identities/a": torch.ones(1, 4)}), {"a": 1}
    )


def _read_journal(folder: Path) -> None:
    journal = Journal(folder / "rounds")
    journal.latest()
    journal.records()


def _metrics(folder: Path) -> None:
    update = {"event": "update", "round": 1, "client": "a", "cpu_seconds": 1.0, "bytes/up": 3, "bytes/down": 4}
    lines = [{**update, "peak_rss_bytes": 5.0}, {"event": "round", "round": 1, "seconds": 2.0}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _read_metrics(folder: Path) -> None:
    round_costs(folder / "metrics.jsonl", "fedfr", 0)
    Events.of_rounds(folder / "metrics.jsonl", 0)


def _start_cost(folder: Path) -> None:
    write_epoch_costs(folder / "cost.json", [EpochCost(2.5, 1.5, 6, 48), EpochCost(2.0, 1.0, 6, 48)])


def _read_start_cost(folder: Path) -> None:
    starting_cost(folder / "cost.json", 0)


def _private(folder: Path) -> None:
    PrivateStore(folder, "a").save(PrivateState(1, WEIGHTS, torch.ones(2, 4), {"branches.weight": torch.ones(2, 4)}))


def _read_private(folder: Path) -> None:
    state = PrivateStore(folder, "a").latest()
    assert state is None or state.round == 1


def _finished(folder: Path) -> None:
    experiment(folder, "federation.rounds=1").run()


def _read_finished(folder: Path) -> None:
    run = Experiment.open(folder / "run")
    run.describe()
    save_page(open_report(folder / "run"), folder / "page.html")


def _results(folder: Path) -> None:
    columns = (
        "cell,method,seed,round,client,model,protocol,metric,value,genuine,impostor,refused,"
        "wall_seconds,client_seconds,bytes_up,bytes_down,peak_bytes"
    )
    (folder / "results.csv").write_text(f"{columns}\n,fedfr,0,1,a,generic,p,TAR,0.5,1,2,,1.0,2.0,3,4,5\n")


def _audit(folder: Path) -> None:
    rows = [
        AuditRow("enrolment", "sum only", auc=0.5, low=0.4, high=0.6, tpr=0.1, positives=3, negatives=4),
        AuditRow("canaries", "sum only", "canaries", auc=0.5, epsilon=0.1, epsilon_most=2.3),
        AuditRow("mined", "final model", left_out="it is not in the file"),
    ]
    write_json(folder / AUDIT_FILE, [row.to_dict() for row in rows])


def _read_audit(folder: Path) -> None:
    rows = stored_audit(folder)
    audit_text(rows, 80)
    audit_page_table(rows)


def _identity_key(folder: Path) -> None:
    IdentityKey(folder).hash_names(["a"])


TARGETS = {
    "privacy audit": Target(("experiments.privacy_audit", "results.audit_rows"), _audit, _read_audit),
    "outcomes by person": Target(
        ("results.person_records",), _people, lambda folder: list(read_person_records(folder / "people.npz"))
    ),
    "config": Target(
        ("config.loading", "config.schema", "core.settings"),
        _config,
        lambda folder: load_config(folder / "config.yaml"),
    ),
    "split": Target(("faces.splits.split", "faces.index_ranges"), _split, _read_split, "split.json"),
    "journal": Target(("federation.journal", "core.files"), _journal, _read_journal),
    "metrics": Target(("results.costs", "experiments.events"), _metrics, _read_metrics),
    "start-cost": Target(("results.costs",), _start_cost, _read_start_cost),
    "private state": Target(("federation.private_store", "federation.packing"), _private, _read_private),
    "identity key": Target(
        ("federation.identity_key",), _identity_key, lambda folder: IdentityKey(folder).hash_names(["a"])
    ),
    "run": Target(
        (
            "experiments.experiment",
            "experiments.stored_run",
            "experiments.run_evaluation",
            "experiments.report",
            "results.result_rows",
            "results.curve_records",
        ),
        _finished,
        _read_finished,
        "*.[jy][sa]*",
        cost=10,
    ),
    "results": Target(
        ("experiments.benchmark", "experiments.benchmark_results"),
        _results,
        lambda folder: read_results(folder / "results.csv"),
    ),
}
