"""``metrics.jsonl``: one line per event of a run, each exactly once even if the run is interrupted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fedfr.core.errors import FedfrError
from fedfr.core.files import make_folder, write_atomically
from fedfr.reporting.progress import Progress
from fedfr.results.costs import EpochCost, epoch_costs, write_epoch_costs

__all__ = ["Events", "PretrainingWatch"]


class Events:
    """Append-only event lines; lines of work that is about to be repeated are removed on opening."""

    def __init__(self, path: Path, keep: Callable[[Mapping[str, Any]], bool]) -> None:
        self._path = path
        if path.exists():
            lines = path.read_bytes().splitlines(keepends=True)
            kept = [line for line in lines if _is_kept(line, keep)]
            if kept != lines:
                write_atomically(path, b"".join(kept))

    @classmethod
    def of_rounds(cls, path: Path, finished: int) -> Events:
        """Open for the rounds after ``finished``."""
        return cls(path, lambda event: int(event.get("round", 0)) <= finished)

    @classmethod
    def of_pretraining(cls, path: Path, finished: int) -> Events:
        """Open for the epochs of pre-training after ``finished``."""
        return cls(path, lambda event: event["event"] != "pretrain" or int(event["epoch"]) <= finished)

    def append(self, event: Mapping[str, Any]) -> None:
        """Append one line."""
        try:
            make_folder(self._path.parent)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"time": round(time.time(), 3), **event}) + "\n")
        except OSError as error:
            raise FedfrError(f"cannot write {self._path}: {error.strerror or error}; free space and resume") from error


class PretrainingWatch:
    """Observer of pre-training: reports steps to progress and epochs to ``metrics.jsonl``, and records the cost.

    ``batch``: number of images in a step. ``cost``: file with the cost of every epoch, see
    :func:`~fedfr.results.costs.starting_cost`.
    """

    def __init__(self, path: Path, epochs: int, seed: int, reporter: Progress, batch: int, cost: Path) -> None:
        self._path = path
        self._batch, self._cost = batch, cost
        self._begun = time.perf_counter(), time.process_time()
        self._seed = seed
        self._epochs = epochs
        self._reporter = reporter
        self._events: Events | None = None
        self._steps = 1
        self._loss = ""

    def on_step(self, epoch: int, step: int, steps: int) -> None:
        """Report a finished step of ``steps``, with the loss of the last complete epoch."""
        self._steps = steps
        # The last step is shown by on_epoch, which knows the epoch's loss.
        if step + 1 < steps:
            self._show(epoch, step + 1)

    def on_epoch(self, epoch: int, losses: Mapping[str, float], rate: float) -> None:
        """Write an event for a finished epoch, replacing those of a killed process for this epoch and later."""
        if self._events is None:
            self._events = Events.of_pretraining(self._path, epoch)
        named = {f"loss/{name}": value for name, value in losses.items()}
        event = {"event": "pretrain", "epoch": epoch + 1, **named, "learning_rate": rate}
        self._events.append(event)
        self._reporter.event({"seed": self._seed, **event})
        self._record(epoch)
        self._loss = f", loss {losses['total']:.3f}"
        self._show(epoch, self._steps)

    def _record(self, epoch: int) -> None:
        """Add the cost of a finished epoch, in place of those of a killed process for this epoch and later."""
        before = epoch_costs(self._cost)[:epoch] if self._cost.exists() else []
        now = time.perf_counter(), time.process_time()
        seconds, processor = (round(end - begin, 3) for begin, end in zip(self._begun, now, strict=True))
        self._begun = now
        write_epoch_costs(self._cost, [*before, EpochCost(seconds, processor, self._steps, self._steps * self._batch)])

    def _show(self, epoch: int, steps: int) -> None:
        done, total = epoch * self._steps + steps, self._epochs * self._steps
        self._reporter.update("pre-training", done, total, f"epoch {epoch + 1}{self._loss}", "steps")


def _is_kept(line: bytes, keep: Callable[[Mapping[str, Any]], bool]) -> bool:
    """Return whether a line is complete and to be kept."""
    try:
        return line.endswith(b"\n") and keep(json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
