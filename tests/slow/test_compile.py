"""Compiled training: bits do not depend on which process has served whom, however many sizes of batches there are."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.tiny import bits, tiny_config, tiny_faces

from fedfr.experiment import Experiment
from fedfr.faces import ClientFaces, Split

# PyTorch's compiler imports what PyTorch itself calls deprecated.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SIZES = (2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14)


def manifest(folder: Path) -> Path:
    """Twelve clients, each with another number of images; the last ones have more than a batch, the others fewer."""
    faces = tiny_faces(identities=28, images=16, seed=5)
    first = {client: 16 * (4 + number) for number, client in enumerate(f"client-{size:02d}" for size in SIZES)}
    clients = {
        client: ClientFaces(tuple(range(start, start + size)), tuple(range(start + 14, start + 16)))
        for (client, start), size in zip(first.items(), SIZES, strict=True)
    }
    unseen = tuple(range(16 * 16, 16 * 28))
    faces.save(folder / "faceset")
    Split("sizes", 0, faces.fingerprint(), tuple(range(64)), clients, unseen, unseen).save(folder / "split.json")
    return folder / "split.json"


def test_the_number_of_workers_moves_no_bit_of_compiled_training(tmp_path: Path) -> None:
    split, found = manifest(tmp_path), []
    for workers in (1, 3):
        settings = [f"split={{manifest: {split}}}", "runtime.compile=true", f"runtime.workers={workers}"]
        config = tiny_config(tmp_path, *settings, "method.name=fedavg", "pretrain.epochs=0", "local.batch_size=9")
        Experiment.create(config, tmp_path / f"run-{workers}").run()
        found.append(bits(tmp_path / f"run-{workers}"))
    one, three = found
    assert one.keys() == three.keys()
    assert [name for name, value in one.items() if three[name] != value] == []
