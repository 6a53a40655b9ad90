"""Feature chunks on disk: computed once by concurrent processes, and again if a process is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
import torch

from fedfr.core.errors import FedfrError, WriteError
from fedfr.federation.feature_store import FeatureStore

CHUNKS = [f"chunk-{number}" for number in range(6)]
# The server of new processes imports PyTorch once for all of them.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["torch", "fedfr.federation.feature_store"])


def value(number: int) -> torch.Tensor:
    return torch.arange(12.0).reshape(4, 3) + 100 * number


def fetch(folder: Path, log: Path, pause: float, fatal: int | None = None) -> None:
    """Start a process that requests every chunk and records those it computed; it is killed within ``fatal``."""

    def compute(number: int) -> torch.Tensor:
        with log.open("a", encoding="ascii") as file:
            file.write(f"{number} {os.getpid()}\n")
        time.sleep(pause)
        if number == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return value(number)

    found = FeatureStore(folder).fetch("model", CHUNKS, compute)
    assert all(torch.equal(part, value(number)) for number, part in enumerate(found))


def computed(log: Path) -> list[int]:
    return sorted(int(line.split()[0]) for line in log.read_text(encoding="ascii").splitlines())


def test_computed_once_and_read_again(tmp_path: Path) -> None:
    for _ in range(2):
        fetch(tmp_path / "store", tmp_path / "log", 0.0)
    assert computed(tmp_path / "log") == [0, 1, 2, 3, 4, 5]


def test_the_cost_of_features_is_known_to_those_who_only_read_them(tmp_path: Path) -> None:
    def work(number: int) -> torch.Tensor:
        started = time.process_time()
        while time.process_time() - started < 0.02:
            pass
        return value(number)

    FeatureStore(tmp_path).fetch("model", CHUNKS[:3], work)
    reader = FeatureStore(tmp_path)
    reader.fetch("model", CHUNKS[:3], value)
    seconds = reader.seconds("model", CHUNKS[:3])
    assert seconds is not None
    assert 0.06 <= seconds < 10
    assert seconds > (reader.seconds("model", CHUNKS[:2]) or 0) > 0
    (tmp_path / "model" / f"{CHUNKS[1]}.seconds").unlink()
    assert reader.seconds("model", CHUNKS[:3]) is None, "of an earlier version"


def test_no_chunks(tmp_path: Path) -> None:
    assert list(FeatureStore(tmp_path).fetch("model", [], value)) == []


def test_processes_share_the_work(tmp_path: Path) -> None:
    workers = [PROCESSES.Process(target=fetch, args=(tmp_path / "store", tmp_path / "log", 1.0)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert computed(tmp_path / "log") == [0, 1, 2, 3, 4, 5], "no chunk twice"
    processes = {line.split()[1] for line in (tmp_path / "log").read_text(encoding="ascii").splitlines()}
    assert len(processes) > 1


def test_a_killed_process_is_replaced(tmp_path: Path) -> None:
    """One process is killed within a chunk for which the other waits."""
    killed = PROCESSES.Process(target=fetch, args=(tmp_path / "store", tmp_path / "log", 0.5, 0))
    killed.start()
    deadline = time.monotonic() + 60
    while not (tmp_path / "log").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    fetch(tmp_path / "store", tmp_path / "log", 0.0)
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    assert computed(tmp_path / "log") == [0, 0, 1, 2, 3, 4, 5]


def test_only_the_newest_model_is_kept_and_mapped_chunks_stay_readable(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    old = store.fetch("old", CHUNKS[:2], value)
    store.fetch("new", CHUNKS[:1], value)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert torch.equal(old[1], value(1))


def _of(model: int, number: int) -> torch.Tensor:
    return value(number + model)


def run(folder: Path, models: Sequence[int], ready: Barrier) -> None:
    """Simulate a run: all chunks of one model after the other, with exact results."""
    store = FeatureStore(folder)
    ready.wait(60)
    for model in models:
        found = store.fetch(f"model-{model}", CHUNKS[:2], partial(_of, model))
        assert all(torch.equal(part, value(number + model)) for number, part in enumerate(found))


def test_concurrent_runs_share_a_store(tmp_path: Path) -> None:
    """Two workers of one run with the same models, and another run with different models."""
    ready = PROCESSES.Barrier(3)
    rounds = [range(400), range(400), range(1000, 1400)]
    processes = [PROCESSES.Process(target=run, args=(tmp_path / "store", models, ready)) for models in rounds]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    last = FeatureStore(tmp_path / "store").fetch("last", CHUNKS[:1], value)
    assert torch.equal(last[0], value(0))
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["last"], "nothing is in use any more"


def test_a_folder_in_use_is_not_removed(tmp_path: Path) -> None:
    held, other = FeatureStore(tmp_path), FeatureStore(tmp_path)
    held.fetch("one", CHUNKS[:2], value)
    other.fetch("two", CHUNKS[:2], value)
    assert {path.name for path in tmp_path.iterdir()} == {"one", "two"}
    held.fetch("two", CHUNKS[:2], lambda number: pytest.fail("they are there"))
    assert {path.name for path in tmp_path.iterdir()} == {"two"}
    del held
    other.fetch("three", CHUNKS[:1], value)
    assert {path.name for path in tmp_path.iterdir()} == {"three"}


def test_an_unwritable_store_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"a file in the way")
    with pytest.raises(WriteError, match="cannot keep features in"):
        FeatureStore(tmp_path / "store").fetch("model", CHUNKS, value)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"not an array"])
def test_a_damaged_chunk_is_recomputed(tmp_path: Path, content: bytes) -> None:
    store = FeatureStore(tmp_path)
    store.fetch("model", CHUNKS[:1], value)
    path = tmp_path / "model" / "chunk-0.npy"
    whole = path.read_bytes()
    for damaged in (content, whole[:-5]):
        path.write_bytes(damaged)
        (found,) = store.fetch("model", CHUNKS[:1], value)
        assert torch.equal(found, value(0))
        assert path.read_bytes() == whole


def test_a_failure_releases_the_chunk(tmp_path: Path) -> None:
    store, before = FeatureStore(tmp_path), threading.active_count()

    def fail(number: int) -> torch.Tensor:
        raise FedfrError(f"chunk {number} failed")

    with pytest.raises(FedfrError, match="chunk 0 failed"):
        store.fetch("model", CHUNKS, fail)
    assert len(store.fetch("model", CHUNKS, value)) == len(CHUNKS)
    assert threading.active_count() == before
