"""``report.html`` of a run or a benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import yaml

from fedfr.benchmark import Benchmark
from fedfr.experiment import Experiment
from fedfr.files import read_json, write_atomically
from fedfr.reporting.page import Report, page

__all__ = ["open_report", "save_page", "write_report"]


def open_report(folder: str | Path) -> Report:
    """What a run's or a benchmark's page is made of; raises :class:`FedfrError` where nothing is finished yet."""
    folder = Path(folder)
    if Benchmark.is_at(folder):
        benchmark = Benchmark.open(folder)
        plan = benchmark.plan
        runs = benchmark.finished()
        title = f"Benchmark {plan.name}, budget {plan.budget}"
        settings = plan.model_dump(mode="json")
        first = f"{len(plan.methods)} methods, {len(runs)} of {len(plan.seeds)} seeds finished"
        return _report(title, [first, *runs[0].describe().splitlines()[1:]], runs, settings)
    run = Experiment.open(folder)
    return _report(f"Run {folder.resolve().name}", run.describe().splitlines(), [run], None)


def write_report(folder: str | Path, path: str | Path | None = None) -> Path:
    """Write the page, by default as ``report.html`` in the folder; returns where it is."""
    return save_page(open_report(folder), Path(folder) / "report.html" if path is None else Path(path))


def save_page(report: Report, path: Path) -> Path:
    """Write the page of an opened report; returns ``path``."""
    write_atomically(path, page(report).encode())
    return path


def _report(
    title: str, description: Sequence[str], runs: Sequence[Experiment], settings: Mapping[str, Any] | None
) -> Report:
    shown = _without_places(settings or runs[0].config.model_dump(mode="json"))
    return Report(
        title,
        description,
        [row for run in runs for row in run.results()],
        [curve for run in runs for curve in run.curves()],
        [row for run in runs for row in run.history()],
        [cost for run in runs for costs in run.costs().values() for cost in costs],
        yaml.safe_dump(shown, sort_keys=False, allow_unicode=True),
        read_json(runs[0].folder / "environment.json"),
    )


def _without_places(content: Any) -> Any:
    """Of absolute paths the last part: a page that is passed on need not tell where its maker keeps faces."""
    if isinstance(content, Mapping):
        return {name: _without_places(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_without_places(value) for value in content]
    return PurePath(content).name if isinstance(content, str) and PurePath(content).is_absolute() else content
