"""Compiled training: equal bits for any order of clients in a process and any number of batch sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.tiny_experiment import bits, tiny_config, tiny_faces

from fedfr.experiments.experiment import Experiment
from fedfr.faces import ClientFaces, Split

# PyTorch's compiler imports what PyTorch itself calls deprecated.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

# One more than the sizes for which PyTorch makes programs before it makes none any more, and one with a rest.
SIZES, BATCH = range(2, 12), 10


def manifest(folder: Path) -> Path:
    """Clients of one person each, with another number of images: the last two fill a batch, the others do not."""
    faces = tiny_faces(identities=len(SIZES) + 4, images=13, seed=5)
    first = {size: 13 * (2 + number) for number, size in enumerate(SIZES)}
    clients = {
        f"client-{size:02d}": ClientFaces(tuple(range(start, start + size)), (start + 11, start + 12))
        for size, start in first.items()
    }
    unseen = tuple(range(len(faces) - 26, len(faces)))
    faces.save(folder / "faceset")
    Split("sizes", 0, faces.fingerprint(), tuple(range(26)), clients, unseen, unseen).save(folder / "split.json")
    return folder / "split.json"


def test_the_number_of_workers_changes_no_bit_of_compiled_training(tmp_path: Path) -> None:
    split, found = manifest(tmp_path), []
    for workers in (1, 2):
        settings = [f"split={{manifest: {split}}}", "runtime.compile=true", f"runtime.workers={workers}"]
        settings += ["method.name=fedavg", "pretrain.epochs=0", f"local.batch_size={BATCH}", "federation.rounds=1"]
        Experiment.create(tiny_config(tmp_path, *settings), tmp_path / f"run-{workers}").run()
        found.append(bits(tmp_path / f"run-{workers}"))
    one, two = found
    assert one.keys() == two.keys()
    assert [name for name, value in one.items() if two[name] != value] == []
