"""Faces of a run: imports that were interrupted, links, and relative paths."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.support.tiny_experiment import SETTINGS, tiny_config, tiny_faces

from fedfr.config.schema import FacesConfig, load_config
from fedfr.experiments.components import open_faces
from fedfr.experiments.experiment import Experiment
from fedfr.faces import Split, export_recordio


def test_an_incomplete_import_is_repeated(tmp_path: Path) -> None:
    for person in ("anna", "bo"):
        for number in range(2):
            (tmp_path / "people" / person).mkdir(parents=True, exist_ok=True)
            image = np.full((112, 112, 3), 40 * number, np.uint8)
            assert cv2.imwrite(str(tmp_path / "people" / person / f"{number}.png"), image)
    config = load_config(None, [f"faces.path={tmp_path / 'people'}"])
    first = open_faces(config, tmp_path / "cache").fingerprint()
    (tmp_path / "cache" / "faces.json").unlink()
    assert open_faces(config, tmp_path / "cache").fingerprint() == first


def test_a_recordio_file_is_linked_and_not_copied(tmp_path: Path) -> None:
    everybody = Split("all", 0, "", tuple(range(70)), {}, (), ())
    faces = tiny_faces()
    export_recordio(faces, replace(everybody, faces_fingerprint=faces.fingerprint()), tmp_path / "out")
    source = tmp_path / "out" / "split_pretrain_14" / "client_0000" / "train.rec"
    (tmp_path / "my run.yaml").write_text(
        f"faces: {{source: recordio, path: {source.relative_to(tmp_path)}}}\n", encoding="utf-8"
    )
    config = load_config(tmp_path / "my run.yaml", SETTINGS)
    run = Experiment.create(config, tmp_path / "run")
    assert run.components.faces.digests() == faces.digests()
    assert len(run.components.split.clients) == 2
    assert not (run.folder / "faces" / "pixels.npy").exists()
    again = Experiment.open(run.folder)
    assert again.components.split == run.components.split
    (run.folder / "faces" / "faces.json").unlink()
    assert open_faces(config, run.folder / "faces").fingerprint() == run.components.faces.fingerprint()


def test_relative_paths_in_a_configuration_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    relative = config.model_copy(update={"faces": FacesConfig(path="faceset")})
    Experiment.create(relative, "run")
    assert Experiment.open("run").config == config
