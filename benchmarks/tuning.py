"""Trials of settings in a folder: each a run in a process of its own, recorded when it has finished."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import yaml

from fedfr import Experiment, ExperimentConfig
from fedfr.config.loading import first_difference, merge, read_benchmark
from fedfr.core.errors import FedfrError
from fedfr.core.files import empty_folder, write_atomically
from fedfr.experiments.benchmark_plan import SCRATCH, Cell, Plan
from fedfr.results.costs import total
from setting_search import Axis, Point, proposals
from trial_records import (
    Trial,
    chosen,
    chosen_start,
    metrics_of,
    read_trials,
    settings_by_name,
    settings_tree,
    write_trials,
)
from tuned_methods import START, VARIANTS, known_axes

__all__ = ["DEFINITION", "Tuning", "known_settings"]

DEFINITION = "definition"
Task = tuple[str, Point]


@dataclass
class Tuning:
    """A search in a folder: ``plan.yaml``, ``start/`` (the run whose start all trials share), ``<method>/``."""

    plan: Plan
    folder: Path
    trials: int
    rate: float
    remove_runs: bool = False
    refine: bool = False
    known: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    carry: bool = False
    records: list[Trial] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """File of the record."""
        return self.folder / "trials.csv"

    def begin(self, methods: Sequence[str]) -> None:
        """Open the folder; compute the starting model that all trials of other methods than ``pretrained`` share.

        Raises :class:`FedfrError` if it was begun with another plan, or if its trials choose another starting model.
        """
        self.records = read_trials(self.path)
        # The methods may vary from call to call.
        plan, file = self.plan.model_dump(mode="json", exclude={"methods"}), self.folder / "plan.yaml"
        there = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else plan
        # Trials of the starting model state its settings themselves, so that the definition's may change after them.
        others = any(trial.method != START for trial in self.records)
        free = {} if others else settings_tree(dict.fromkeys((axis.name for axis in self.axes(START)), 0))
        ignored = {"cells": {name: {"settings": free} for name in self.plan.cells}}
        difference = first_difference(merge(there, ignored), merge(plan, ignored))
        if difference is not None:
            name, old, new = difference
            raise FedfrError(f"{self.folder} was begun with {name} = {old!r}, not {new!r}; choose another folder")
        if set(methods) == {START}:
            centre = (0.0,) * len(self.axes(START))
            config, folder = (
                self.config(START, settings_tree(self.values(START, centre))),
                self.run_folder(START, centre),
            )
        else:
            config, folder = self.config(START, {}), self.folder / "start"
            self._check_start(config)
        begun = Experiment.begin(config, folder, None, self.folder / "faces")
        write_atomically(file, yaml.safe_dump(plan, sort_keys=False).encode())
        if set(methods) != {START}:
            begun.run(progress=False)

    def _check_start(self, config: ExperimentConfig) -> None:
        used, found = config.pretrain.model_dump(), chosen_start(self.records)
        if wrong := [f"{name}: {value}" for name, value in found.items() if used[name] != value]:
            raise FedfrError(
                f"{self.path} chose another starting model than the one that is used; write {', '.join(wrong)} to "
                f"tuned_start in the definition of {self.plan.name}, then repeat the command"
            )

    def config(self, method: str, settings: dict[str, Any]) -> ExperimentConfig:
        """Return the configuration of a trial."""
        (name, cell), *_ = self.plan.cells.items()
        start = {} if method != START else settings
        own = Cell(settings=merge(cell.settings, start), methods={} if start else {method: settings})
        return self.plan.model_copy(update={"methods": (method,), "cells": {name: own}}).experiment(0)

    def axes(self, method: str) -> tuple[Axis, ...]:
        """Return the axes of a method's search."""
        return known_axes(method, self.rate, self.known, self.carry)

    def done(self, method: str) -> dict[Point, float]:
        """Return the scores of the finished trials by point; that of a trial that diverged is -inf."""
        found = {}
        for trial in self.records:
            if trial.method == method:
                score = float("-inf") if trial.score is None else trial.score
                found[self._point(trial)] = score
        return found

    def _point(self, trial: Trial) -> Point:
        """Return the place of a recorded trial. Raises :class:`FedfrError` if it is of a search with other centres."""
        axes = self.axes(trial.method)
        if [axis.name for axis in axes] == list(trial.settings):
            point = tuple(axis.position(trial.settings[axis.name]) for axis in axes)
            if self.values(trial.method, point) == trial.settings:
                return point
        raise FedfrError(
            f"{self.path} has a trial of {trial.method} at {dict(trial.settings)}, which is no whole step from the "
            "centres of this search; repeat --rate, --from and --carry as they were then, or choose another folder"
        )

    def due(self, method: str) -> list[Point]:
        """Return the points of a method that can be tried now."""
        axes = self.axes(method)
        if not axes or (method in VARIANTS and self.due(VARIANTS[method])):
            return []
        return proposals(axes, self.done(method), self.trials, self.refine)

    def values(self, method: str, point: Point) -> dict[str, float]:
        """Return the settings at a point, by dotted name."""
        return {axis.name: axis.value(position) for axis, position in zip(self.axes(method), point, strict=True)}

    def run_folder(self, method: str, point: Point) -> Path:
        """Return the folder of a trial, named after its settings."""
        values = (f"{name.split('.')[-1]}-{value:g}" for name, value in self.values(method, point).items())
        return self.folder / method / "_".join(values)

    def record(self, method: str, point: Point, error: str | None) -> Trial:
        """Add a finished trial to the record. Raises :class:`FedfrError` if it failed other than by diverging."""
        folder, values = self.run_folder(method, point), self.values(method, point)
        if error is not None and "lower the learning rate" not in error:
            raise FedfrError(f"trial {folder}: {error}")
        run = Experiment.open(folder)
        metrics = {} if error is not None or _refusals(run, method) else metrics_of(run.results(), method)
        seconds = total(costs).wall_seconds if (costs := run.costs().get(method)) else 0.0
        trial = Trial(method, len(self.done(method)) + 1, values, metrics, seconds, point)
        self.records.append(trial)
        write_trials(self.path, self.records)
        if self.remove_runs:
            empty_folder(folder, remove=True)
        return trial

    def run(self, methods: Sequence[str], jobs: int) -> None:
        """Run all trials that are due, ``jobs`` at a time, each in a process of its own."""
        context, running = multiprocessing.get_context("spawn"), dict[Connection, tuple[Task, Any]]()
        while True:
            busy = [task for task, _ in running.values()]
            tasks = [(method, point) for method in methods for point in self.due(method)]
            for method, point in [task for task in tasks if task not in busy][: jobs - len(busy)]:
                base = chosen(self.records)[VARIANTS[method]].settings if method in VARIANTS else {}
                settings = merge(settings_tree(base), settings_tree(self.values(method, point)))
                ours, theirs = context.Pipe(duplex=False)
                given = (self.config(method, settings), self.run_folder(method, point), self.folder, theirs)
                process = context.Process(target=_run_trial, args=given, daemon=True)
                process.start()
                theirs.close()
                running[ours] = (method, point), process
            if not running:
                return
            for pipe in wait(list(running)):
                assert isinstance(pipe, Connection)
                (method, point), process = running.pop(pipe)
                try:
                    error = pipe.recv()
                except EOFError:
                    error = None
                process.join()
                if process.exitcode:
                    error = f"its process ended with exit code {process.exitcode}; see above"
                trial = self.record(method, point, error)
                print(f"{method} {trial.number}/{self.trials}: {_shown(trial)} ({trial.seconds:.0f} s)", flush=True)


def _refusals(run: Experiment, method: str) -> list[str]:
    """Return the reasons for which a round went on without a client: a trial is judged on all clients or on none."""
    (trained,) = (each for each in run.method_runs() if each.name == method)
    return [reason for record in trained.journal.records() for reason in record.get("refused", ())]


def _run_trial(config: ExperimentConfig, folder: Path, shared: Path, pipe: Connection) -> None:
    """Run or resume a trial in a process of its own; send the error that ended it, or None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent: Any = multiprocessing.parent_process()

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    torch.set_num_threads(config.runtime.threads)
    try:
        run = Experiment.begin(config, folder, None, shared / "faces")
        if run.reuse_start(shared / "start"):
            # All trials have the same split and evaluation, so the start has the same results.
            source, target = (each / "evaluation" for each in (shared / "start", folder))
            shutil.copytree(source, target, dirs_exist_ok=True)
        run.run(progress=False)
        pipe.send(None)
    except FedfrError as error:
        pipe.send(str(error))


def _shown(trial: Trial) -> str:
    score = "diverged" if trial.score is None else f"{100 * trial.score:.2f}"
    return f"{' '.join(f'{name}={value:g}' for name, value in trial.settings.items())}: {score}"


def known_settings(source: str, benchmark: str, start: str) -> dict[str, dict[str, float]]:
    """Return settings by method and dotted name: chosen by a record, or those of a benchmark's definition.

    Raises :class:`FedfrError` if there are none.
    """
    if source != DEFINITION:
        if not (trials := read_trials(Path(source))):
            raise FedfrError(f"--from {source}: there are no trials; give a trials.csv, or {DEFINITION}")
        return {name: dict(trial.settings) for name, trial in chosen(trials).items()}
    definition = read_benchmark(benchmark)
    methods = definition.get("tuned", {}).get(SCRATCH if start == SCRATCH else "checkpoint", {})
    if not methods:
        raise FedfrError(
            f"--from {DEFINITION}: {benchmark} has no tuned settings for --start {start}; give a trials.csv"
        )
    pretrain = {"pretrain": definition.get("tuned_start", {})}
    return {name: settings_by_name(tree) for name, tree in {START: pretrain, **methods}.items()}
