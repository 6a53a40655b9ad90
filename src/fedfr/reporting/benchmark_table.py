"""Tables of a benchmark: a metric of every model, and its paired differences from the reference models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fedfr.evaluation.protocols import PAIRS_PROTOCOLS, SET_PROTOCOLS
from fedfr.reporting.markup import PageTable
from fedfr.reporting.table import column_title, results_table
from fedfr.reporting.text_tables import text_table, wrapped
from fedfr.results.comparison import (
    DISJOINT,
    Deals,
    Difference,
    Key,
    MetricGroup,
    MetricSummary,
    compare,
    metric_groups,
    shared_metrics,
    summaries,
)
from fedfr.results.intervals import FEWEST_DEALS, holm
from fedfr.results.result_rows import Row

__all__ = ["BenchmarkTable", "benchmark_tables", "overview_table", "points", "results_text"]

AGAINST = ("fedavg", "fedfr")
SIGNIFICANCE = 0.05
_END_OF_INTERVAL = re.compile(r"\((low|high)95\)")


@dataclass(frozen=True)
class BenchmarkTable:
    """One metric of every model in %, and the conclusion that the differences allow."""

    protocol: str
    metric: str
    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    conclusion: str

    def text(self, width: int = 80) -> str:
        """Return the table for a terminal; significant differences have an asterisk."""
        head = (self.head[0], *(title.replace(" ", "\n") for title in self.head[1:]))
        lines = [[f"{cell[2:-2]}*" if cell.startswith("**") else cell for cell in line] for line in self.lines]
        marked = " *: significant." if any(cell.endswith("*") for line in lines for cell in line) else ""
        title = f"{self.protocol}, {self.metric} (%)"
        return "\n".join([title, "", text_table(head, lines, width), "", wrapped(self.conclusion + marked, width)])

    def for_page(self) -> PageTable:
        """Return the table for a page or a file; significant differences are bold."""
        name = re.sub(r"[^a-z0-9.+-]+", "-", f"{self.protocol}-{self.metric}", flags=re.IGNORECASE).strip("-")
        title = f"{self.protocol}, {self.metric} (%)"
        return PageTable(name, title, self.head, self.lines, self.conclusion)


def benchmark_tables(rows: Sequence[Row], deals: Deals = DISJOINT) -> list[BenchmarkTable]:
    """Return one table per protocol and metric that has values; ``deals`` is what the seeds of the rows share.

    Ends of intervals, which verification sets have for every model and seed, have no table: their means are none.
    """
    groups = (group for group in metric_groups(rows, deals) if not _END_OF_INTERVAL.search(group.metric))
    return [_table(group) for group in groups if group.values]


def results_text(rows: Sequence[Row], width: int = 80, deals: Deals = DISJOINT) -> str:
    """Return text for a terminal: the table of a run, or one table per metric of a benchmark with several seeds."""
    if len({row.seed for row in rows}) == 1:
        return results_table(rows, width)
    return "\n\n".join(table.text(width) for table in benchmark_tables(rows, deals))


def overview_table(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return head and lines: each model's mean (worst client) in %, per protocol at the strictest rate that all have.

    The released convention of 1:N is not included, nor metrics without a rate where the protocol has one with a rate.
    """
    models = dict.fromkeys((row.method, row.model) for row in rows)
    kept = []
    ours = {(group.protocol, group.metric): group for group in metric_groups(rows)}
    for protocol in dict.fromkeys(row.protocol for row in rows):
        metrics = [metric for other, metric in ours if other == protocol and "=" not in metric]
        kept += [ours[protocol, metric] for metric in (shared_metrics(rows, protocol) or metrics)[:1]]
    found = [summaries(group) for group in kept]
    head = ("model", *(f"{group.protocol} {group.metric}" for group in kept))
    return head, [(column_title(*key), *(_short(each.get(key)) for each in found)) for key in models]


def _short(summary: MetricSummary | None) -> str:
    if summary is None:
        return "–"
    return _mean(summary) + ("" if summary.worst is None else f" ({_percent(summary.worst)})")


def _table(group: MetricGroup) -> BenchmarkTable:
    personal = any(client for values in group.values.values() for _, client in values)
    measured = [key for name in AGAINST if (key := _measured_against(group, name, personal)) is not None]
    differences = {other: _differences(group, other) for other in measured}
    compared = any(each.low is not None for found in differences.values() for each, _ in found.values())
    titles = [f"− {column_title(*key)}{' [95 %]' if compared else ''}" for key in measured]
    head = ("model", "mean", *(["worst client"] if personal else []), "seeds", *titles)
    lines = []
    for key, summary in summaries(group).items():
        cells = [column_title(*key), _mean(summary), *([_percent(summary.worst)] if personal else [])]
        cells.append(str(summary.seeds))
        cells += ["" if key == other else _difference(differences[other].get(key)) for other in measured]
        lines.append(tuple(cells))
    return BenchmarkTable(group.protocol, group.metric, head, tuple(lines), _conclusion(group))


def _measured_against(group: MetricGroup, method: str, personal: bool) -> Key | None:
    """Return the method's personalized model for metrics of clients if it has one, else its generic model."""
    for model in ("personalized", "generic") if personal else ("generic",):
        if (method, model) in group.values:
            return method, model
    return None


def _conclusion(group: MetricGroup) -> str:
    seeds = {seed for values in group.values.values() for seed, _ in values}
    deals = group.deals
    if len(seeds) < FEWEST_DEALS:
        several = f"{len(seeds)} seeds are" if len(seeds) > 1 else "One seed is"
        shared = f" The seeds share {deals.shared} of {deals.people} people in training." if deals.shared else ""
        return f"{several} too few for an interval, which needs {FEWEST_DEALS}; the order may be chance.{shared}"
    if deals.shared:
        by_two = f" (two share up to {deals.shared_by_two})" if deals.shared_by_two else ""
        return (
            f"No intervals: {deals.shared} of the {deals.people} people whom clients train on belong to several of the "
            f"{len(seeds)} seeds{by_two}, which are therefore no replications; the order may be chance."
        )
    same_pairs = group.protocol.startswith((*SET_PROTOCOLS, *PAIRS_PROTOCOLS))
    scope = (
        "these pairs, most of which all seeds are tested on"
        if same_pairs
        else "faces, cameras and numbers of clients like these"
    )
    return (
        f"Intervals are t intervals over {len(seeds)} seeds with different people. A difference is marked where it is "
        f"not 0 at the level of 5 %, corrected for the number of models (Holm). It holds for {scope}."
    )


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def points(value: float) -> str:
    """Format a difference in percentage points with its sign; what rounds to zero is +0.0."""
    return f"{round(100 * value, 1) + 0.0:+.1f}"


def _mean(summary: MetricSummary) -> str:
    return _percent(summary.mean) + ("" if summary.deviation is None else f" ± {100 * summary.deviation:.1f}")


def _differences(group: MetricGroup, other: Key) -> dict[Key, tuple[Difference, float]]:
    """Return every model's difference from ``other`` with its p-value, corrected for the number of models (Holm)."""
    found = {key: each for key in group.values if key != other and (each := compare(group, key, other)) is not None}
    tested = {key: each.p_value for key, each in found.items() if each.p_value is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    return {key: (each, corrected.get(key, 1.0)) for key, each in found.items()}


def _difference(found: tuple[Difference, float] | None) -> str:
    if found is None:
        return "–"
    difference, p_value = found
    if difference.low is None or difference.high is None:
        return points(difference.mean)
    text = f"{points(difference.mean)} [{points(difference.low)}, {points(difference.high)}]"
    return f"**{text}**" if p_value < SIGNIFICANCE else text
