"""A target for each reader: whole files, and what reads them. Nobody's faces are in them."""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from safetensors.torch import save_file
from tests.fuzz.bounds import refusal
from tests.fuzz.mutator import Mutator
from tests.ijb_set import make_ijb
from tests.tiny import tiny_config

from fedfr.benchmark import read_results
from fedfr.config import load_config
from fedfr.costs import round_costs
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.certificates import issue_operator, load_certificate, make_authority
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.guard import check_bundle
from fedfr.deployment.handout import hand_out
from fedfr.deployment.run_state import SUBMITTED
from fedfr.deployment.secrets import load_key, make_node_key, save_key
from fedfr.deployment.site import Site
from fedfr.deployment.site_board import read_board
from fedfr.events import Events
from fedfr.experiment import Experiment
from fedfr.faces import FaceSet, Split
from fedfr.faces.exclusions import read_exclusions
from fedfr.faces.exporters import export_faces
from fedfr.faces.ijb.folder import find_ijb
from fedfr.faces.importers import import_folder
from fedfr.faces.importers.choice import import_faces
from fedfr.faces.importers.images import read_image
from fedfr.faces.pairs import read_pairs
from fedfr.faces.partitions import read_partitions
from fedfr.faces.photographs.journal import Journal as PhotographJournal
from fedfr.faces.photographs.landmarks import read_landmarks
from fedfr.faces.photographs.outcome import Outcome
from fedfr.faces.photographs.reading import read_photograph
from fedfr.faces.photographs.reasons import Unfit
from fedfr.faces.recordio.writer import write_faces_file
from fedfr.faces.verification_sets import read_verification_set
from fedfr.federation.feature_store import FeatureStore
from fedfr.federation.identity_key import IdentityKey
from fedfr.federation.journal import Journal
from fedfr.federation.method import Generic
from fedfr.federation.private_store import PrivateState, PrivateStore
from fedfr.models.checkpoint import Contract, load_model, save_model
from fedfr.models.foreign import load_backbone
from fedfr.models.foreign_heads import load_foreign_dfc, load_foreign_prototypes
from fedfr.models.onnx_model import OnnxBackbone
from fedfr.models.preprocessing import Preprocessing
from fedfr.models.released import read_released
from fedfr.report import open_report, save_page
from fedfr.training.feature_blocks import FeatureBlocks
from fedfr.training.pretraining import _resume

__all__ = ["TARGETS", "Target", "damage"]


@dataclass(frozen=True)
class Target:
    """``covers``: modules of ``fedfr`` in which this reads. ``make`` writes whole files into a folder, ``read`` reads
    them. ``only``: which of the files are damaged. ``cost``: inputs that cost as much as one of the others.
    ``mebibytes``: so much memory on top of what the process has.
    """

    covers: tuple[str, ...]
    make: Callable[[Path], None]
    read: Callable[[Path], object]
    only: str = "*"
    cost: int = 1
    mebibytes: int = 512


def damage(target: Target, place: Path, seed: int, count: int) -> int:
    """Read ``count`` times with one file damaged; how often it was refused. Nothing but a refusal may come of it.

    ``place`` is an empty folder; what is written beside the files in it is a failure, too.
    """
    whole, work = place / "whole", place / "work"
    whole.mkdir()
    target.make(whole)
    files = sorted(path for path in whole.rglob(target.only) if path.is_file() and not path.is_symlink())
    assert files
    contents = [path.read_bytes() for path in files]
    assert refusal(lambda: target.read(whole)) is None
    mutator, refused = Mutator(seed), 0
    outside = sorted(place.parent.iterdir())
    for _ in range(max(4, count // target.cost)):
        shutil.copytree(whole, work, symlinks=True)
        which = mutator.random.randrange(len(files))
        content = mutator.either(contents[which], contents)
        (work / files[which].relative_to(whole)).write_bytes(content)
        try:
            refused += refusal(lambda: target.read(work)) is not None
        except BaseException:
            kept = place.parent / "failed"
            kept.write_bytes(content)
            sys.stderr.write(f"{files[which].relative_to(whole)} damaged: {content[:300]!r} (whole in {kept})\n")
            raise
        shutil.rmtree(work)
        assert sorted(place.parent.iterdir()) == outside
        assert sorted(place.iterdir()) == [whole]
    return refused


NOISE = cv2.resize(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8), (112, 112))
KINDS = (".jpg", ".png", ".pgm", ".bmp", ".gif", ".webp", ".tiff", ".ppm")


def faces(people: int = 3, images: int = 2) -> FaceSet:
    """Flat faces of people who are not."""
    values = np.arange(people * images, dtype=np.uint8)
    pixels = np.broadcast_to(values[:, None, None, None], (people * images, 112, 112, 3)).copy()
    labels = np.repeat(np.arange(people), images)
    names = tuple(f"p{label}/{row}.png" for row, label in enumerate(labels.tolist()))
    return FaceSet(pixels, labels, tuple(f"p{label}" for label in range(people)), names)


def _encoded(suffix: str) -> bytes:
    image = NOISE[:, :, 0] if suffix == ".pgm" else NOISE
    return cv2.imencode(suffix, image)[1].tobytes()


def _pictures(folder: Path) -> None:
    for suffix in KINDS:
        (folder / f"a{suffix}").write_bytes(_encoded(suffix))
    wide = cv2.imencode(".jpg", NOISE, (cv2.IMWRITE_JPEG_PROGRESSIVE, 1))[1].tobytes()
    (folder / "unended.jpg").write_bytes(wide[:-2])
    (folder / "wide.pgm").write_bytes(b"P5\r\n# twelve bits\r\n4 4\r\n4095\r\n" + bytes(32))


def _read_pictures(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        read_image(path)


def _read_photographs(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        with contextlib.suppress(Unfit):
            read_photograph(path)


def _people(folder: Path) -> None:
    for name in ("anna", "bo"):
        (folder / name).mkdir()
        (folder / name / "1.png").write_bytes(_encoded(".png"))


def _records(folder: Path) -> None:
    write_faces_file(folder / "train.rec", [(0, _encoded(".png")), (1, _encoded(".jpg")), (1, _encoded(".png"))], 2)
    (folder / "property").write_text("2,112,112")


def _read_records(folder: Path) -> None:
    found = import_faces(folder)
    found.images(range(len(found)))
    import_faces(folder, folder / "linked", link=True)
    kept = FaceSet.load(folder / "linked")
    kept.images(range(len(kept)))


def _read_records_that_are_good(folder: Path) -> None:
    found = import_faces(folder, skip_bad=True)
    found.images(range(len(found)))


def _linked(folder: Path) -> None:
    _records(folder)
    import_faces(folder, folder / "linked", link=True)


def _read_linked(folder: Path) -> None:
    kept = FaceSet.load(folder / "linked")
    kept.images(range(len(kept)))
    kept.digests()


def _read_set(folder: Path) -> None:
    found = FaceSet.load(folder / "set")
    found.images(range(len(found)))
    found.digests()
    found.fingerprint()


def _bin(folder: Path) -> None:
    pictures = [_encoded(".png"), _encoded(".jpg")] * 2
    (folder / "x.bin").write_bytes(pickle.dumps((pictures, [True, False]), protocol=2))


def _read_bin(folder: Path) -> None:
    found = read_verification_set(folder / "x.bin").faces()
    found.images(range(len(found)))


PAIRS = {
    "lfw.txt": "1\t1\np0\t1\t2\np0\t1\tp1\t1\n",
    "paths.txt": "p0/0.png p0/1.png 1\np0/0.png p1/2.png 0\n\n",
    "pairs.csv": "file1,file2,same\np0/0.png,p0/1.png,yes\np0/0.png,p1/2.png,no\n",
}


def _pairs(folder: Path) -> None:
    for name, text in PAIRS.items():
        (folder / name).write_text(text)


def _read_pair_lists(folder: Path) -> None:
    known = faces()
    names = tuple(f"p{row // 2}/p{row // 2}_000{row % 2 + 1}.png" for row in range(6))
    read_pairs(folder / "lfw.txt", FaceSet(known.images(range(6)), known.labels, known.identities, names))
    for name in ("paths.txt", "pairs.csv"):
        read_pairs(folder / name, known)


def _landmarks(folder: Path) -> None:
    line = "anna/1.png\t38\t51\t73\t51\t56\t71\t41\t92\t70\t92\t0.9\n"
    (folder / "points.tsv").write_text(line + line.replace("anna", "bo"))


def _ijb(folder: Path) -> None:
    make_ijb(folder, subjects=3, probes=1)


def _read_ijb(folder: Path) -> None:
    found = find_ijb(folder)
    if found is not None:
        found.pairs, found.searches  # noqa: B018 - they are read when asked for
        found.images.pixels(0, 2) if hasattr(found.images, "pixels") else len(found.images)


def _exported(form: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        export_faces(faces(), folder / "out", form)

    return make


def _read_exported(folder: Path) -> None:
    import_faces(folder / "out")


def _listed(folder: Path) -> None:
    _people(folder)
    rows = [("anna/1.png", "anna", 3), ("bo/1.png", "bo", 4)]
    lines = [json.dumps({"file_name": file, "identity": who, "age": age}) for file, who, age in rows]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")


def _partitions(folder: Path) -> None:
    (folder / "a.csv").write_text("index,partition\n0,north\n1,south\n2,\n")
    (folder / "a.json").write_text(json.dumps({"p0/0.png": 0, "p1/2.png": "west"}))
    table = pa.table({"index": [0, 1], "partition": ["a", "b"]})
    pq.write_table(table, folder / "a.parquet")


def _read_partitions(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        read_partitions(path, faces())


def _config(folder: Path) -> None:
    given = {"federation": {"rounds": 3}, "method": {"name": "fedfr"}, "local": {"epochs": 2}, "seed": 1}
    (folder / "config.yaml").write_text(yaml.safe_dump({"preset": "quickstart", **given}))


def _split(folder: Path) -> None:
    _experiment(folder).parts.split.save(folder / "split.json")
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
        1, Generic(WEIGHTS, torch.ones(2, 4), {"identities/a": torch.ones(1, 4)}), {"a": 1}
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
    hand_out(experiment.parts, folder / "federation", "remote")
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
    read_board(folder)


def _bundle(folder: Path) -> None:
    import io
    import zipfile

    from fedfr.deployment.guard import EXPECTED

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


def _saved(folder: Path) -> None:
    pictures = [{"bytes": _encoded(".png"), "path": None} for _ in range(3)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    made = datasets.Dataset.from_dict({"image": pictures, "label": [0, 1, 1]}, features=features)
    made.save_to_disk(str(folder / "saved"))


def _examined(folder: Path) -> None:
    with PhotographJournal(folder / "faces.bin") as journal:
        journal.append([1, 2], Outcome("a.jpg", pixels=NOISE.astype(np.uint8)))
        journal.append([1, 2], Outcome("b.jpg", "no-face"))


def _read_examined(folder: Path) -> None:
    with PhotographJournal(folder / "faces.bin") as journal:
        for name in ("a.jpg", "b.jpg"):
            journal.known(name, [1, 2])


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
    IdentityKey(folder).of(["a"])


def _findings(folder: Path) -> None:
    rows = "kind,image,identity,index,decision\nduplicate,p0/1.png,p0,1,exclude\nduplicate,p1/2.png,p1,2,keep\n"
    (folder / "findings.csv").write_text(rows)


TARGETS = {
    "pictures": Target(
        (
            "faces.compressed",
            "faces.importers.images",
            "faces.importers.pgm",
            "faces.picture_headers",
            "faces.unended_jpeg",
        ),
        _pictures,
        _read_pictures,
    ),
    "photographs": Target(("faces.photographs.reading",), _pictures, _read_photographs),
    "folder": Target(("faces.importers.folder", "faces.picture_files"), _people, import_folder),
    "imagefolder": Target(
        ("faces.importers.metadata", "faces.importers.imagefolder", "faces.importers.rows"), _listed, import_faces
    ),
    "recordio": Target(
        (
            "faces.recordio.format",
            "faces.recordio.header",
            "faces.recordio.index",
            "faces.recordio.layout",
            "faces.recordio.place",
            "faces.recordio.pixels",
            "faces.importers.recordio",
        ),
        _records,
        _read_records,
    ),
    "recordio without its bad records": Target((), _records, _read_records_that_are_good),
    "linked set": Target(("faces.recordio.linked",), _linked, _read_linked),
    "face set": Target(
        ("arrays", "faces.storage", "faces.faceset", "faces.columns"),
        lambda folder: faces().save(folder / "set"),
        _read_set,
    ),
    "verification set": Target(
        ("faces.verification_sets", "faces.pickles.operations", "faces.pickles.values", "faces.pickles.machine"),
        _bin,
        _read_bin,
    ),
    "pair lists": Target(("faces.pairs", "faces.pair_lists", "faces.pair_words"), _pairs, _read_pair_lists),
    "landmarks": Target(
        ("faces.photographs.landmarks",), _landmarks, lambda folder: read_landmarks(folder / "points.tsv")
    ),
    "ijb": Target(
        ("faces.ijb.lines", "faces.ijb.numbers", "faces.ijb.images", "faces.ijb.pairs", "faces.ijb.searches"),
        _ijb,
        _read_ijb,
    ),
    "parquet": Target(
        ("faces.huggingface.tables", "faces.huggingface.columns"), _exported("parquet"), _read_exported, mebibytes=4096
    ),
    "saved dataset": Target(("faces.huggingface.place",), _saved, lambda folder: import_faces(folder / "saved")),
    "kept photographs": Target(("faces.photographs.journal",), _examined, _read_examined, "faces.bin"),
    "pre-training": Target(("training.pretraining",), _pretrained, _read_pretrained),
    "coordinator": Target(("deployment.coordinator",), _coordinator, _read_coordinator),
    "findings": Target(
        ("faces.exclusions",), _findings, lambda folder: read_exclusions(folder / "findings.csv", faces())
    ),
    "identity key": Target(("federation.identity_key",), _identity_key, lambda folder: IdentityKey(folder).of(["a"])),
    "exported imagefolder": Target((), _exported("imagefolder"), _read_exported),
    "partitions": Target(("faces.partitions", "faces.records"), _partitions, _read_partitions, mebibytes=4096),
    "config": Target(
        ("config_source", "config", "settings"), _config, lambda folder: load_config(folder / "config.yaml")
    ),
    "split": Target(("faces.splits", "faces.runs"), _split, _read_split, "split.json"),
    "journal": Target(("federation.journal", "files"), _journal, _read_journal),
    "metrics": Target(("costs", "events"), _metrics, _read_metrics),
    "private state": Target(("federation.private_store", "federation.packing"), _private, _read_private),
    "model": Target(("models.checkpoint",), _model, lambda folder: load_model(folder / "model.safetensors")),
    "weights": Target(
        ("models.foreign", "models.foreign_files", "models.foreign_heads", "models.released"), _weights, _read_weights
    ),
    "onnx": Target(("models.onnx_graph", "models.onnx_model"), _onnx, lambda folder: OnnxBackbone(folder / "n.onnx")),
    "kept features": Target(("training.feature_blocks",), _blocks, _read_blocks, "*.npz"),
    "public features": Target(("federation.feature_store",), _features, _read_features, "*.npy"),
    "site": Target(("deployment.agreement", "deployment.site"), _deployed, _read_deployed, "*.yaml", cost=3),
    "keys": Target(("deployment.secrets", "deployment.certificates", "deployment.site_board"), _secrets, _read_secrets),
    "bundle": Target(("deployment.guard",), _bundle, lambda folder: check_bundle((folder / "a.fab").read_bytes())),
    "run": Target(("experiment", "report", "rows", "curves"), _finished, _read_finished, "*.[jy][sa]*", cost=10),
    "results": Target(("benchmark",), _results, lambda folder: read_results(folder / "results.csv")),
}
