"""All methods on an extremely uneven federation: a single identity, a single image each, one image in total."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tests.support.tiny_experiment import tiny_config, tiny_faces

from fedfr.experiments.experiment import Experiment
from fedfr.faces import ClientFaces, Split
from fedfr.methods import METHODS
from fedfr.reporting.progress import Silent


def uneven(folder: Path) -> Path:
    """Three clients: one with a single identity, one with one image per identity, one with a single image."""
    faces = tiny_faces(seed=3)
    of = [tuple(range(5 * identity, 5 * identity + 5)) for identity in range(faces.num_identities)]
    clients = {
        "one-identity": ClientFaces(of[4][:3], of[4][3:]),
        "one-image-each": ClientFaces(
            tuple(of[k][0] for k in range(5, 8)), tuple(i for k in range(5, 8) for i in of[k][1:])
        ),
        "one-image": ClientFaces(of[8][:1], of[8][1:]),
    }
    public, unseen = (tuple(index for identity in part for index in identity) for part in (of[:4], of[9:]))
    faces.save(folder / "faceset")
    Split("uneven", 0, faces.fingerprint(), public, clients, unseen, unseen).save(folder / "split.json")
    return folder / "split.json"


class Notes(Silent):
    """Progress that records its notes."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        """Record the note."""
        self.said.append(text)


@pytest.mark.parametrize("name", [name for name in METHODS.names if METHODS[name]({}).rounds(1)])
@pytest.mark.slow
def test_every_method_gives_finite_metrics(tmp_path: Path, name: str) -> None:
    manifest = uneven(tmp_path)
    config = tiny_config(tmp_path, f"split.manifest={manifest}", f"method.name={name}", "local.epochs=2")
    experiment = Experiment.create(config, tmp_path / "run")
    notes = Notes()
    rows = [row for row in experiment.run(notes) if row.method == name]
    privacy = [text for text in notes.said if text.startswith("privacy: ")]
    assert privacy == ([f"privacy: {METHODS[name].privacy}"] if METHODS[name].privacy else [])
    method_run = experiment.method_runs()[0]
    reports = [client for record in method_run.journal.records()[1:] for client in record["clients"]]
    assert not [reason for record in method_run.journal.records()[1:] for reason in record["refused"]]
    assert {report["client"] for report in reports} == set(method_run.method.participants(experiment.components.split))
    assert all(math.isfinite(report["loss/total"]) for report in reports)
    shown = [row for row in rows if row.value is not None]
    assert shown
    assert all(0 <= row.value <= 1 for row in shown if row.value is not None)
    if method_run.method.personal_model is not None:
        assert {row.client for row in rows if row.model == method_run.method.personal_model} == set(
            experiment.components.split.clients
        )
