"""Tables of a benchmark: a metric of every model, and its paired differences from the reference models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fedfr.evaluation.protocols import PAIRS_PROTOCOLS, SET_PROTOCOLS
from fedfr.reporting.cost_columns import COST_HEAD, cost_cells, cost_note, costs_text
from fedfr.reporting.markup import PageTable
from fedfr.reporting.table import column_title, results_table
from fedfr.reporting.text_tables import broken_title, text_table, wrapped
from fedfr.results.comparison import Difference, compare
from fedfr.results.costs import DealCosts
from fedfr.results.intervals import FEWEST_DEALS, FEWEST_PEOPLE
from fedfr.results.metric_groups import (
    DISJOINT,
    Deals,
    Key,
    MetricGroup,
    MetricSummary,
    better_model,
    meant_model,
    metric_groups,
    shared_metrics,
    summaries,
)
from fedfr.results.result_rows import PLAIN, SCORINGS, Row, scoring_of

__all__ = [
    "DESCRIPTIVE",
    "FEW_PEOPLE",
    "BenchmarkTable",
    "benchmark_tables",
    "difference_text",
    "overview_table",
    "points",
    "results_text",
    "scorings_of",
    "tables_text",
]

BASELINE, MAIN = "fedavg", "fedfr"
UNKNOWN_COSTS = DealCosts()
FEW_PEOPLE = (
    f"A difference without an interval rests on fewer than {FEWEST_PEOPLE} people with different outcomes, is the same "
    "in all deals, or is near 0 or 100 % in a run without `evaluation.people`."
)
"""Note on differences that have no interval although there are enough deals."""
DESCRIPTIVE = (
    "Descriptive: each interval stands alone, uncorrected for the number of comparisons, and no difference here is a "
    "result; results are the primary comparisons, where the benchmark declared some before its runs."
)
"""Label of differences that were not declared before the runs."""
_Places = Mapping[str, set[tuple[int, str]]]
_END_OF_INTERVAL = re.compile(r"\((low|high)95\)")


@dataclass(frozen=True)
class BenchmarkTable:
    """One metric of every model in %, and the conclusion that the differences allow.

    The last ``cost_columns`` of the columns are costs.
    """

    protocol: str
    metric: str
    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    conclusion: str
    cost_columns: int = 0

    def text(self, width: int = 80) -> str:
        """Return the table for a terminal."""
        head, lines = [broken_title(title) for title in self.head], self.lines
        title = f"{self.protocol}, {self.metric} (%)"
        whole = text_table(head, lines, width)
        if "\n\n" in whole and self.cost_columns:
            # Costs are kept together, also where the models' figures take several blocks.
            costs = [0, *range(len(head) - self.cost_columns, len(head))]
            blocks = [range(len(head) - self.cost_columns), costs]
            whole = "\n\n".join(
                text_table(
                    [head[place] for place in block], [[line[place] for place in block] for line in lines], width
                )
                for block in blocks
            )
        return "\n".join([title, "", whole, "", wrapped(self.conclusion, width)])

    def for_page(self) -> PageTable:
        """Return the table for a page or a file."""
        name = re.sub(r"[^a-z0-9.+-]+", "-", f"{self.protocol}-{self.metric}", flags=re.IGNORECASE).strip("-")
        title = f"{self.protocol}, {self.metric} (%)"
        return PageTable(name, title, self.head, self.lines, self.conclusion)


def benchmark_tables(
    rows: Sequence[Row], deals: Deals = DISJOINT, costs: DealCosts = UNKNOWN_COSTS
) -> list[BenchmarkTable]:
    """Return one table per protocol and metric that has values, those of plain scoring first.

    ``deals`` is what the seeds of the rows share. Ends of intervals, which verification sets have for every model and
    seed, have no table: their means are none.
    """
    groups = [group for group in metric_groups(rows, deals) if not _END_OF_INTERVAL.search(group.metric)]
    groups.sort(key=lambda group: SCORINGS.index(scoring_of(group.protocol)))
    places = _places(rows)
    return [_table(group, costs, places) for group in groups if group.values]


def _strictest_metrics(rows: Sequence[Row], scoring: str) -> list[MetricGroup]:
    """Return the metric of each protocol that overviews show: the strictest at a rate that all models have.

    The first metric where the protocol has none with a rate. Only protocols with this scoring are included.
    """
    rows = [row for row in rows if scoring_of(row.protocol) == scoring]
    groups = {(group.protocol, group.metric): group for group in metric_groups(rows)}
    found = []
    for protocol in dict.fromkeys(row.protocol for row in rows):
        metrics = [metric for other, metric in groups if other == protocol and "=" not in metric]
        found += [groups[protocol, metric] for metric in (shared_metrics(rows, protocol) or metrics)[:1]]
    return found


def tables_text(tables: Sequence[BenchmarkTable], costs: DealCosts, width: int = 80) -> str:
    """Return tables for a terminal, with a note on the costs below the last one."""
    note = cost_note(costs)
    return "\n\n".join([*(table.text(width) for table in tables), *([wrapped(note, width)] if note else [])])


def results_text(
    rows: Sequence[Row], width: int = 80, deals: Deals = DISJOINT, costs: DealCosts = UNKNOWN_COSTS
) -> str:
    """Return text for a terminal: tables of a run and its costs, or one table per metric of several seeds."""
    if len({row.seed for row in rows}) == 1:
        return "\n\n".join([results_table(rows, width), *costs_text(costs, [row.method for row in rows], width)])
    return tables_text(benchmark_tables(rows, deals, costs), costs, width)


def overview_table(
    rows: Sequence[Row], costs: DealCosts = UNKNOWN_COSTS, scoring: str = PLAIN
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return head and lines: each model's mean (worst client) in %, in the strictest metric of every protocol.

    Only results with this scoring are included: scoring is no merit of a method. Costs follow where they are known.
    """
    models = dict.fromkeys((row.method, row.model) for row in rows if scoring_of(row.protocol) == scoring)
    kept = _strictest_metrics(rows, scoring)
    found = [(group, summaries(group)) for group in kept]
    places = _places(rows)
    titles = (f"{group.protocol.removesuffix(f' {scoring}')} {group.metric}" for group in kept)
    lines = [
        (
            column_title(*key),
            *(_short(each.get(key)) + _missing(group, key, places) for group, each in found),
            *_cost_cells(costs, key[0]),
        )
        for key in models
    ]
    return ("model", *titles, *_cost_head(costs)), lines


def scorings_of(rows: Iterable[Row]) -> list[str]:
    """Return the scorings of which there are results, plain first."""
    return sorted({scoring_of(row.protocol) for row in rows}, key=SCORINGS.index)


def _cost_head(costs: DealCosts) -> tuple[str, ...]:
    return COST_HEAD if costs.methods else ()


def _cost_cells(costs: DealCosts, method: str) -> tuple[str, ...]:
    return cost_cells(costs, method) if costs.methods else ()


def _short(summary: MetricSummary | None) -> str:
    if summary is None:
        return "–"
    return _mean(summary) + ("" if summary.worst is None else f" ({_percent(summary.worst)})")


def _table(group: MetricGroup, costs: DealCosts, places: _Places) -> BenchmarkTable:
    personal = any(client for values in group.values.values() for _, client in values)
    references, compared = _compared(group)
    intervals = any(each is not None and each.low is not None for each in compared.values())
    titles = [f"− {column_title(*key)}{' [95 %]' if intervals else ''}" for key in references]
    head = ("model", "mean", *(["worst client"] if personal else []), "seeds", *titles, *_cost_head(costs))
    lines = []
    for key, summary in summaries(group).items():
        cells = [
            column_title(*key),
            _mean(summary) + _missing(group, key, places),
            *([_percent(summary.worst)] if personal else []),
        ]
        cells.append(str(summary.seeds))
        cells += [difference_text(compared[key, other]) if (key, other) in compared else "" for other in references]
        lines.append((*cells, *_cost_cells(costs, key[0])))
    notes = []
    if references and len({name for name, _ in group.values}) < len(group.values):
        notes.append(
            "Of a method with two models, the one with the higher mean over all seeds is compared, which favours it."
        )
    if any(found is not None and found.few for found in compared.values()):
        notes.append(FEW_PEOPLE)
    conclusion = " ".join([*notes, _conclusion(group)])
    return BenchmarkTable(group.protocol, group.metric, head, tuple(lines), conclusion, len(_cost_head(costs)))


def _compared(group: MetricGroup) -> tuple[list[Key], dict[tuple[Key, Key], Difference | None]]:
    """Return the reference models, and the differences of the better model of every other method with each.

    FedFR is represented by the model that it is meant to have here; the choice is made only for methods it competes
    with.
    """
    better = {name: better_model(group, name) for name, _ in group.values}
    references = [key for key in (better.get(BASELINE), meant_model(group, MAIN)) if key is not None]
    pairs = [
        (key, other) for other in references for key in group.values if key == better[key[0]] and key[0] != other[0]
    ]
    return references, {pair: compare(group, *pair) for pair in pairs}


def _places(rows: Iterable[Row]) -> _Places:
    """Return the seeds and clients of each protocol, also those whose metrics are refused."""
    found: dict[str, set[tuple[int, str]]] = {}
    for row in rows:
        found.setdefault(row.protocol, set()).add((row.seed, row.client))
    return found


def _missing(group: MetricGroup, key: Key, places: _Places) -> str:
    """Return how many clients a model's mean is over if they are not all of its seeds'; empty if they are."""
    own = group.values.get(key, {}).keys()
    seeds = {seed for seed, client in own if client}
    every = sum(seed in seeds for seed, _ in places[group.protocol])
    return f" ({len(own)} of {every} clients)" if seeds and len(own) < every else ""


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
    same_pairs = not group.outcomes and group.protocol.startswith((*SET_PROTOCOLS, *PAIRS_PROTOCOLS))
    scope = (
        "these pairs, most of which all seeds are tested on, not for other people"
        if same_pairs
        else "faces, cameras and numbers of clients like these"
    )
    others = f" {deals.note}" if deals.note and group.protocol.startswith("generic") else ""
    return (
        f"{DESCRIPTIVE} Intervals are t intervals over {len(seeds)} seeds with different people.{others} They hold for "
        f"{scope}, and for the public set and the starting file that all seeds have in common."
    )


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def points(value: float) -> str:
    """Format a difference in percentage points with its sign; what rounds to zero is +0.0."""
    return f"{round(100 * value, 1) + 0.0:+.1f}"


def _mean(summary: MetricSummary) -> str:
    return _percent(summary.mean) + ("" if summary.deviation is None else f" ± {100 * summary.deviation:.1f}")


def difference_text(found: Difference | None) -> str:
    """Format a difference in percentage points, with its interval if there is one; a dash for None."""
    if found is None:
        return "–"
    if found.low is None or found.high is None:
        return points(found.mean)
    return f"{points(found.mean)} [{points(found.low)}, {points(found.high)}]"
