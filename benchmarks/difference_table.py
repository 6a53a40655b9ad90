"""Differences of every method from FedFR and from the starting model, with intervals over deals."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from fedfr.reporting.benchmark_table import FEW_PEOPLE
from fedfr.reporting.table import column_title, markdown_table
from fedfr.results.comparison import (
    DISJOINT,
    Comparison,
    Deals,
    Key,
    MetricGroup,
    better_model,
    compare_all,
    metric_groups,
    shared_metrics,
)
from fedfr.results.intervals import FEWEST_DEALS
from fedfr.results.result_rows import PLAIN, Row, scoring_of
from paper_claims import GENERIC, VERIFY, difference_text

__all__ = ["differences_table", "headline_table"]

REFERENCES = ("fedfr", "pretrained")


def differences_table(rows: Sequence[Row], deals: Deals = DISJOINT) -> str:
    """Return one Markdown table per protocol with plain scoring, at the strictest rate that all models have.

    Every method has a line, for its better model. The family of the correction (Holm) is all differences of all tables.
    """
    groups = _strictest_groups(rows, deals)
    pairs = [
        (group, key, other)
        for group in groups
        for key in _models(group)
        for other in (_reference(group, name) for name in REFERENCES)
        if other is not None and other[0] != key[0]
    ]
    compared = compare_all(pairs)
    told = {
        (group.protocol, key, other[0]): _cell(found)
        for (group, key, other), found in zip(pairs, compared, strict=True)
    }
    parts = []
    for group in groups:
        head = (f"{group.protocol} {group.metric}", "mean (%)", *(f"− {name} [95 %]" for name in REFERENCES))
        lines = [
            (
                column_title(*key),
                _mean(group, key),
                *(told.get((group.protocol, key, name), "") for name in REFERENCES),
            )
            for key in _models(group)
        ]
        parts.append(markdown_table(head, lines))
    return "\n\n".join([*parts, _note(rows, deals, compared)])


# Rows of the short table, and what they are called there.
_SHOWN = (
    (("published", "published"), "published model"),
    (("pretrained", "pretrained"), "starting model"),
    (("frozen-head", "personalized"), "head on the frozen start"),
    (("local", "local"), "local training"),
    (("local-fedfr", "personalized"), "FedFR without federation"),
    (("fedavg", "generic"), "FedAvg, generic"),
    (("fedavg-public", "generic"), "FedAvg with public faces"),
    (("fedfr", "generic"), "FedFR, generic"),
    (("fedfr", "personalized"), "FedFR, personalized"),
    (("centralized", "centralized"), "all faces in one place"),
)


def headline_table(rows: Sequence[Row], deals: Deals = DISJOINT) -> str:
    """Return the main models in 1:1, for people nobody trained on and for the clients' own, against the start.

    Means in %, differences from the starting model in points with the interval over deals.
    """
    groups = {group.protocol: group for group in _strictest_groups(rows, deals) if group.protocol in (GENERIC, VERIFY)}
    head = ["model"]
    for protocol, people in ((GENERIC, "people nobody trained on"), (VERIFY, "the clients' own people")):
        head += [f"{people}: {groups[protocol].metric}", "against the start [95 %]"]
    lines = []
    start = ("pretrained", "pretrained")
    known = {(row.method, row.model) for row in rows}
    shown = [(key, name) for key, name in _SHOWN if key in known]
    pairs = [
        (groups[protocol], key, start)
        for key, _ in shown
        for protocol in (GENERIC, VERIFY)
        if key != start and key in groups[protocol].values
    ]
    compared = compare_all(pairs)
    found = dict(zip([(group.protocol, key) for group, key, _ in pairs], compared, strict=True))
    for key, name in shown:
        cells = [name]
        for protocol in (GENERIC, VERIFY):
            group, measured = groups[protocol], key in groups[protocol].values
            told = _cell(found[protocol, key]) if (protocol, key) in found else ""
            cells += [_mean(group, key) if measured else "–", told]
        lines.append(cells)
    return f"{markdown_table(head, lines)}\n\n{_basis(rows, deals, compared)}"


def _strictest_groups(rows: Sequence[Row], deals: Deals) -> list[MetricGroup]:
    plain = [row for row in rows if scoring_of(row.protocol) == PLAIN]
    groups = {(group.protocol, group.metric): group for group in metric_groups(plain, deals)}
    protocols = dict.fromkeys(row.protocol for row in plain)
    return [groups[protocol, metric] for protocol in protocols for metric in shared_metrics(plain, protocol)[:1]]


def _models(group: MetricGroup) -> list[Key]:
    """Return one model of every method: that which it is compared by, or the better one."""
    methods = dict.fromkeys(name for name, _ in group.values)
    chosen = (_reference(group, name) if name in REFERENCES else better_model(group, name) for name in methods)
    return [key for key in chosen if key is not None]


def _reference(group: MetricGroup, method: str) -> Key | None:
    """Return FedFR's model that is meant for the protocol's people, the only one of other methods."""
    own = [key for key in group.values if key[0] == method]
    personal = (method, "personalized")
    return personal if personal in own else next(iter(own), None)


def _mean(group: MetricGroup, key: Key) -> str:
    """Format the mean over clients and deals; how many there are, where other models have more."""
    deals: dict[int, list[float]] = {}
    for (seed, _), value in group.values[key].items():
        deals.setdefault(seed, []).append(value)
    most, own = max(map(len, group.values.values())), len(group.values[key])
    some = f" ({own} of {most})" if own < most else ""
    return f"{100 * fmean(map(fmean, deals.values())):.1f}{some}"


def _cell(found: Comparison | None) -> str:
    if found is None:
        return "–"
    text = difference_text(found.difference) + (" =" if found.equal else "")
    return f"**{text}**" if found.differs else text


def _note(rows: Sequence[Row], deals: Deals, compared: Sequence[Comparison | None]) -> str:
    text = (
        "Of a method with two models the better one is shown, which favours it; FedFR is compared by the model that is "
        "meant for the people."
    )
    return f"{text} {_basis(rows, deals, compared)}"


def _basis(rows: Sequence[Row], deals: Deals, compared: Sequence[Comparison | None]) -> str:
    seeds = len({row.seed for row in rows})
    if deals.shared:
        return f"No intervals: {deals.shared} of the {deals.people} people in training belong to several of the seeds."
    if seeds < FEWEST_DEALS:
        return f"No intervals: they need {FEWEST_DEALS} deals."
    few = [FEW_PEOPLE] if any(each is not None and each.difference.few for each in compared) else []
    notes = "".join(f" {note}" for note in (*few, deals.note) if note)
    return (
        f"Differences in points with t intervals over {seeds} deals, in each of which other people train. Bold: not 0 "
        f"at the level of 5 %, corrected for all {len(compared)} differences here (Holm); =: equal by two one-sided "
        f"tests with a margin of 1 point or, where that is less, half of the reference's distance from 100 %.{notes}"
    )
