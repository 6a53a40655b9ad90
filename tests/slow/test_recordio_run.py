"""A complete run on a linked RecordIO file: equal bits to a run on the imported faces."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.tiny_experiment import SETTINGS, bits, tiny_faces

from fedfr.config.schema import load_config
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.model_evaluation import evaluate_model
from fedfr.faces import FaceSet, export_recordio, import_recordio, make_split

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of the tiny faces in one file, as a public part would lie there."""
    folder = tmp_path_factory.mktemp("records")
    faces = tiny_faces()
    split = make_split(faces, "general", public_identities=13, clients=1, identities_per_client=1, min_images=4)
    export_recordio(faces, split, folder / "out")
    return folder / "out" / "split_pretrain_13" / "client_0000"


def test_a_run_on_a_linked_file_equals_one_on_converted_faces(records: Path, tmp_path: Path) -> None:
    settings = [*SETTINGS, "model.backbone=slimface", "federation.rounds=1"]
    import_recordio(records, tmp_path / "set", link=False)
    Experiment.create(load_config(None, [*settings, f"faces.path={tmp_path / 'set'}"]), tmp_path / "converted").run()
    there = ["faces.source=recordio", f"faces.path={records / 'train.rec'}", "runtime.workers=2"]
    run = Experiment.create(load_config(None, [*settings, *there]), tmp_path / "as it lies")
    run.run()
    assert bits(run.folder) == bits(tmp_path / "converted")
    assert not (run.folder / "faces" / "pixels.npy").exists()
    assert FaceSet.load(run.folder / "faces").fingerprint() == FaceSet.load(tmp_path / "set").fingerprint()
    rows = evaluate_model(run.folder / "generic.safetensors", records, ["generic-1:1"])
    assert rows == evaluate_model(run.folder / "generic.safetensors", tmp_path / "set", ["generic-1:1"])
