"""``report.html`` of a run or a benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import yaml

from fedfr.benchmark import Benchmark
from fedfr.experiment import Experiment
from fedfr.files import read_json, write_atomically
from fedfr.reporting.page import Report, Section, page

__all__ = ["open_report", "save_page", "without_places", "write_report"]


def open_report(folder: str | Path) -> Report:
    """What a run's or a benchmark's page is made of; raises :class:`FedfrError` where nothing is finished yet."""
    folder = Path(folder)
    if not Benchmark.is_at(folder):
        run = Experiment.open(folder)
        settings = run.config.model_dump(mode="json")
        return _report(f"Run {folder.resolve().name}", run.describe().splitlines(), [_section([run])], settings, run)
    benchmark = Benchmark.open(folder)
    plan, finished = benchmark.plan, benchmark.finished()
    (first, *_), *_ = finished.values()
    runs = sum(map(len, finished.values()))
    title = (
        f"Benchmark {plan.name}, " + (f"scenario {plan.scenario}, " if plan.scenario else "") + f"budget {plan.budget}"
    )
    lines = [f"{len(plan.methods)} methods, {runs} of {len(list(plan.runs()))} runs finished: {', '.join(finished)}"]
    if len(plan.cells) == 1:
        lines += first.describe().splitlines()[1:]
    sections = [_section(runs, cell, plan.cells[cell].at, plan.cells[cell].group) for cell, runs in finished.items()]
    return _report(title, lines, sections, plan.model_dump(mode="json"), first, plan.axis)


def write_report(folder: str | Path, path: str | Path | None = None) -> Path:
    """Write the page, by default as ``report.html`` in the folder; returns where it is."""
    return save_page(open_report(folder), Path(folder) / "report.html" if path is None else Path(path))


def save_page(report: Report, path: Path) -> Path:
    """Write the page of an opened report; returns ``path``."""
    write_atomically(path, page(report).encode())
    return path


def _section(runs: Sequence[Experiment], name: str = "", at: float | None = None, group: str = "") -> Section:
    return Section(
        [row for run in runs for row in run.results()],
        [curve for run in runs for curve in run.curves()],
        [row for run in runs for row in run.history()],
        [cost for run in runs for costs in run.costs().values() for cost in costs],
        name,
        at,
        group,
    )


def _report(
    title: str,
    description: Sequence[str],
    sections: Sequence[Section],
    settings: Mapping[str, Any],
    run: Experiment,
    axis: str = "",
) -> Report:
    text = yaml.safe_dump(without_places(settings), sort_keys=False, allow_unicode=True)
    return Report(title, description, sections, text, read_json(run.folder / "environment.json"), axis)


def without_places(content: Any) -> Any:
    """Of absolute paths the last part: a page that is passed on need not tell where its maker keeps faces."""
    if isinstance(content, Mapping):
        return {name: without_places(value) for name, value in content.items()}
    if isinstance(content, list):
        return [without_places(value) for value in content]
    return PurePath(content).name if isinstance(content, str) and PurePath(content).is_absolute() else content
