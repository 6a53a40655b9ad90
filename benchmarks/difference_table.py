"""Differences of every method from FedFR and from the starting model: the primary comparisons, and descriptive ones."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from fedfr.reporting.benchmark_table import DESCRIPTIVE, FEW_PEOPLE, difference_text
from fedfr.reporting.primary_table import marked_difference, primary_note, primary_table
from fedfr.reporting.table import column_title, markdown_table
from fedfr.results.comparison import Difference, compare
from fedfr.results.intervals import FEWEST_DEALS
from fedfr.results.metric_groups import (
    DISJOINT,
    Deals,
    Key,
    MetricGroup,
    better_model,
    meant_model,
    metric_groups,
    shared_metrics,
)
from fedfr.results.primary_family import Primary, PrimaryFamily, primary_family
from fedfr.results.result_rows import PLAIN, Row, scoring_of
from paper_claims import GENERIC, VERIFY

__all__ = ["differences_table", "headline_table"]

REFERENCES = ("fedfr", "pretrained")


def differences_table(rows: Sequence[Row], deals: Deals = DISJOINT, primary: Primary | None = None) -> str:
    """Return the primary comparisons as a Markdown table, then one descriptive table per protocol with plain scoring.

    The latter are at the strictest rate that all models have; every method has a line, for its better model.
    """
    declared = primary_table(rows, primary, deals)
    parts = []
    if declared is not None:
        parts += [f"{declared.title}:", markdown_table(declared.head, declared.lines), declared.note]
    parts.append("Descriptive differences, at the strictest rate that all models have:")
    compared: list[Difference | None] = []
    for group in _strictest_groups(rows, deals):
        head = (f"{group.protocol} {group.metric}", "mean (%)", *(f"− {name} [95 %]" for name in REFERENCES))
        lines = []
        for key in _models(group):
            others = [meant_model(group, name) for name in REFERENCES]
            found = [None if other is None or other[0] == key[0] else compare(group, key, other) for other in others]
            compared += found
            told = ("" if each is None else difference_text(each) for each in found)
            lines.append((column_title(*key), _mean(group, key), *told))
        parts.append(markdown_table(head, lines))
    return "\n\n".join([*parts, _note(rows, deals, compared)])


# Methods of the short table, and what they are called there.
_SHOWN = {
    "published": "published model",
    "pretrained": "starting model",
    "frozen-head": "head on the frozen start",
    "local": "local training",
    "local-fedfr": "FedFR without federation",
    "fedavg": "FedAvg",
    "fedavg-public": "FedAvg with public faces",
    "fedfr": "FedFR",
    "centralized": "all faces in one place",
}


def headline_table(rows: Sequence[Row], deals: Deals = DISJOINT, primary: Primary | None = None) -> str:
    """Return the main methods in 1:1, for people of no client and for the clients' own, and FedFR minus each.

    Means in %, of FedFR's model that is meant for these people and of the others' better one; differences in points.
    Those of the declared family have the verdict that they have in every other table; others are descriptive.
    """
    family = primary_family(rows, primary, deals)
    strictest = {group.protocol: group for group in _strictest_groups(rows, deals)}
    groups = [family.metric(protocol) or strictest[protocol] for protocol in (GENERIC, VERIFY)]
    head = ["model"]
    for group, people in zip(groups, ("people of no client", "the clients' own people"), strict=True):
        head += [f"{people}: {group.metric}", "FedFR minus it [95 %]"]
    known = {row.method for row in rows}
    lines = [
        (name, *(cell for group in groups for cell in _headline_cells(group, method, family)))
        for method, name in _SHOWN.items()
        if method in known
    ]
    note = primary_note(family, deals) if family.comparisons else _basis(rows, deals, [])
    return f"{markdown_table(head, lines)}\n\n{note}"


def _headline_cells(group: MetricGroup, method: str, family: PrimaryFamily) -> tuple[str, str]:
    """Return a method's mean and FedFR's difference from it, which says whether it is descriptive."""
    models = {key[0]: key for key in _models(group)}
    if method not in models:
        return "–", ""
    mean, declared = _mean(group, models[method]), family.of(group.protocol, method)
    if declared is not None:
        return mean, marked_difference(declared)
    if method == "fedfr" or "fedfr" not in models:
        return mean, ""
    return mean, f"{difference_text(compare(group, models['fedfr'], models[method]))} (descriptive)"


def _strictest_groups(rows: Sequence[Row], deals: Deals) -> list[MetricGroup]:
    plain = [row for row in rows if scoring_of(row.protocol) == PLAIN]
    groups = {(group.protocol, group.metric): group for group in metric_groups(plain, deals)}
    protocols = dict.fromkeys(row.protocol for row in plain)
    return [groups[protocol, metric] for protocol in protocols for metric in shared_metrics(plain, protocol)[:1]]


def _models(group: MetricGroup) -> list[Key]:
    """Return one model of every method: that which it is compared by, or the better one."""
    methods = dict.fromkeys(name for name, _ in group.values)
    chosen = (meant_model(group, name) if name in REFERENCES else better_model(group, name) for name in methods)
    return [key for key in chosen if key is not None]


def _mean(group: MetricGroup, key: Key) -> str:
    """Format the mean over clients and deals; how many there are, where other models have more."""
    deals: dict[int, list[float]] = {}
    for (seed, _), value in group.values[key].items():
        deals.setdefault(seed, []).append(value)
    most, own = max(map(len, group.values.values())), len(group.values[key])
    some = f" ({own} of {most})" if own < most else ""
    return f"{100 * fmean(map(fmean, deals.values())):.1f}{some}"


def _note(rows: Sequence[Row], deals: Deals, compared: Sequence[Difference | None]) -> str:
    text = (
        "Of a method with two models the better one is shown, which favours it; FedFR is compared by the model that is "
        "meant for the people."
    )
    return f"{text} {_basis(rows, deals, compared)}"


def _basis(rows: Sequence[Row], deals: Deals, compared: Sequence[Difference | None]) -> str:
    seeds = len({row.seed for row in rows})
    if deals.shared:
        return f"No intervals: {deals.shared} of the {deals.people} people in training belong to several of the seeds."
    if seeds < FEWEST_DEALS:
        return f"No intervals: they need {FEWEST_DEALS} deals."
    few = [FEW_PEOPLE] if any(each is not None and each.few for each in compared) else []
    notes = "".join(f" {note}" for note in (*few, deals.note) if note)
    return f"{DESCRIPTIVE} Intervals are t intervals over {seeds} deals, in each of which other people train.{notes}"
