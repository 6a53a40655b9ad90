"""Benchmarks: comparison of methods on the same faces, start and budget over seeds, with a run folder per seed."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field

from fedfr.config.loading import absolute_paths, first_difference, merge, read_benchmark
from fedfr.config.schema import ExperimentConfig, Settings, load_config, validate
from fedfr.core.errors import FedfrError
from fedfr.core.files import empty_folder, write_atomically
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.face_sources import FACE_SETS
from fedfr.experiments.registration import stored_names
from fedfr.methods import METHODS
from fedfr.models import backbone_of
from fedfr.reporting.progress import Progress, Silent
from fedfr.results.costs import RoundCost, total
from fedfr.results.result_rows import Row

__all__ = ["SCRATCH", "Benchmark", "Cell", "Plan", "Result", "plan_benchmark", "read_results"]

_FILE = "benchmark.yaml"
SCRATCH = "scratch"
MethodsSettings = dict[str, dict[str, Any]]


class Budget(Settings):
    """Number of seeds, and settings that override the benchmark's configuration."""

    seeds: Annotated[int, Field(ge=1)] = 1
    settings: dict[str, Any] = Field(default_factory=dict)


class Cell(Settings):
    """One federation in which methods are compared: a starting point, or a point of a scenario.

    ``at`` is its position on the scenario's axis, ``group`` its line. ``settings`` override the plan's, ``methods``
    holds settings of single methods.
    """

    at: float | None = None
    group: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    methods: MethodsSettings = Field(default_factory=dict)


class Scenario(Settings):
    """Cells that vary along ``axis``, and the methods compared by default.

    ``tuned``: whether methods use their tuned settings; scenarios in which settings are chosen do not.
    """

    axis: str
    methods: tuple[str, ...]
    tuned: bool = True
    settings: dict[str, Any] = Field(default_factory=dict)
    cells: dict[str, Cell]


class Definition(Settings):
    """Content of a benchmark's file: preset, default methods, budgets, scenarios and tuned settings.

    ``tuned``: settings chosen on a validation split, by starting point (``scratch``, ``checkpoint``) and method. The
    split of seed n is made with ``split_seed`` + n.
    """

    config: str
    split_seed: Annotated[int, Field(ge=0)] = 0
    methods: tuple[str, ...]
    budgets: dict[str, Budget]
    scenarios: dict[str, Scenario] = Field(default_factory=dict)
    tuned: dict[str, MethodsSettings] = Field(default_factory=dict)


class Plan(Settings):
    """Plan of a benchmark's folder; ``settings`` override the preset ``config``."""

    name: str
    config: str
    budget: str
    methods: Annotated[tuple[str, ...], Field(min_length=1)]
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    split_seed: Annotated[int, Field(ge=0)] = 0
    settings: dict[str, Any] = Field(default_factory=dict)
    scenario: str = ""
    axis: str = ""
    cells: Annotated[dict[str, Cell], Field(min_length=1)] = Field(default_factory=lambda: {SCRATCH: Cell()})

    def experiment(self, seed: int, cell: str | None = None) -> ExperimentConfig:
        """Return the configuration of one seed and cell (by default the first): a main method, the others baselines."""
        chosen = self.cells[next(iter(self.cells)) if cell is None else cell]
        names = [name for name in self.methods if name != "pretrained"] or ["pretrained"]
        main = "fedfr" if "fedfr" in names else names[0]
        others = [name for name in names if name != main]
        settings = merge(self.settings, chosen.settings)
        # Settings by name of the method, so that users need not know which one is the main method.
        own = merge(chosen.methods, settings.pop("baseline_settings", {}))
        settings["method"] = merge(own.pop(main, {}), settings.get("method", {}))
        settings["baseline_settings"] = {name: value for name, value in own.items() if name in others}
        split = {"settings": {"seed": self.split_seed + seed}}
        fixed = {"seed": seed, "split": split, "method": {"name": main}, "baselines": others}
        return load_config(self.config, merge(settings, fixed))

    def runs(self) -> Iterator[tuple[str, int]]:
        """Yield every cell and seed, all cells of a seed before the next seed."""
        return ((cell, seed) for seed in self.seeds for cell in self.cells)


@dataclass(frozen=True)
class Result:
    """A row with its cell and the cost of the method's rounds in that seed, see :class:`RoundCost`."""

    cell: str
    row: Row
    wall_seconds: float
    client_seconds: float
    bytes_up: int
    bytes_down: int
    peak_bytes: int

    @classmethod
    def of(cls, cell: str, row: Row, cost: RoundCost) -> Result:
        """Return the result of a row and the total cost of the method's rounds."""
        return cls(cell, row, cost.wall_seconds, cost.client_seconds, cost.bytes_up, cost.bytes_down, cost.peak_bytes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as in the CSV."""
        costs = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("cell", "row")}
        return {"cell": self.cell} | self.row.to_dict() | costs


def plan_benchmark(
    name: str,
    *,
    budget: str = "cpu",
    methods: Sequence[str] | None = None,
    seeds: int | None = None,
    settings: Mapping[str, Any] | None = None,
    scenario: str | None = None,
    starts: Sequence[str] = (SCRATCH,),
) -> Plan:
    """Return the plan of a benchmark of the package; raises :class:`FedfrError` for unknown names.

    ``starts`` are starting points, ``scratch`` or checkpoints; with a ``scenario`` only one.
    """
    definition = validate(Definition, read_benchmark(name), f"benchmark {name}")
    if budget not in definition.budgets:
        raise FedfrError(f"unknown budget {budget!r}; known: {', '.join(definition.budgets)}")
    begun = dict(_starting_cell(definition, start) for start in starts)
    if len(begun) < len(starts):
        raise FedfrError(f"--start {', '.join(starts)}: two starting points have the same name; rename one checkpoint")
    axis, default, cells = "", definition.methods, begun
    if scenario is not None:
        if scenario not in definition.scenarios:
            known = ", ".join(definition.scenarios) or "none"
            raise FedfrError(f"benchmark {name} has no scenario {scenario!r}; known: {known}")
        if len(begun) > 1:
            raise FedfrError(f"--scenario {scenario} allows one starting point; give --start once")
        (start,) = begun.values()
        varied = definition.scenarios[scenario]
        axis, default = varied.axis, varied.methods
        common = merge(start.settings, varied.settings)
        methods_own = start.methods if varied.tuned else {}
        cells = {
            key: cell.model_copy(
                update={"settings": merge(common, cell.settings), "methods": merge(methods_own, cell.methods)}
            )
            for key, cell in varied.cells.items()
        }
    given = stored_names(absolute_paths(settings or {}, Path.cwd()))
    _refuse_reserved(given)
    cells = {key: _with_settings(cell, given) for key, cell in cells.items()}
    chosen = definition.budgets[budget]
    plan = {
        "name": name,
        "config": definition.config,
        "split_seed": definition.split_seed,
        "budget": budget,
        "methods": [METHODS.stored_name(METHODS.entry(method).name) for method in methods or default],
        "seeds": list(range(seeds or chosen.seeds)),
        "settings": chosen.settings,
        "scenario": scenario or "",
        "axis": axis,
        "cells": {key: cell.model_dump() for key, cell in cells.items()},
    }
    return validate(Plan, plan, f"benchmark {name}")


def _starting_cell(definition: Definition, start: str) -> tuple[str, Cell]:
    """Return the name of a starting point and its cell."""
    if start == SCRATCH:
        return SCRATCH, Cell(methods=definition.tuned.get(SCRATCH, {}))
    model = {"start": str(Path(start).expanduser().resolve()), "backbone": backbone_of(Path(start).expanduser())}
    settings = {"model": model, "pretrain": {"epochs": 0}}
    return _folder_name(Path(start).stem), Cell(settings=settings, methods=definition.tuned.get("checkpoint", {}))


def _folder_name(stem: str) -> str:
    """Return a folder name for a checkpoint that does not collide with others of a benchmark."""
    name = re.sub(r"[^\w.-]+", "-", stem, flags=re.ASCII).strip("-.") or "checkpoint"
    return f"{name}-start" if name in ("faces", FACE_SETS, "tensorboard", SCRATCH) or "." in name else name


def _refuse_reserved(given: Mapping[str, Any]) -> None:
    """Raise for settings that a benchmark chooses itself, and for unknown methods."""
    for place, instead in (
        (("seed",), "--seeds"),
        (("split", "settings", "seed"), "--seeds"),
        (("method", "name"), "--methods"),
        (("baselines",), "--methods"),
    ):
        value: Any = given
        for part in place:
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is not None:
            raise FedfrError(
                f"--set {'.'.join(place)}={value}: the benchmark chooses this setting; use {instead} instead"
            )
    for name in given.get("baseline_settings", {}):
        METHODS.entry(name)


def _with_settings(cell: Cell, given: Mapping[str, Any]) -> Cell:
    """Return a cell with the user's settings, which override everything that it sets for one method or all."""
    local = given.get("local", {})

    def left(own: dict[str, Any]) -> dict[str, Any]:
        return own | {"local": {key: value for key, value in own.get("local", {}).items() if key not in local}}

    methods = {name: left(own) for name, own in cell.methods.items()}
    return cell.model_copy(update={"settings": merge(cell.settings, given), "methods": methods})


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
        made = cls(plan, folder)
        if cls.is_at(folder):
            there = cls.open(folder).plan
            wanted = plan.model_copy(update={"seeds": there.seeds}) if set(plan.seeds) > set(there.seeds) else plan
            difference = first_difference(there.model_dump(mode="json"), wanted.model_dump(mode="json"))
            if difference is not None:
                name, old, new = difference
                raise FedfrError(f"{folder} was begun with {name} = {old!r}, not {new!r}; choose another folder")
            if plan != there:
                made._save_plan()
            return made
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FedfrError(f"{folder} exists and is not an empty folder; choose another folder for the benchmark")
        configs, existed = [plan.experiment(seed, cell) for cell, seed in plan.runs()], folder.exists()
        made._save_plan()
        try:
            for cell, config in zip(plan.cells, configs, strict=False):
                made._begin(cell, config, progress)
        except BaseException:
            empty_folder(folder, remove=not existed)
            raise
        return made

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

    def run(self, progress: Progress | None = None) -> list[Result]:
        """Run or resume; ``results.csv`` is updated after every finished run."""
        reporter, results, runs = progress or Silent(), list[Result](), list(self.plan.runs())
        work, every = f"benchmark {self.plan.name}", len({"pretrained", *self.plan.methods}) * len(runs)
        done = len(list(self.folder.glob("*/seed-*/evaluation/*.json")))

        def on_method(name: str) -> None:
            nonlocal done
            done += 1
            reporter.update(work, done, every, name, "evaluations")

        reporter.update(work, done, every, unit="evaluations")
        for number, (cell, seed) in enumerate(runs):
            reporter.note(f"{cell}, seed {seed} ({number + 1} of {len(runs)})")
            run = self._begin(cell, self.plan.experiment(seed, cell), progress)
            for other in self.plan.cells:
                run.reuse_start(self._run(other, seed))
            run.run(_CellProgress(reporter, cell), on_method=on_method)
            results = self.results()
            self._write(results)
        return results

    def results(self) -> list[Result]:
        """Return the results of every finished run."""
        return [result for cell in self.plan.cells for run in self._finished(cell) for result in _results(cell, run)]

    def finished(self) -> dict[str, list[Experiment]]:
        """Return the finished runs by cell; raises :class:`FedfrError` if there are none."""
        runs = {cell: found for cell in self.plan.cells if (found := self._finished(cell))}
        if not runs:
            raise FedfrError(
                f"{self.folder} has no finished seed yet; repeat the same `fedfr benchmark` command to continue"
            )
        return runs

    def _finished(self, cell: str) -> list[Experiment]:
        folders = [self._run(cell, seed) for seed in self.plan.seeds]
        runs = [Experiment.open(folder) for folder in folders if (folder / "config.yaml").exists()]
        return [run for run in runs if run.finished]

    def _run(self, cell: str, seed: int) -> Path:
        return self.folder / cell / f"seed-{seed}"

    def _begin(self, cell: str, config: ExperimentConfig, progress: Progress | None) -> Experiment:
        """Begin or open a run; the first one imports the faces, which all share."""
        run = self._run(cell, config.seed)
        if not (run / "config.yaml").exists():
            # Leftovers of a process that was killed before the run had begun.
            empty_folder(run, remove=False)
            for leftover in self.folder.glob(".faces.*.tmp"):
                empty_folder(leftover, remove=True)
        return Experiment.begin(config, run, progress, self.folder / "faces")

    def _save_plan(self) -> None:
        text = yaml.safe_dump(self.plan.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_atomically(self.folder / _FILE, text.encode())

    def _write(self, results: Sequence[Result]) -> None:
        lines, text = [result.to_dict() for result in results], io.StringIO()
        own = [field.name for field in fields(Result) if field.name not in ("cell", "row")]
        columns = ["cell", *(field.name for field in fields(Row)), *own]
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
        write_atomically(self.folder / "results.csv", text.getvalue().encode())


def read_results(path: str | Path) -> list[Result]:
    """Read a ``results.csv``; raises :class:`FedfrError` for any other file."""
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        return [
            Result(
                line["cell"],
                Row(
                    line["method"],
                    int(line["seed"]),
                    int(line["round"]),
                    line["client"],
                    line["model"],
                    line["protocol"],
                    line["metric"],
                    float(line["value"]) if line["value"] else None,
                    int(line["genuine"]),
                    int(line["impostor"]),
                    line["refused"],
                ),
                float(line["wall_seconds"]),
                float(line["client_seconds"]),
                int(line["bytes_up"]),
                int(line["bytes_down"]),
                int(line["peak_bytes"]),
            )
            for line in lines
        ]
    except (OSError, csv.Error, KeyError, ValueError, TypeError) as error:
        raise FedfrError(f"{path} is not a results.csv of a benchmark ({error}); give such a file") from error


def _results(cell: str, run: Experiment) -> list[Result]:
    spent = {cost.method: cost for cost in map(total, filter(None, run.costs().values()))}
    free = RoundCost("pretrained", run.config.seed, 0)
    return [Result.of(cell, row, spent.get(row.method, free)) for row in run.results()]
