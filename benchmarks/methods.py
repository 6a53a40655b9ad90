"""Stored results of ``fedfr benchmark`` in this repository, and the tables made from them.

Run: ``python benchmarks/methods.py FOLDER NAME --command "fedfr benchmark …"`` keeps the finished benchmark in FOLDER
as ``benchmarks/NAME/`` (``lfw-fed/scratch``, say): its plan without places, ``results.csv``, outcomes by person, where
and when it ran.
``python benchmarks/all.py --tables`` writes the tables into the documents; a test checks them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from difference_table import differences_table, headline_table
from fedfr.core.errors import FedfrError
from fedfr.experiments.benchmark_results import Result, read_results
from fedfr.reporting.benchmark_table import difference_text, overview_table, scorings_of
from fedfr.reporting.charts import Section
from fedfr.reporting.cost_columns import cost_note
from fedfr.reporting.drawing import export
from fedfr.reporting.gain import gain_chart, gain_table, section_gains
from fedfr.reporting.table import column_title, markdown_table
from fedfr.results.comparison import compare
from fedfr.results.costs import DealCosts, RoundCost, deal_costs
from fedfr.results.federation_gain import Gain
from fedfr.results.metric_groups import DISJOINT, Deals, Key, metric_groups, shared_metrics
from fedfr.results.result_rows import PLAIN, Row
from harness import sleeping_threads
from kept import about, keep, kept_deals, kept_primary, where
from paper_claims import GENERIC, SEARCH, VERIFY, claims_table, figure_table
from trial_records import chosen, read_trials

__all__ = [
    "changes",
    "changes_table",
    "claims",
    "costs",
    "costs_table",
    "differences",
    "draw_worth",
    "figure",
    "headline",
    "overview",
    "trials",
    "worth",
    "worth_figure",
    "worth_table",
]

HERE = Path(__file__).parent
NO_DEALS: Mapping[str, Deals] = {}


def overview(folder: Path) -> str:
    """Return every model at the strictest rate that all have, one Markdown table per starting point."""
    parts = []
    results, note = read_results(folder / "results.csv"), ""
    for cell, rows in _by_cell(results):
        seeds = len({row.seed for row in rows})
        costs = _deal_costs([result for result in results if result.cell == cell], about(folder).get("machines", ()))
        note = cost_note(costs)
        for scoring in scorings_of(rows):
            head, lines = overview_table(rows, costs, scoring)
            scored = "" if scoring == PLAIN else f", scoring {scoring} (descriptive)"
            title = f"From {cell}{scored}, {seeds} seed{'s' if seeds > 1 else ''} (%; in brackets the worst client):"
            parts.append(f"{title}\n\n{markdown_table(head, lines)}")
    return "\n\n".join([*parts, note, where(folder)])


def _deal_costs(results: Sequence[Result], machines: Iterable[str] = ()) -> DealCosts:
    every = {(result.row.method, result.row.seed): _cost(result) for result in results}
    return deal_costs(every.values(), machines)


def claims(folder: Path) -> str:
    """Return the paper's claims compared with these results, one table per starting point."""
    results = read_results(folder / "results.csv")
    parts = [
        f"From {cell}:\n\n{claims_table(rows, deals=kept_deals(folder, cell))}" for cell, rows in _by_cell(results)
    ]
    return "\n\n".join([*parts, where(folder)])


def differences(folder: Path) -> str:
    """Return the primary comparisons and every method's differences, for each starting point or cell."""
    results = read_results(folder / "results.csv")
    primary = kept_primary(folder)
    parts = [
        f"From {cell}:\n\n{differences_table(rows, kept_deals(folder, cell), primary)}"
        for cell, rows in _by_cell(results)
    ]
    return "\n\n".join([*parts, where(folder)])


def headline(folder: Path) -> str:
    """Return the main methods in 1:1 and FedFR minus each, from the first starting point."""
    cell, rows = next(_by_cell(read_results(folder / "results.csv")))
    return f"{headline_table(rows, kept_deals(folder, cell), kept_primary(folder))} {where(folder)}"


def trials(folder: Path) -> str:
    """Return the settings that a kept search chose, with the number of trials and the score of the best one."""
    made = read_trials(folder / "trials.csv")
    lines = []
    for method, best in chosen(made).items():
        settings = ", ".join(f"{name} {value:g}" for name, value in best.settings.items())
        number = sum(trial.method == method for trial in made)
        score = "diverged" if best.score is None else f"{100 * best.score:.2f}"
        open_ends = about(folder).get("open", {}).get(method, {})
        left = ", ".join(f"{name}: {why}" for name, why in open_ends.items())
        lines.append((method, settings, str(number), score, left))
    table = markdown_table(("method", "chosen", "trials", "score (%)", "not bracketed"), lines)
    return f"{table}\n\n{where(folder)}"


def costs(folder: Path) -> str:
    """Return the costs of every method, from the first starting point."""
    results = read_results(folder / "results.csv")
    cell = results[0].cell
    return f"{costs_table([result for result in results if result.cell == cell])}\n\n{where(folder)}"


def changes(folder: Path) -> str:
    """Return the differences of every cell from the first, see :func:`changes_table`."""
    results = read_results(folder / "results.csv")
    # Differences are between cells, and the outcomes by person belong to one.
    deals = replace(kept_deals(folder, results[0].cell), outcomes={})
    return f"{changes_table(results, deals)}\n\n{where(folder)}"


def changes_table(results: Sequence[Result], deals: Deals = DISJOINT) -> str:
    """Return every model at its strictest shared rate: first cell, paired differences of the others, traffic.

    The differences are descriptive: uncorrected intervals.
    """
    (first, base), *others = _by_cell(results)
    head = ("model", "metric", first, *(f"{cell} − {first} [95 %]" for cell, _ in others))
    lines: list[tuple[str, ...]] = []
    trained = [row for row in base if row.method != "pretrained"]
    for key in dict.fromkeys((row.method, row.model) for row in trained):
        for protocol in (GENERIC, VERIFY, SEARCH):
            every = {cell: _of(rows, key, protocol, cell) for cell, rows in ((first, base), *others)}
            together = [row for rows in every.values() for row in rows]
            for metric in shared_metrics(together, protocol)[:1]:
                (group,) = (each for each in metric_groups(together, deals) if each.metric == metric)
                start = fmean(group.values[first, key[1]].values())
                found = (compare(group, (cell, key[1]), (first, key[1])) for cell, _ in others)
                lines.append(
                    (column_title(*key), f"{protocol} {metric}", f"{100 * start:.1f}", *map(difference_text, found))
                )
    for method in dict.fromkeys(row.method for row in trained):
        up = {result.cell: result.bytes_up for result in results if result.row.method == method}
        share = (f"{100 * up[cell] / up[first]:.0f} %" for cell, _ in others)
        lines.append((method, "bytes sent up by the clients", f"{up[first] / 1e6:.0f} MB", *share))
    return markdown_table(head, lines)


def figure(folder: Path) -> str:
    """Return the paper's figure, the generic models against identities per client, with verdicts."""
    plan = yaml.safe_load((folder / "plan.yaml").read_text(encoding="utf-8"))
    results = read_results(folder / "results.csv")
    places = {cell: float(plan["cells"][cell]["at"]) for cell, _ in _by_cell(results)}
    rows = {places[cell]: own for cell, own in _by_cell(results)}
    deals = {at: kept_deals(folder, cell) for cell, at in places.items()}
    return f"{figure_table(rows, plan['axis'], deals)}\n\n{where(folder)}"


def worth(folder: Path) -> str:
    """Return figure and table of the gain of the federation along a scenario's axis."""
    plan = yaml.safe_load((folder / "plan.yaml").read_text(encoding="utf-8"))
    table = worth_table(read_results(folder / "results.csv"), plan, _deals(folder, plan))
    figure = f"![Gain of the federation against {plan['axis']}](../_static/{worth_figure(folder).name})"
    return f"{figure}\n\n{table}\n\n{where(folder)}"


def worth_figure(folder: Path) -> Path:
    """Return the place of a scenario's figure in the documentation."""
    return HERE.parent / "docs" / "_static" / f"{folder.parent.name}-{folder.name}.svg"


def draw_worth(folder: Path) -> None:
    """Draw the figure of a scenario."""
    plan = yaml.safe_load((folder / "plan.yaml").read_text(encoding="utf-8"))
    found = _gains(read_results(folder / "results.csv"), plan, _deals(folder, plan))
    worth_figure(folder).write_bytes(export(gain_chart(plan["axis"], found), (), "svg"))


def _deals(folder: Path, plan: Mapping[str, Any]) -> dict[str, Deals]:
    return {cell: kept_deals(folder, cell) for cell in plan["cells"]}


def worth_table(results: Sequence[Result], plan: Mapping[str, Any], deals: Mapping[str, Deals] = NO_DEALS) -> str:
    """Return the table of :func:`worth` and how to read it; ``plan`` has the axis and the cells with their places.

    ``deals``: what the seeds of a cell have in common, by cell; nothing where it is not given.
    """
    table = gain_table(plan["axis"], _gains(results, plan, deals))
    return f"{markdown_table(table.head, table.lines)}\n\n{table.note}"


def _gains(results: Sequence[Result], plan: Mapping[str, Any], deals: Mapping[str, Deals]) -> list[Gain]:
    sections = []
    for cell, rows in _by_cell(results):
        place = plan["cells"][cell]
        own = [_cost(result) for result in results if result.cell == cell]
        costs = list({(cost.method, cost.seed): cost for cost in own}.values())
        sections.append(
            Section(rows, [], [], costs, cell, place.get("at"), place.get("group", ""), deals.get(cell, DISJOINT))
        )
    return section_gains(sections)


def _cost(result: Result) -> RoundCost:
    row = result.row
    names = ("client_seconds", "bytes_up", "bytes_down", "steps", "images", "alone_seconds")
    return RoundCost(row.method, row.seed, row.round, **{name: getattr(result, name) for name in names})


def _of_all_cells(cells: Iterable[Sequence[Row]], protocol: str) -> list[str]:
    """Return the metrics that all models of all cells have, strictest first."""
    each = [shared_metrics(rows, protocol) for rows in cells]
    return [metric for metric in each[0] if all(metric in others for others in each)]


def _of(rows: Sequence[Row], key: Key, protocol: str, name: str) -> list[Row]:
    """Return one model's rows with ``name`` as the method."""
    ours = [row for row in rows if (row.method, row.model) == key and row.protocol == protocol]
    return [replace(row, method=name) for row in ours]


def costs_table(results: Sequence[Result]) -> str:
    """Return traffic per client and round, and time relative to FedAvg, as Markdown; for full participation."""
    first: dict[str, Result] = {}
    for result in results:
        first.setdefault(result.row.method, result)
    clients = len({result.row.client for result in results if result.row.client})
    base = _cost(first["fedavg"]).charged_seconds
    head, lines = ("method", "MB up", "MB down", "time, FedAvg = 1", "peak memory (GB)"), []
    for name, cost in first.items():
        rounds = max(result.row.round for result in results if result.row.method == name)
        if not rounds:
            continue
        updates = rounds * (1 if name == "centralized" else clients)
        up, down = (f"{size / updates / 1e6:.1f}" for size in (cost.bytes_up, cost.bytes_down))
        spent = _cost(cost).charged_seconds
        time = f"{spent / base:.1f}" if spent is not None and base else "–"
        lines.append((name, up, down, time, "–" if cost.peak_bytes is None else f"{cost.peak_bytes / 1e9:.1f}"))
    return markdown_table(head, lines)


def _by_cell(results: Sequence[Result]) -> Iterator[tuple[str, list[Row]]]:
    for cell in dict.fromkeys(result.cell for result in results):
        yield cell, [result.row for result in results if result.cell == cell]


def main() -> None:
    """Store a benchmark's results."""
    sleeping_threads()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("name")
    parser.add_argument("--command", required=True)
    given = parser.parse_args()
    try:
        print(keep(given.folder, given.name, given.command))
    except FedfrError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
