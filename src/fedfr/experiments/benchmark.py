"""Benchmarks: comparison of methods on the same faces, start and budget over seeds, with a run folder per seed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fedfr.config.loading import first_difference
from fedfr.config.schema import ExperimentConfig, validate
from fedfr.core.errors import FedfrError
from fedfr.core.files import empty_folder, write_atomically
from fedfr.experiments.benchmark_plan import Plan
from fedfr.experiments.benchmark_results import Result, results_of, write_results
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.reused_results import reuse_methods
from fedfr.experiments.run_sets import check_sets
from fedfr.reporting.progress import Progress, Silent

__all__ = ["Benchmark"]

_FILE = "benchmark.yaml"


class _CellProgress:
    """Progress of a cell's run that adds the cell's name to events."""

    def __init__(self, reporter: Progress, cell: str) -> None:
        self.update = reporter.update
        self.note = reporter.note
        self._reporter = reporter
        self._cell = cell

    def event(self, event: Mapping[str, Any]) -> None:
        self._reporter.event({"cell": self._cell, **event})


class Benchmark:
    """A benchmark in a folder: ``benchmark.yaml``, ``<cell>/seed-<n>/`` (a run each), ``results.csv``."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder

    def __repr__(self) -> str:
        return f"Benchmark({self.folder.name!r}, {self.plan.name}, {len(self.plan.methods)} methods)"

    @classmethod
    def begin(cls, plan: Plan, folder: str | Path, progress: Progress | None = None) -> Benchmark:
        """Begin a benchmark in a new folder, or open one with the same plan or fewer seeds.

        Raises :class:`FedfrError` for another plan, and if a cell's first run cannot begin (no faces, too few
        identities); the folder is then left unchanged.
        """
        folder = Path(folder)
        benchmark = cls(plan, folder)
        if cls.is_at(folder):
            there = cls.open(folder).plan
            wanted = plan.model_copy(update={"seeds": there.seeds}) if set(plan.seeds) > set(there.seeds) else plan
            difference = first_difference(there.model_dump(mode="json"), wanted.model_dump(mode="json"))
            if difference is not None:
                name, old, new = difference
                raise FedfrError(
                    f"{folder} was begun with {name} = {old!r}, not {new!r}; give the same --start, --methods, "
                    "--scenario, --budget and --set as then, and no fewer --seeds, or choose another folder"
                )
            if plan != there:
                benchmark._save_plan()
            return benchmark
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FedfrError(f"{folder} exists and is not an empty folder; choose another folder for the benchmark")
        configs, existed = [plan.experiment(seed, cell) for cell, seed in plan.runs()], folder.exists()
        benchmark._save_plan()
        try:
            for cell, config in zip(plan.cells, configs, strict=False):
                benchmark._begin(cell, config, progress)
        except BaseException:
            empty_folder(folder, remove=not existed)
            raise
        return benchmark

    @classmethod
    def open(cls, folder: str | Path) -> Benchmark:
        """Open an existing benchmark; raises :class:`FedfrError` if there is none."""
        path = Path(folder) / _FILE
        if not cls.is_at(Path(folder)):
            raise FedfrError(f"{folder} holds no benchmark (there is no {_FILE} in it); give the folder of --out")
        return cls(validate(Plan, yaml.safe_load(path.read_text(encoding="utf-8")), str(path)), Path(folder))

    @staticmethod
    def is_at(folder: Path) -> bool:
        """Return whether ``folder`` holds a benchmark."""
        return (folder / _FILE).is_file()

    def run(self, progress: Progress | None = None, reuse: str | Path | None = None) -> list[Result]:
        """Run or resume; ``results.csv`` is updated after every finished run.

        ``reuse``: folder of another benchmark, from whose runs of the same seed the methods are copied that this one
        would compute again, see :func:`~fedfr.experiments.reused_results.reuse_methods`.
        """
        known = [] if reuse is None else [*Benchmark.open(reuse).finished().values()]
        reporter, results, runs = progress or Silent(), list[Result](), list(self.plan.runs())
        work, every = f"benchmark {self.plan.name}", len({"pretrained", *self.plan.methods}) * len(runs)
        done = len(list(self.folder.glob("*/seed-*/evaluation/*.json")))

        def on_method(name: str) -> None:
            nonlocal done
            done += 1
            reporter.update(work, done, every, name, "evaluations")

        for line in self.plan.untuned():
            reporter.note(line)
        reporter.update(work, done, every, unit="evaluations")
        for number, (cell, seed) in enumerate(runs):
            reporter.note(f"{cell}, seed {seed} ({number + 1} of {len(runs)})")
            run = self._begin(cell, self.plan.experiment(seed, cell), progress)
            for other in self.plan.cells:
                run.reuse_start(self._run(other, seed))
            for there in (each for runs_there in known for each in runs_there if each.config.seed == seed):
                if names := reuse_methods(run, there.folder):
                    reporter.note(f"reused from {there.folder}: {', '.join(names)}")
            run.run(_CellProgress(reporter, cell), on_method=on_method)
            results = self.results()
            write_results(self.folder / "results.csv", results)
        return results

    def results(self) -> list[Result]:
        """Return the results of every finished run."""
        return [result for cell in self.plan.cells for run in self._finished(cell) for result in results_of(cell, run)]

    def finished(self) -> dict[str, list[Experiment]]:
        """Return the finished runs by cell; raises :class:`FedfrError` if there are none."""
        runs = {cell: found for cell in self.plan.cells if (found := self._finished(cell))}
        if not runs:
            raise FedfrError(f"{self.folder} has no finished seed yet; repeat the command that began it to continue")
        return runs

    def unfinished(self) -> list[tuple[str, int]]:
        """Return cell and seed of every planned run that is not finished."""
        done = {(cell, run.config.seed) for cell in self.plan.cells for run in self._finished(cell)}
        return [run for run in self.plan.runs() if run not in done]

    def _finished(self, cell: str) -> list[Experiment]:
        folders = [self._run(cell, seed) for seed in self.plan.seeds]
        runs = [Experiment.open(folder) for folder in folders if (folder / "config.yaml").exists()]
        return [run for run in runs if run.finished]

    def _run(self, cell: str, seed: int) -> Path:
        return self.folder / cell / f"seed-{seed}"

    def _begin(self, cell: str, config: ExperimentConfig, progress: Progress | None) -> Experiment:
        """Begin or open a run; the first one imports the faces, which all share."""
        run, first = self._run(cell, config.seed), self._run(next(iter(self.plan.cells)), self.plan.seeds[0])
        if not (run / "config.yaml").exists():
            if (first / "config.yaml").exists():
                # All runs are evaluated on the same verification sets.
                check_sets(Experiment.open(first).components)
            # Leftovers of a process that was killed before the run had begun.
            empty_folder(run, remove=False)
            for leftover in self.folder.glob(".faces.*.tmp"):
                empty_folder(leftover, remove=True)
        return Experiment.begin(config, run, progress, self.folder / "faces")

    def _save_plan(self) -> None:
        text = yaml.safe_dump(self.plan.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_atomically(self.folder / _FILE, text.encode())
