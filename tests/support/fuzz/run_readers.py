"""Targets that read settings, runs, models and deployments."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from tests.support.fuzz.bounds import refusal
from tests.support.fuzz.targets import Target
from tests.support.tiny_experiment import tiny_config

from fedfr.config.schema import load_config
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.certificates import issue_operator, load_certificate, make_authority
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.partition_export import export_partitions
from fedfr.deployment.secrets import load_key, make_node_key, save_key
from fedfr.deployment.site import Site
from fedfr.deployment.site_programs import check_bundle
from fedfr.deployment.site_status_file import read_site_statuses
from fedfr.deployment.state_files import SUBMITTED
from fedfr.evaluation.person_outcomes import PersonOutcomes
from fedfr.experiments.benchmark_results import read_results
from fedfr.experiments.events import Events
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.report import open_report, save_page
from fedfr.faces import Split
from fedfr.federation.feature_store import FeatureStore
from fedfr.federation.identity_key import IdentityKey
from fedfr.federation.journal import Journal
from fedfr.federation.method import GenericModel
from fedfr.federation.private_state import PrivateState
from fedfr.federation.private_store import PrivateStore
from fedfr.models.checkpoint import Contract, load_model, save_model
from fedfr.models.foreign import load_backbone
from fedfr.models.foreign_heads import load_foreign_dfc, load_foreign_prototypes
from fedfr.models.onnx_model import OnnxBackbone
from fedfr.models.preprocessing import Preprocessing
from fedfr.models.released import read_released
from fedfr.results.costs import round_costs
from fedfr.results.person_records import PersonRecord, read_person_records, write_person_records
from fedfr.training.feature_blocks import FeatureBlocks
from fedfr.training.pretraining import _resume

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
    _experiment(folder).components.split.save(folder / "split.json")
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)


def _experiment(folder: Path) -> Experiment:
    return Experiment.create(tiny_config(folder, "pretrain.epochs=0", "method.name=fedavg"), folder / "run")


def _read_split(folder: Path) -> None:
    split = Split.load(folder / "split.json")
    for part in split.clients.values():
        list(part.train), list(part.test)
    list(split.public), list(split.generic)


WEIGHTS = {"w": torch.ones(3, 2), "n": torch.tensor(4)}


def _journal(folder: Path) -> None:
    Journal(folder / "rounds").commit(
        1, GenericModel(WEIGHTS, torch.ones(2, 4), {"identities/a": torch.ones(1, 4)}), {"a": 1}
    )


def _read_journal(folder: Path) -> None:
    journal = Journal(folder / "rounds")
    journal.latest()
    journal.records()


def _metrics(folder: Path) -> None:
    update = {"event": "update", "round": 1, "client": "a", "seconds": 1.0, "bytes/up": 3, "bytes/down": 4}
    lines = [{**update, "peak_rss_bytes": 5.0}, {"event": "round", "round": 1, "seconds": 2.0}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _read_metrics(folder: Path) -> None:
    round_costs(folder / "metrics.jsonl", "fedfr", 0)
    Events.of_rounds(folder / "metrics.jsonl", 0)


def _private(folder: Path) -> None:
    PrivateStore(folder, "a").save(PrivateState(1, WEIGHTS, torch.ones(2, 4), {"branches.weight": torch.ones(2, 4)}))


def _read_private(folder: Path) -> None:
    state = PrivateStore(folder, "a").latest()
    assert state is None or state.round == 1


def _model(folder: Path) -> None:
    contract = Contract("slimface", 4, Preprocessing(), "sha256:0", "generic")
    save_model(folder / "model.safetensors", WEIGHTS, contract)


def _weights(folder: Path) -> None:
    torch.save({"state_dict": WEIGHTS, "epoch": 3}, folder / "new.pth")
    torch.save(WEIGHTS, folder / "old.pth", _use_new_zipfile_serialization=False)
    save_file(WEIGHTS, folder / "a.safetensors")


def _read_weights(folder: Path) -> None:
    for name in ("new.pth", "old.pth", "a.safetensors"):
        for read in (load_backbone, load_foreign_dfc, load_foreign_prototypes):
            text = refusal(lambda read=read, name=name: read(folder / name))  # type: ignore[misc]
            assert text is not None
    (folder / "backbone.pth").write_bytes((folder / "new.pth").read_bytes())
    assert refusal(lambda: read_released(folder)) is not None or True


def _onnx(folder: Path) -> None:
    from tests.models.test_bombs import network

    network(folder / "n.onnx")


def _blocks(folder: Path) -> None:
    list(FeatureBlocks(folder / "kept", 2, {"of": "a"}).blocks(lambda first, stop: np.ones((2, 4), np.float32)))


def _read_blocks(folder: Path) -> None:
    blocks = FeatureBlocks(folder / "kept", 2, {"of": "a"})
    assert [part.shape for part in blocks.blocks(lambda first, stop: np.ones((2, 4), np.float32))] == [(2, 4)]


def _features(folder: Path) -> None:
    FeatureStore(folder).fetch("model", ["chunk"], lambda number: torch.ones(2, 4))


def _read_features(folder: Path) -> None:
    (found,) = FeatureStore(folder).fetch("model", ["chunk"], lambda number: torch.ones(2, 4))
    found.sum()


def _deployed(folder: Path) -> None:
    experiment = _experiment(folder)
    export_partitions(experiment.components, folder / "federation", "remote")
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


def _finished(folder: Path) -> None:
    Experiment.create(
        tiny_config(folder, "pretrain.epochs=0", "method.name=fedavg", "federation.rounds=1"), folder / "run"
    ).run()


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


def _pretrained(folder: Path) -> None:
    tensors = {"network/w": torch.ones(2, 3), "network/b": torch.ones(2), "momentum/0": torch.ones(2, 3)}
    save_file(
        {name.replace("/w", "/weight").replace("/b", "/bias"): t for name, t in tensors.items()},
        folder / "p",
        {"epochs": "2"},
    )


def _read_pretrained(folder: Path) -> None:
    _resume(folder / "p", torch.nn.Linear(3, 2))  # type: ignore[arg-type]


def _coordinator(folder: Path) -> None:
    Coordinator.init(folder / "server", ["localhost"], "north", 9443, 9444)
    run = folder / "server" / "runs" / "first"
    run.mkdir()
    (run / SUBMITTED).write_text(json.dumps({"place": 1}))


def _read_coordinator(folder: Path) -> None:
    Coordinator.open(folder / "server").submitted()
    load_certificate(folder / "server" / "tls" / "server.crt")


def _identity_key(folder: Path) -> None:
    IdentityKey(folder).hash_names(["a"])


TARGETS = {
    "outcomes by person": Target(
        ("results.person_records",), _people, lambda folder: list(read_person_records(folder / "people.npz"))
    ),
    "pre-training": Target(("training.pretraining",), _pretrained, _read_pretrained),
    "coordinator": Target(("deployment.coordinator",), _coordinator, _read_coordinator),
    "identity key": Target(
        ("federation.identity_key",), _identity_key, lambda folder: IdentityKey(folder).hash_names(["a"])
    ),
    "config": Target(
        ("config.loading", "config.schema", "core.settings"),
        _config,
        lambda folder: load_config(folder / "config.yaml"),
    ),
    "split": Target(("faces.splits.split", "faces.index_ranges"), _split, _read_split, "split.json"),
    "journal": Target(("federation.journal", "core.files"), _journal, _read_journal),
    "metrics": Target(("results.costs", "experiments.events"), _metrics, _read_metrics),
    "private state": Target(("federation.private_store", "federation.packing"), _private, _read_private),
    "model": Target(("models.checkpoint",), _model, lambda folder: load_model(folder / "model.safetensors")),
    "weights": Target(
        ("models.foreign", "models.foreign_files", "models.foreign_heads", "models.released"), _weights, _read_weights
    ),
    "onnx": Target(("models.onnx_graph", "models.onnx_model"), _onnx, lambda folder: OnnxBackbone(folder / "n.onnx")),
    "kept features": Target(("training.feature_blocks",), _blocks, _read_blocks, "*.npz"),
    "public features": Target(("federation.feature_store",), _features, _read_features, "*.npy"),
    "site": Target(("deployment.agreement", "deployment.site"), _deployed, _read_deployed, "*.yaml", cost=3),
    "keys": Target(
        ("deployment.secrets", "deployment.certificates", "deployment.site_status_file"), _secrets, _read_secrets
    ),
    "bundle": Target(
        ("deployment.site_programs",), _bundle, lambda folder: check_bundle((folder / "a.fab").read_bytes())
    ),
    "run": Target(
        (
            "experiments.experiment",
            "experiments.stored_run",
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
