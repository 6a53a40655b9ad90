"""Figures along the axis of a scenario: methods compared as the federation varies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, stdev

from fedfr.reporting.chart import Axis, Cells, Chart, Dash, Key, Line, line_of
from fedfr.reporting.charts import GENERIC_VERIFICATION, OWN_OR_SHARED, PERSONAL_VERIFICATION, Section
from fedfr.reporting.table import column_title
from fedfr.results.metric_groups import rate_of, shared_metrics

__all__ = ["sweep_charts"]

# The rate of the paper; for sets with too few pairs, the strictest available rate is used.
GENERIC_METRIC = "TAR@FAR=1e-4"
_DASHES: tuple[Dash, ...] = ("solid", "dashed", "dotted", "dashdot")


def sweep_charts(axis: str, sections: Sequence[Section]) -> list[Chart]:
    """Return generic and personalized TAR against ``axis``, with one line per method and group."""
    found = []
    for protocol in (GENERIC_VERIFICATION, PERSONAL_VERIFICATION):
        metric = _metric(sections, protocol)
        if metric is not None:
            found.append(_sweep(axis, sections, protocol, metric))
    return found


def _sweep(axis: str, sections: Sequence[Section], protocol: str, metric: str) -> Chart:
    groups = list(dict.fromkeys(section.group for section in sections))
    # Points without a number are placed at 0, 1, …
    labels = [section.name if section.at is None else f"{section.at:g}" for section in sections]
    names = tuple(dict.fromkeys(labels)) if any(section.at is None for section in sections) else ()
    lines: list[Line] = []
    table: list[Cells] = [("method", "model", "group", axis, metric, "deviation over seeds", "seeds")]
    keys = dict.fromkeys(key for section in sections for key in _models(section, protocol))
    most = 0
    for key in keys:
        for group, dash in zip(groups, _DASHES * len(groups), strict=False):
            points = [
                (float(names.index(label)) if names else section.at or 0.0, section, *found)
                for label, section in zip(labels, sections, strict=True)
                if section.group == group and (found := _over_seeds(section, key, protocol, metric))
            ]
            most = max([most, *(seeds for *_, seeds in points)])
            for _, section, *values in points:
                table.append((*key, group, section.name if section.at is None else section.at, *values))
            line = line_of(key, [x for x, *_ in points], [100 * mean for _, _, mean, _, _ in points])
            spread = [100 * (deviation or 0.0) for *_, deviation, _ in points]
            label = f"{column_title(*key)}{f', {group}' if group else ''}"
            line = replace(line, label=label, dash=dash if len(groups) > 1 else line.dash)
            # One seed has no deviation; a bar of length 0 would suggest one.
            lines.append(replace(line, spread=spread) if any(spread) else line)
    over = (*(["clients"] if protocol == PERSONAL_VERIFICATION else []), *(["seeds"] if most > 1 else []))
    caption = f"Mean over {' and '.join(over)}. " if over else ""
    return Chart(
        f"sweep-{protocol.replace(':', '-')}",
        f"{metric} against {axis}: {protocol}",
        caption + ("Bars: standard deviation over seeds." if most > 1 else "One seed: there is no spread to show."),
        lines,
        Axis(axis, names=names),
        Axis(f"{metric} (%)"),
        table,
        tuple(zip(groups, _DASHES * len(groups), strict=False)) if len(groups) > 1 else OWN_OR_SHARED,
    )


def _metric(sections: Sequence[Section], protocol: str) -> str | None:
    """Return the paper's metric if every section has it, else the strictest that every section has.

    If there is none (all metrics of a client with one identity may be refused), the laxest of any section.
    """
    each = [shared_metrics(section.rows, protocol) for section in sections]
    shared = set(each[0]).intersection(*each[1:])
    if protocol == GENERIC_VERIFICATION and GENERIC_METRIC in shared:
        return GENERIC_METRIC
    return min(shared, key=rate_of, default=max(set().union(*each), key=rate_of, default=None))


def _models(section: Section, protocol: str) -> list[Key]:
    """Return one model per method: the generic one, or for personalized protocols the client's own if there is one."""
    given = list(dict.fromkeys((row.method, row.model) for row in section.rows if row.protocol == protocol))
    personal = {method for method, model in given if model == "personalized"}
    if protocol == GENERIC_VERIFICATION:
        return given
    return [(method, model) for method, model in given if model != "generic" or method not in personal]


def _over_seeds(section: Section, key: Key, protocol: str, metric: str) -> tuple[float, float | None, int] | None:
    """Return the mean over seeds of the mean over clients, the deviation over seeds (None for one), and their number.

    None if the metric is refused for a client, since a mean over the others is not comparable with means over all.
    """
    seeds: dict[int, list[float]] = {}
    for row in section.rows:
        if (row.method, row.model, row.protocol, row.metric) == (*key, protocol, metric):
            if row.value is None:
                return None
            seeds.setdefault(row.seed, []).append(row.value)
    means = [fmean(values) for values in seeds.values()]
    return (fmean(means), stdev(means) if len(means) > 1 else None, len(means)) if means else None
