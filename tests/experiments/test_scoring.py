"""Scoring variants and outcomes by person of a run: equal to the protocols called by hand, and to its rows."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from tests.support.tiny_experiment import tiny_config

from fedfr.core.errors import FedfrError
from fedfr.evaluation import PROTOCOLS
from fedfr.experiments.experiment import Experiment
from fedfr.models import open_model
from fedfr.results.person_records import read_person_records
from fedfr.training.features import Compute, extract_features
from fedfr.training.training_set import TrainingSet

SCORINGS = ("plain", "flip", "as-norm", "flip+as-norm")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    more = [f"evaluation.scoring=[{','.join(SCORINGS)}]", "evaluation.people=true", "method.name=pretrained"]
    folder = tmp_path_factory.mktemp("scoring")
    experiment = Experiment.create(tiny_config(folder, *more, alike=0.7), folder / "run")
    experiment.run(progress=False)
    return experiment


def test_every_protocol_is_run_with_every_scoring(run: Experiment) -> None:
    protocols = {row.protocol for row in run.results()}
    names = ("generic-1:1", "generic-1:N", "personalized-1:1", "personalized-1:N")
    assert protocols == {name if each == "plain" else f"{name} {each}" for name in names for each in SCORINGS}
    released = {row.protocol for row in run.results() if "released" in row.metric}
    assert released == {"personalized-1:N", "personalized-1:N flip"}


def test_scores_equal_those_computed_by_hand(run: Experiment) -> None:
    split, faces, config = run.components.split, run.components.faces, run.config.evaluation
    model, every = open_model(run.folder / "generic.safetensors"), np.arange(len(faces))
    compute = Compute(model.preprocessing, run.components.compute.device)
    images = TrainingSet([(faces, every, 0)])
    upright, mirrored = (
        extract_features(model.network, images, compute, mirrored=each).numpy() for each in (False, True)
    )
    people = faces.labels[np.asarray(split.public)]
    cohort = np.asarray(
        [min(image for image, who in zip(split.public, people, strict=True) if who == each) for each in set(people)]
    )
    generic = np.asarray(split.generic)
    for scoring in SCORINGS:
        features = upright + mirrored if "flip" in scoring else upright
        given = {"cohort": features[cohort]} if "as-norm" in scoring else {}
        name = "generic-1:1" if scoring == "plain" else f"generic-1:1 {scoring}"
        metrics = PROTOCOLS["generic-1:1"](features[generic], faces.labels[generic], config, **given)
        found = [row.value for row in run.results() if row.protocol == name]
        assert found == [metric.value for metric in metrics], scoring


def test_outcomes_by_person_add_up_to_the_rows(run: Experiment) -> None:
    rows = {(row.client, row.protocol, row.metric): row for row in run.results() if "@" in row.metric}
    records = list(run.person_records())
    measured = {key for key, row in rows.items() if row.value is not None and "released" not in row.metric}
    assert {(each.client, each.protocol, each.metric) for each in records} == measured
    for each in records:
        row = rows[each.client, each.protocol, each.metric]
        assert each.outcomes.value == row.value
        assert each.outcomes.genuine.sum() == row.genuine
        assert {run.components.faces.identities[label] for label in each.outcomes.people}
        assert (each.method, each.model) == (row.method, row.model)


def test_a_damaged_file_of_outcomes_is_named(run: Experiment, tmp_path: Path) -> None:
    content = (run.folder / "evaluation" / "people" / "pretrained.npz").read_bytes()
    # In the central directory of the first member: encrypted, and compressed by bzip2, LZMA, or nothing that is known.
    entry = content.index(b"PK\x01\x02")
    flags = [content[: entry + 8] + b"\x01" + content[entry + 9 :]]
    methods = [content[: entry + 10] + bytes([number]) + content[entry + 11 :] for number in (12, 14, 99)]
    for damaged in (b"", content[: len(content) // 2], b"PK" + content[4:], *flags, *methods):
        (tmp_path / "people.npz").write_bytes(damaged)
        with pytest.raises(FedfrError, match=r"people\.npz holds no outcomes by person"):
            list(read_person_records(tmp_path / "people.npz"))


def test_normalization_needs_public_people(tmp_path: Path) -> None:
    config = tiny_config(
        tmp_path, "evaluation.scoring=[as-norm]", "split.settings.public_identities=1", "pretrain.epochs=0"
    )
    with pytest.raises(FedfrError, match=r"evaluation\.scoring: as-norm needs public faces of at least two people"):
        Experiment.create(config, tmp_path / "run")


def test_outcomes_by_person_of_the_splits_pairs(run: Experiment, tmp_path: Path) -> None:
    """People of the pairs, not their people's generic images alone, have outcomes; they add up to the rows."""
    split = run.components.split
    pairs = tuple(combinations(split.generic, 2))
    replace(split, pairs=pairs).save(tmp_path / "split.json")
    more = [f"split.manifest={tmp_path / 'split.json'}", "evaluation.scoring=[plain,flip]", "evaluation.people=true"]
    config = tiny_config(run.folder.parent, *more, "method.name=pretrained", alike=0.7)
    Experiment.create(config, tmp_path / "run").run(progress=False)
    found = Experiment.open(tmp_path / "run")
    rows = {(row.protocol, row.metric): row for row in found.results()}
    records = {each.protocol: each for each in found.person_records() if each.protocol.startswith("generic-pairs")}
    assert set(records) == {"generic-pairs", "generic-pairs flip"}
    for protocol, each in records.items():
        row = rows[protocol, "TAR@FAR=1e-1"]
        assert (each.outcomes.value, each.outcomes.impostors) == (row.value, row.impostor)
        assert set(each.outcomes.people) == set(run.components.faces.labels[list(split.generic)])
