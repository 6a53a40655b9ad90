"""Choose every method's settings with the same number of trials, on people whom no test of the benchmark contains.

Run: ``python benchmarks/tune.py --benchmark lfw-fed --start FILE --set faces.path=FACES --out runs/tuning``. The trials
are the scenario ``tuning`` of the benchmark. For every method the learning rate is searched first, in factors of two
around ``--rate`` and bracketed: if the best one is at an edge, the next rate on that side is tried. Then the method's
own settings are searched in the same way, and what is left of ``--trials`` refines all of them by half steps. The score
of a trial is the mean of the strictest metrics of generic 1:1, personalized 1:1 and 1:N, each of the better of the
method's models. Variants of another method have its settings (``VARIANTS`` in ``tuned_methods.py``) and are tried only
where they have settings of their own. The trials of ``pretrained`` are for the starting model: a checkpoint's tuning on
the public images, ``tuned_start`` of the definition.

Every trial is a run folder below ``--out``, and ``trials.csv`` there records them. The same command continues an
interrupted search. ``--keep NAME`` copies the record of a finished search to ``benchmarks/NAME/``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shlex
import shutil
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import yaml

from fedfr import Experiment, ExperimentConfig
from fedfr.config.loading import first_difference, merge
from fedfr.config.schema import parse_overrides
from fedfr.core.errors import FedfrError
from fedfr.core.files import empty_folder, write_atomically
from fedfr.experiments.benchmark_plan import SCRATCH, Cell, Plan, plan_benchmark
from fedfr.experiments.report import shorten_paths
from fedfr.methods import METHODS
from fedfr.reporting.text_tables import screen_width, text_table
from fedfr.results.costs import total
from harness import place, sleeping_threads
from setting_search import Axis, Point, open_ends, proposals
from trial_records import Trial, chosen, metrics_of, read_trials, settings_tree, tuned, write_trials
from tuned_methods import START, VARIANTS, axes_of

HERE = Path(__file__).parent
Task = tuple[str, Point]


@dataclass
class Tuning:
    """A search in a folder: ``plan.yaml``, ``start/`` (the run whose start all trials share), ``<method>/``."""

    plan: Plan
    folder: Path
    trials: int
    rate: float
    remove_runs: bool = False
    records: list[Trial] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """File of the record."""
        return self.folder / "trials.csv"

    def begin(self) -> None:
        """Open the folder; compute the starting model that all trials share."""
        # The methods may vary from call to call.
        plan, file = self.plan.model_dump(mode="json", exclude={"methods"}), self.folder / "plan.yaml"
        there = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else plan
        difference = first_difference(there, plan)
        if difference is not None:
            name, old, new = difference
            raise FedfrError(f"{self.folder} was begun with {name} = {old!r}, not {new!r}; choose another folder")
        self.records = read_trials(self.path)
        start = Experiment.begin(self.config("pretrained", {}), self.folder / "start", None, self.folder / "faces")
        write_atomically(file, yaml.safe_dump(plan, sort_keys=False).encode())
        start.run(progress=False)

    def config(self, method: str, settings: dict[str, Any]) -> ExperimentConfig:
        """Return the configuration of a trial."""
        (name, cell), *_ = self.plan.cells.items()
        start = {} if method != START else settings
        own = Cell(settings=merge(cell.settings, start), methods={} if start else {method: settings})
        return self.plan.model_copy(update={"methods": (method,), "cells": {name: own}}).experiment(0)

    def axes(self, method: str) -> tuple[Axis, ...]:
        """Return the axes of a method's search."""
        return axes_of(method, self.rate)

    def done(self, method: str) -> dict[Point, float]:
        """Return the scores of the finished trials by point; that of a trial that diverged is -inf."""
        return {
            tuple(axis.position(trial.settings.get(axis.name, axis.centre)) for axis in self.axes(method)): (
                float("-inf") if trial.score is None else trial.score
            )
            for trial in self.records
            if trial.method == method
        }

    def due(self, method: str) -> list[Point]:
        """Return the points of a method that can be tried now."""
        axes = self.axes(method)
        if not axes or (method in VARIANTS and self.due(VARIANTS[method])):
            return []
        return proposals(axes, self.done(method), self.trials)

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
        metrics = {} if error is not None else metrics_of(run.results(), method)
        seconds = total(costs).wall_seconds if (costs := run.costs().get(method)) else 0.0
        trial = Trial(method, len(self.done(method)) + 1, values, metrics, seconds)
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


def summary(tuning: Tuning, methods: Sequence[str], width: int) -> str:
    """Return a table of the chosen settings, with what the trials did not bracket."""
    best, lines = chosen(tuning.records), []
    for method in methods:
        if method in best:
            ends = open_ends(tuning.axes(method), tuning.done(method))
            for number, (name, value) in enumerate(best[method].settings.items()):
                score = best[method].score
                shown = "–" if score is None else f"{100 * score:.2f}"
                first = (method, f"{shown}, {len(tuning.done(method))}") if not number else ("", "")
                lines.append((*first, name, f"{value:g}", ends.get(name, "")))
    return text_table(("method", "score, trials", "setting", "chosen", ""), lines, width)


def keep(tuning: Tuning, name: str, command: str) -> Path:
    """Copy the record of a finished search to ``benchmarks/NAME/``, with its plan, machine and commit."""
    target = HERE / name
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(tuning.path, target / "trials.csv")
    plan = shorten_paths(tuning.plan.model_dump(mode="json"))
    (target / "plan.yaml").write_text(yaml.safe_dump(plan, sort_keys=False), encoding="utf-8")
    about = {"command": command, **place(), "kept": time.strftime("%Y-%m-%d"), "trials": tuning.trials}
    (target / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return target


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def main() -> int:
    """Search, print the chosen settings in the form of the benchmark's definition; return the exit status."""
    sleeping_threads()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmark", required=True)
    parser.add_argument("--budget", default="cpu")
    parser.add_argument("--start", default=SCRATCH, help="scratch, or a checkpoint")
    parser.add_argument("--methods", help="names, separated by commas; by default those of the scenario")
    parser.add_argument("--trials", type=_positive, default=7, help="of every method")
    parser.add_argument("--rate", type=float, default=0.005, help="centre of the learning rates")
    parser.add_argument("--jobs", type=_positive, default=1, help="trials at a time, each with one thread")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="A.B=C")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--remove-runs", action="store_true", help="delete the run of a trial when it is recorded")
    parser.add_argument("--keep", metavar="NAME", help="copy the record to benchmarks/NAME, lfw-fed/tuning/scratch say")
    given = parser.parse_args()
    try:
        plan = plan_benchmark(
            given.benchmark,
            budget=given.budget,
            scenario="tuning",
            starts=[given.start],
            settings=parse_overrides(given.settings),
        )
        methods = given.methods.split(",") if given.methods else list(plan.methods)
        methods = list(dict.fromkeys(VARIANTS[name] for name in methods if name in VARIANTS)) + methods
        methods = list(dict.fromkeys(methods))
        for name in methods:
            if name != START and METHODS[name]({}).rounds(1) == 0:
                raise FedfrError(f"--methods {name}: it has no training and so nothing to choose; leave it out")
        tuning = Tuning(plan, given.out, given.trials, given.rate, given.remove_runs)
        print("start: starting model and its evaluation, which all trials share", flush=True)
        tuning.begin()
        tuning.run(methods, given.jobs)
    except KeyboardInterrupt:
        print("interrupted; repeat the command to continue", file=sys.stderr)
        return 130
    except FedfrError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"\n{summary(tuning, methods, screen_width())}\n")
    for name, settings in tuned(tuning.records).items():
        print(f"{name}: {yaml.safe_dump(settings, default_flow_style=True, width=1000).strip()}")
    if given.keep:
        print(keep(tuning, given.keep, shlex.join(["python", "benchmarks/tune.py", *sys.argv[1:]])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
