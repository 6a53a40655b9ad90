"""Plan of a benchmark: its definition in the package, and what the user chose from it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from fedfr.config.loading import absolute_paths, merge, read_benchmark
from fedfr.config.schema import ExperimentConfig, Settings, load_config, validate
from fedfr.core.errors import FedfrError
from fedfr.experiments.registration import stored_names
from fedfr.methods import METHODS
from fedfr.models import backbone_of
from fedfr.results.primary_family import Primary

__all__ = ["SCRATCH", "Cell", "Plan", "plan_benchmark", "refuse_reserved"]

SCRATCH = "scratch"
PUBLISHED = "published:"
"""Before a checkpoint: begin with it as it is, without tuning on the public images."""
RESERVED = {
    "seed": "--seeds",
    "split.settings.seed": "--seeds",
    "method.name": "--methods",
    "baselines": "--methods",
}
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

    ``tuned``: whether methods use their tuned settings; scenarios in which settings are chosen do not. ``seeds``: the
    largest number of seeds, if it is lower than that of the budget.
    """

    axis: str
    methods: tuple[str, ...]
    tuned: bool = True
    seeds: Annotated[int, Field(ge=1)] | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    cells: dict[str, Cell]


class Definition(Settings):
    """Content of a benchmark's file: preset, default methods, budgets, scenarios and tuned settings.

    ``settings`` are those of all budgets, which override them. ``tuned``: settings chosen on a validation split, by
    starting point (``scratch``, ``checkpoint``) and method. ``tuned_start``: settings of ``pretrain`` by which a
    checkpoint is tuned on the public images. ``primary``: comparisons of the methods, declared before they run, that
    every starting point is judged by. The split of seed n is made with ``split_seed`` + n.
    """

    config: str
    primary: Primary | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    tuned_start: dict[str, Any] = Field(default_factory=dict)
    split_seed: Annotated[int, Field(ge=0)] = 0
    methods: tuple[str, ...]
    budgets: dict[str, Budget]
    scenarios: dict[str, Scenario] = Field(default_factory=dict)
    tuned: dict[str, MethodsSettings] = Field(default_factory=dict)


class Plan(Settings):
    """Plan of a benchmark's folder; ``settings`` override the preset ``config``.

    ``primary``: comparisons that are declared with the plan, which cannot change once the folder is begun; scenarios
    have none.
    """

    name: str
    config: str
    primary: Primary | None = None
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
        settings = merge(self.settings, chosen.settings)
        names = self._methods(settings)
        trained = [name for name in names if not METHODS[name].starts_untrained]
        main = "fedfr" if "fedfr" in names else (trained or names)[0]
        others = [name for name in names if name != main]
        # Settings by name of the method, so that users need not know which one is the main method.
        own = merge(chosen.methods, settings.pop("baseline_settings", {}))
        settings["method"] = merge(own.pop(main, {}), settings.get("method", {}))
        settings["baseline_settings"] = {name: value for name, value in own.items() if name in others}
        split = {"settings": {"seed": self.split_seed + seed}}
        fixed = {"seed": seed, "split": split, "method": {"name": main}, "baselines": others}
        return load_config(self.config, merge(settings, fixed))

    def _methods(self, settings: Mapping[str, Any]) -> list[str]:
        """Return the methods to run; without a checkpoint those that evaluate it are left out."""
        start = load_config(self.config, {"model": settings.get("model", {})}).model.start
        names = [name for name in self.methods if name != "pretrained"]
        if start == SCRATCH:
            names = [name for name in names if not METHODS[name].starts_untrained]
        return names or list(self.methods[:1])

    def untuned(self) -> list[str]:
        """Return a line for every group of cells with methods that train without settings chosen for their start."""
        trained = [name for name in self.methods if name != "pretrained" and not METHODS[name].starts_untrained]
        cells: dict[str, list[str]] = {}
        for name, cell in self.cells.items():
            if left := [method for method in trained if method not in cell.methods]:
                who = "no method are tuned" if left == trained else f"{', '.join(left)} are not tuned"
                cells.setdefault(who, []).append(name)
        return [f"settings of {who} ({', '.join(names)})" for who, names in cells.items()]

    def runs(self) -> Iterator[tuple[str, int]]:
        """Yield every cell and seed, all cells of a seed before the next seed."""
        return ((cell, seed) for seed in self.seeds for cell in self.cells)


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

    ``starts`` are starting points: ``scratch``, a checkpoint to tune on the public images, or ``published:`` and one to
    begin with as it is; with a ``scenario`` only one.
    """
    definition = validate(Definition, read_benchmark(name), f"benchmark {name}")
    if budget not in definition.budgets:
        raise FedfrError(f"unknown budget {budget!r}; known: {', '.join(definition.budgets)}")
    begun = dict(_starting_cell(name, definition, start) for start in starts)
    if len(begun) < len(starts):
        given_starts = ", ".join(starts)
        raise FedfrError(
            f"--start {given_starts}: two starting points have the same name; give each once, or rename a checkpoint"
        )
    chosen = definition.budgets[budget]
    axis, default, cells, count = "", definition.methods, begun, chosen.seeds
    if scenario is not None:
        if scenario not in definition.scenarios:
            known = ", ".join(definition.scenarios) or "none"
            raise FedfrError(f"benchmark {name} has no scenario {scenario!r}; known: {known}")
        if len(begun) > 1:
            raise FedfrError(f"--scenario {scenario} allows one starting point; give --start once")
        (start,) = begun.values()
        varied = definition.scenarios[scenario]
        axis, default, count = varied.axis, varied.methods, min(count, varied.seeds or count)
        common = merge(start.settings, varied.settings)
        methods_own = start.methods if varied.tuned else {}
        cells = {
            key: cell.model_copy(
                update={"settings": merge(common, cell.settings), "methods": merge(methods_own, cell.methods)}
            )
            for key, cell in varied.cells.items()
        }
    given = stored_names(absolute_paths(settings or {}, Path.cwd()))
    _check_groups(given, definition.config)
    refuse_reserved(given, RESERVED)
    cells = {key: _with_settings(cell, given) for key, cell in cells.items()}
    plan = {
        "name": name,
        "config": definition.config,
        "primary": None if scenario else definition.primary,
        "split_seed": definition.split_seed,
        "budget": budget,
        "methods": [METHODS.stored_name(METHODS.entry(method).name) for method in methods or default],
        "seeds": list(range(seeds or count)),
        "settings": merge(definition.settings, chosen.settings),
        "scenario": scenario or "",
        "axis": axis,
        "cells": {key: cell.model_dump() for key, cell in cells.items()},
    }
    made = validate(Plan, plan, f"benchmark {name}")
    _check_deals(made)
    return made


def _check_deals(plan: Plan) -> None:
    """Raise :class:`FedfrError` if a cell has fewer disjoint deals than the plan has seeds."""
    for cell in plan.cells.values():
        deals = _setting_at(merge(plan.settings, cell.settings), "split.settings.deals")
        if type(deals) is int and 0 < deals < len(plan.seeds):
            raise FedfrError(
                f"benchmark {plan.name} has {deals} deals of different people, not {len(plan.seeds)}; give --seeds "
                f"{deals} or fewer, or more deals with fewer people each by --set split.settings.deals=N"
            )


def _starting_cell(name: str, definition: Definition, start: str) -> tuple[str, Cell]:
    """Return the name of a starting point and its cell."""
    if start == SCRATCH:
        return SCRATCH, Cell(methods=definition.tuned.get(SCRATCH, {}))
    published, given = start.startswith(PUBLISHED), start.removeprefix(PUBLISHED)
    if not given:
        raise FedfrError(f"--start {start!r} names no checkpoint; give {SCRATCH}, FILE or {PUBLISHED}FILE")
    if not published and not definition.tuned_start:
        raise FedfrError(
            f"--start {start}: benchmark {name} has no settings for tuning a checkpoint on the public images; give "
            f"--start {PUBLISHED}{start} to begin with it as it is"
        )
    path = Path(given).expanduser()
    settings = {
        "model": {"start": str(path.resolve()), "backbone": backbone_of(path)},
        "pretrain": {"epochs": 0} if published else definition.tuned_start,
    }
    part = re.sub(r"[^\w.-]+", "-", path.stem, flags=re.ASCII).strip("-.") or "checkpoint"
    methods = definition.tuned.get("checkpoint", {})
    return f"{part}-{'published' if published else 'tuned'}", Cell(settings=settings, methods=methods)


def _check_groups(given: Mapping[str, Any], config: str) -> None:
    """Raise :class:`FedfrError` where one value is given for a group of settings."""
    groups = load_config(config).model_dump()
    wrong = {
        name: value
        for name, value in given.items()
        if isinstance(groups.get(name), dict) and not isinstance(value, Mapping)
    }
    split = given.get("split")
    if isinstance(split, Mapping) and not isinstance(split.get("settings", {}), Mapping):
        wrong["split"] = {"settings": split["settings"]}
    load_config(config, wrong)
    for name, own in given.get("baseline_settings", {}).items():
        if not isinstance(own, Mapping):
            example = f"baseline_settings.{name}.local.learning_rate=0.01"
            raise FedfrError(f"--set baseline_settings.{name}={own}: give settings by name, for example {example}")


def refuse_reserved(given: Mapping[str, Any], reserved: Mapping[str, str], who: str = "benchmark") -> None:
    """Raise for settings that a benchmark chooses itself, and for unknown methods.

    ``reserved``: by dotted name, what to use instead.
    """
    for name, instead in reserved.items():
        value = _setting_at(given, name)
        if value is not None:
            raise FedfrError(f"--set {name}={value}: the {who} chooses this setting; use {instead} instead")
    for name in given.get("baseline_settings", {}):
        METHODS.entry(name)


def _setting_at(settings: Any, name: str) -> Any:
    """Return the setting with a dotted name, None if there is none."""
    for part in name.split("."):
        settings = settings.get(part) if isinstance(settings, Mapping) else None
    return settings


def _with_settings(cell: Cell, given: Mapping[str, Any]) -> Cell:
    """Return a cell with the user's settings, which override everything that it sets for one method or all."""
    local = given.get("local", {})

    def left(own: dict[str, Any]) -> dict[str, Any]:
        return own | {"local": {key: value for key, value in own.get("local", {}).items() if key not in local}}

    methods = {name: left(own) for name, own in cell.methods.items()}
    return cell.model_copy(update={"settings": merge(cell.settings, given), "methods": methods})
