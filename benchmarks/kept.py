"""Benchmarks kept in this repository: plan, results, outcomes by person, and where and when they were made."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from fedfr.core.errors import FedfrError
from fedfr.core.settings import validate
from fedfr.experiments.benchmark import Benchmark
from fedfr.experiments.benchmark_plan import Plan
from fedfr.experiments.benchmark_results import write_results
from fedfr.experiments.deals import deals_of
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.report import shorten_paths
from fedfr.results.metric_groups import Deals, rate_of, shared_metrics
from fedfr.results.person_effects import outcomes_by_deal
from fedfr.results.primary_family import Primary
from fedfr.results.result_rows import PLAIN, Row, scoring_of
from harness import place
from people_archive import PeopleArchive, read_people

__all__ = ["OTHERS", "PEOPLE", "about", "keep", "kept_deals", "kept_primary", "strict_metrics", "where"]

HERE = Path(__file__).parent
PEOPLE, OTHERS = "people.npz", "people-others.npz"
"""Outcomes by person that tables need, and those of other rates and scorings, which nothing else keeps."""
_SHARED = ("people", "shared", "shared_by_two", "tested")


def keep(folder: Path, name: str, command: str) -> Path:
    """Copy plan and results of a benchmark to ``benchmarks/NAME``.

    Raises :class:`FedfrError` if a planned run is not finished: means over the finished ones would be of other deals.
    """
    benchmark = Benchmark.open(folder)
    if unfinished := benchmark.unfinished():
        (cell, seed), every = unfinished[0], len(list(benchmark.plan.runs()))
        raise FedfrError(
            f"{folder}: {len(unfinished)} of {every} runs are not finished, the first is {cell}, seed {seed}; repeat "
            "the command that began the benchmark, then keep it"
        )
    runs, target = benchmark.finished(), HERE / name
    target.mkdir(parents=True, exist_ok=True)
    write_results(target / "results.csv", benchmark.results())
    _write_people(target, runs)
    plan = shorten_paths(benchmark.plan.model_dump(mode="json"))
    (target / "plan.yaml").write_text(yaml.safe_dump(plan, sort_keys=False), encoding="utf-8")
    deals = {cell: deals_of(own) for cell, own in runs.items()}
    shared = {cell: {name: getattr(each, name) for name in _SHARED} for cell, each in deals.items()}
    machines = [machine for every in runs.values() for run in every for machine in run.machines()]
    content = {"command": command, **place(), "kept": time.strftime("%Y-%m-%d"), "deals": shared}
    content |= {"machines": list(dict.fromkeys(machines))}
    (target / "about.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return target


def about(folder: Path) -> dict[str, Any]:
    """Return where and when kept results were made."""
    found: dict[str, Any] = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    return found


def kept_deals(folder: Path, cell: str) -> Deals:
    """Return what the seeds of a cell have in common, with the outcomes of the people they are tested on."""
    shared = about(folder).get("deals", {})
    own = shared if "people" in shared else shared.get(cell, {})
    outcomes = outcomes_by_deal(record for name, record in read_people(folder / PEOPLE) if name == cell)
    return Deals(**own, outcomes=outcomes)


def kept_primary(folder: Path) -> Primary | None:
    """Return the family of comparisons that the benchmark's plan declared before its runs, None without one."""
    declared = yaml.safe_load((folder / "plan.yaml").read_text(encoding="utf-8")).get("primary")
    return None if declared is None else validate(Primary, declared, f"primary of {folder}/plan.yaml")


def where(folder: Path) -> str:
    """Return the line below a table: command, machine, date, commit, and methods of which no settings were chosen."""
    found, notes = about(folder), list[str]()
    if (folder / "results.csv").exists():
        notes = validate(
            Plan, yaml.safe_load((folder / "plan.yaml").read_text(encoding="utf-8")), str(folder)
        ).untuned()
    place = f"`{found['command']}`; {found['machine']}, {found['date']}, commit {found['commit']}"
    return "; ".join([place, *notes])


def strict_metrics(cells: Iterable[Sequence[Row]]) -> set[tuple[str, str]]:
    """Return protocol and metric of plain scoring that tables compare: at the strictest rate that all models have.

    Of several cells the strictest common one counts; stricter ones, which some pairs of models have, are included.
    """
    every = [[row for row in rows if scoring_of(row.protocol) == PLAIN] for rows in cells]
    found: set[tuple[str, str]] = set()
    for protocol in dict.fromkeys(row.protocol for rows in every for row in rows):
        shared = [shared_metrics(rows, protocol) for rows in every]
        common = [metric for metric in shared[0] if all(metric in others for others in shared)]
        metrics = {row.metric for rows in every for row in rows if row.protocol == protocol and "=" in row.metric}
        found |= {(protocol, metric) for metric in metrics if common and rate_of(metric) <= rate_of(common[0])}
    return found


def _write_people(target: Path, runs: Mapping[str, Sequence[Experiment]]) -> None:
    """Write all outcomes by person: those of :func:`strict_metrics`, and apart those of other rates and scorings."""
    wanted = strict_metrics([[row for run in each for row in run.results()] for each in runs.values()])
    archives = {PEOPLE: PeopleArchive(), OTHERS: PeopleArchive()}
    for cell, each in runs.items():
        for record in (record for run in each for record in run.person_records()):
            archives[PEOPLE if (record.protocol, record.metric) in wanted else OTHERS].add(cell, record)
    for name, archive in archives.items():
        archive.write(target / name)
