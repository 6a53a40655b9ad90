"""A benchmark: methods side by side on the same faces, start and budget, over seeds; one run folder per seed."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field

from fedfr.config import ExperimentConfig, Settings, load_config, validate
from fedfr.config_source import absolute_paths, first_difference, merge, read_benchmark
from fedfr.costs import RoundCost, total
from fedfr.errors import FedfrError
from fedfr.experiment import Experiment
from fedfr.files import write_atomically
from fedfr.methods import METHODS
from fedfr.reporting.progress import Progress, Silent
from fedfr.rows import Row

__all__ = ["Benchmark", "Plan", "Result", "plan_benchmark"]

_FILE = "benchmark.yaml"


class Budget(Settings):
    """How many seeds, and settings laid over the benchmark's configuration."""

    seeds: Annotated[int, Field(ge=1)] = 1
    settings: dict[str, Any] = Field(default_factory=dict)


class Definition(Settings):
    """A benchmark's file: the preset it runs, the methods by default, and its budgets."""

    config: str
    methods: tuple[str, ...]
    budgets: dict[str, Budget]


class Plan(Settings):
    """What a benchmark's folder was begun for; ``settings`` are laid over the preset ``config``."""

    name: str
    config: str
    budget: str
    methods: Annotated[tuple[str, ...], Field(min_length=1)]
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    settings: dict[str, Any] = Field(default_factory=dict)

    def experiment(self, seed: int) -> ExperimentConfig:
        """The configuration of one seed: one method is the run's main one, the others its baselines."""
        names = [name for name in self.methods if name != "pretrained"] or ["pretrained"]
        main = "fedfr" if "fedfr" in names else names[0]
        others = [name for name in names if name != main]
        own = {"seed": seed, "split": {"settings": {"seed": seed}}, "method": {"name": main}, "baselines": others}
        return load_config(self.config, merge(self.settings, own))


@dataclass(frozen=True)
class Result:
    """A row with what the method's rounds cost in that seed, all clients together.

    ``client_seconds``: training and features; ``bytes_up``, ``bytes_down``: of all messages; ``peak_bytes``: the
    largest resident size of a process that served a client. Zero for the starting model.
    """

    row: Row
    client_seconds: float
    bytes_up: int
    bytes_down: int
    peak_bytes: int

    @classmethod
    def of(cls, row: Row, cost: RoundCost) -> Result:
        """A row and what the method's rounds cost together."""
        return cls(row, cost.client_seconds, cost.bytes_up, cost.bytes_down, cost.peak_bytes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in the CSV."""
        costs = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "row"}
        return self.row.to_dict() | costs


def plan_benchmark(
    name: str,
    *,
    budget: str = "cpu",
    methods: Sequence[str] | None = None,
    seeds: int | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Plan:
    """The plan of a benchmark of the package; raises :class:`FedfrError` for what it does not know."""
    definition = validate(Definition, read_benchmark(name), f"benchmark {name}")
    if budget not in definition.budgets:
        raise FedfrError(f"unknown budget {budget!r}; known: {', '.join(definition.budgets)}")
    chosen = definition.budgets[budget]
    plan = {
        "name": name,
        "config": definition.config,
        "budget": budget,
        "methods": [METHODS.entry(method).name for method in methods or definition.methods],
        "seeds": list(range(seeds or chosen.seeds)),
        "settings": absolute_paths(merge(chosen.settings, settings or {}), Path.cwd()),
    }
    return validate(Plan, plan, f"benchmark {name}")


class Benchmark:
    """A plan in a folder: ``benchmark.yaml``, ``seed-<n>/`` (each a run), ``results.csv``."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder

    @classmethod
    def begin(cls, plan: Plan, folder: str | Path, progress: Progress | None = None) -> Benchmark:
        """A new folder, or one that was begun with the same plan; raises :class:`FedfrError` for any other.

        It raises as well when the first seed's run cannot begin – no faces, say – and leaves the folder as it was.
        """
        folder = Path(folder)
        if (folder / _FILE).exists():
            there = cls.open(folder).plan
            difference = first_difference(there.model_dump(mode="json"), plan.model_dump(mode="json"))
            if difference is not None:
                name, old, new = difference
                raise FedfrError(f"{folder} was begun with {name} = {old!r}, not {new!r}; choose another folder")
            return cls(plan, folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FedfrError(f"{folder} exists and is not an empty folder; choose another place for the benchmark")
        configs, existed = [plan.experiment(seed) for seed in plan.seeds], folder.exists()
        made = cls(plan, folder)
        text = yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_atomically(folder / _FILE, text.encode())
        try:
            Experiment.create(configs[0], made._run(plan.seeds[0]), progress)
        except FedfrError:
            (folder / _FILE).unlink()
            if not existed:
                folder.rmdir()
            raise
        return made

    @classmethod
    def open(cls, folder: str | Path) -> Benchmark:
        """One that was begun; raises :class:`FedfrError` where there is none."""
        path = Path(folder) / _FILE
        if not cls.is_at(Path(folder)):
            raise FedfrError(f"{folder} holds no benchmark (there is no {_FILE} in it); give the folder of --out")
        return cls(validate(Plan, yaml.safe_load(path.read_text(encoding="utf-8")), str(path)), Path(folder))

    def run(self, progress: Progress | None = None) -> list[Result]:
        """Run, or go on where it was interrupted; ``results.csv`` grows with every finished seed."""
        shown, results = progress or Silent(), list[Result]()
        work, every = f"benchmark {self.plan.name}", len({"pretrained", *self.plan.methods}) * len(self.plan.seeds)
        done = len(list(self.folder.glob("seed-*/evaluation/*.json")))

        def on_method(name: str) -> None:
            nonlocal done
            done += 1
            shown.update(work, done, every, name)

        shown.update(work, done, every)
        for number, seed in enumerate(self.plan.seeds):
            shown.note(f"seed {seed} ({number + 1} of {len(self.plan.seeds)})")
            Experiment.begin(self.plan.experiment(seed), self._run(seed), shown).run(shown, on_method=on_method)
            results = self.results()
            self._write(results)
        return results

    @staticmethod
    def is_at(folder: Path) -> bool:
        """Whether a benchmark was begun in ``folder``."""
        return (folder / _FILE).is_file()

    def results(self) -> list[Result]:
        """Of every finished seed."""
        return [result for run in self._finished() for result in _results(run)]

    def finished(self) -> list[Experiment]:
        """The runs of every finished seed; raises :class:`FedfrError` when there is none."""
        runs = self._finished()
        if not runs:
            raise FedfrError(f"{self.folder} has no finished seed yet; go on with the same `fedfr benchmark` command")
        return runs

    def _finished(self) -> list[Experiment]:
        begun = [seed for seed in self.plan.seeds if (self._run(seed) / "config.yaml").exists()]
        return [run for run in map(Experiment.open, map(self._run, begun)) if run.finished]

    def _run(self, seed: int) -> Path:
        return self.folder / f"seed-{seed}"

    def _write(self, results: Sequence[Result]) -> None:
        lines, text = [result.to_dict() for result in results], io.StringIO()
        writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        write_atomically(self.folder / "results.csv", text.getvalue().encode())


def _results(run: Experiment) -> list[Result]:
    spent = {cost.method: cost for cost in map(total, filter(None, run.costs().values()))}
    free = RoundCost("pretrained", run.config.seed, 0)
    return [Result.of(row, spent.get(row.method, free)) for row in run.results()]
