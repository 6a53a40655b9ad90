"""Report of a run or a benchmark: HTML page, figures and tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import yaml

from fedfr.config.schema import ExperimentConfig
from fedfr.core.files import read_json, write_atomically
from fedfr.experiments.benchmark import Benchmark
from fedfr.experiments.benchmark_plan import SCRATCH, Plan
from fedfr.experiments.deals import deals_of
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.privacy_audit import stored_audit
from fedfr.reporting.drawing import FORMATS, export
from fedfr.reporting.markup import TABLE_FORMATS
from fedfr.reporting.page import Report, Section, page

__all__ = ["cell_title", "open_report", "save_figures", "save_page", "save_tables", "shorten_paths", "write_report"]


def open_report(folder: str | Path) -> Report:
    """Return the report of a run or a benchmark; raises :class:`FedfrError` if nothing is finished yet."""
    folder = Path(folder)
    if not Benchmark.is_at(folder):
        run = Experiment.open(folder)
        settings = run.config.model_dump(mode="json")
        title = f"Run {folder.resolve().name}"
        report = _report(title, run.describe().splitlines(), [_section([run])], settings, run)
        return replace(report, audit=stored_audit(folder))
    benchmark = Benchmark.open(folder)
    plan, finished = benchmark.plan, benchmark.finished()
    (first, *_), *_ = finished.values()
    runs = sum(map(len, finished.values()))
    title = (
        f"Benchmark {plan.name}, " + (f"scenario {plan.scenario}, " if plan.scenario else "") + f"budget {plan.budget}"
    )
    lines = [f"{len(plan.methods)} methods, {runs} of {len(list(plan.runs()))} runs finished: {', '.join(finished)}"]
    lines += plan.untuned()
    if len(plan.cells) == 1:
        lines += [first.describe_rounds(), *first.describe().splitlines()[1:]]
    sections = [
        replace(
            _section(runs, cell, plan.cells[cell].at, plan.cells[cell].group),
            title=cell_title(plan, cell, runs[0].config),
            primary=plan.primary,
        )
        for cell, runs in finished.items()
    ]
    return _report(title, lines, sections, plan.model_dump(mode="json"), first, plan.axis)


def cell_title(plan: Plan, cell: str, config: ExperimentConfig) -> str:
    """Return the heading of a cell's results: a point of the scenario, or the starting model and the cell's name."""
    if plan.scenario:
        return f"{plan.axis}: {cell}"
    if config.model.start == SCRATCH:
        return f"Starting model: random weights, pre-trained on the public images ({cell})"
    how = "tuned on the public images" if config.pretrain.epochs else "as published"
    return f"Starting model: {PurePath(config.model.start).name}, {how} ({cell})"


def write_report(folder: str | Path, path: str | Path | None = None) -> Path:
    """Write the page, by default as ``report.html`` in the folder; returns its path."""
    return save_page(open_report(folder), Path(folder) / "report.html" if path is None else Path(path))


def save_page(report: Report, path: Path) -> Path:
    """Write the page of a report; returns ``path``."""
    write_atomically(path, page(report).encode())
    return path


def save_figures(report: Report, folder: Path) -> list[Path]:
    """Write every figure as PDF, SVG and PNG with the initially visible methods; returns the files."""
    methods = report.methods()
    return [
        _write(folder / f"{name}.{form}", export(chart, methods, form))
        for name, chart in report.charts.items()
        for form in FORMATS
    ]


def save_tables(report: Report, folder: Path) -> list[Path]:
    """Write every table as LaTeX (booktabs), Markdown and CSV; returns the files."""
    return [
        _write(folder / f"{name}.{form}", write(table).encode())
        for name, table in report.tables.items()
        for form, write in TABLE_FORMATS.items()
    ]


def _write(path: Path, content: bytes) -> Path:
    write_atomically(path, content)
    return path


def _section(runs: Sequence[Experiment], name: str = "", at: float | None = None, group: str = "") -> Section:
    return Section(
        [row for run in runs for row in run.results()],
        [curve for run in runs for curve in run.curves()],
        [row for run in runs for row in run.history()],
        [cost for run in runs for costs in ([run.starting_cost()], *run.costs().values()) for cost in costs],
        name,
        at,
        group,
        deals_of(runs),
        machines=[machine for run in runs for machine in run.machines()],
    )


def _report(
    title: str,
    description: Sequence[str],
    sections: Sequence[Section],
    settings: Mapping[str, Any],
    run: Experiment,
    axis: str = "",
) -> Report:
    # All text of the page passes through here.
    paths = [*_absolute_paths(settings), str(run.folder.resolve()), str(Path.home()), str(Path.cwd())]
    text = yaml.safe_dump(shorten_paths(settings, paths), sort_keys=False, allow_unicode=True)
    return Report(
        shorten_paths(title, paths),
        shorten_paths(description, paths),
        [_shorten_section(section, paths) for section in sections],
        text,
        shorten_paths(read_json(run.folder / "environment.json"), paths),
        axis,
    )


def _shorten_section(section: Section, paths: Sequence[str]) -> Section:
    rows = [replace(row, refused=shorten_paths(row.refused, paths)) if row.refused else row for row in section.rows]
    names = {"name": section.name, "title": section.title}
    return replace(section, rows=rows, **{name: shorten_paths(text, paths) for name, text in names.items()})


_REST = r"[^\s'\"`,;()\[\]{}<>|]"


def shorten_paths(content: Any, paths: Sequence[str] = ()) -> Any:
    """Replace every absolute path by its last part, so that a page does not reveal where faces are stored.

    ``paths`` are recognized within longer texts even if they contain spaces.
    """
    if isinstance(content, Mapping):
        return {shorten_paths(name, paths): shorten_paths(value, paths) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [shorten_paths(value, paths) for value in content]
    if not isinstance(content, str):
        return content
    if _is_path(content):
        return PurePath(content).name
    known = [re.escape(place) for place in sorted(filter(_is_path, paths), key=len, reverse=True)]
    # URLs are kept, as are slashes within a word: `and/or`, `images/s`.
    words = [rf"[A-Za-z][\w+.-]*://{_REST}*", *(rf"{place}{_REST}*" for place in known)]
    found = "|".join([*words, rf"(?<![\w./-])(?:~[\w-]*)?/{_REST}+"])
    return re.sub(found, lambda path: _last_part(path[0]), content)


def _last_part(path: str) -> str:
    url = "://" in path and not path.startswith("file:")
    return path if url else PurePath(path).name


def _is_path(text: str) -> bool:
    return "\n" not in text and (text.startswith("~/") or (PurePath(text).is_absolute() and len(text) > 1))


def _absolute_paths(content: Any) -> Iterator[str]:
    """Yield every text in nested settings that is an absolute path."""
    values = content.values() if isinstance(content, Mapping) else content if isinstance(content, list | tuple) else ()
    for value in values:
        yield from _absolute_paths(value)
    if isinstance(content, str) and _is_path(content):
        yield content
