"""Results table of a run: mean and worst client of every model, with counts of comparisons."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from fedfr.reporting.text_tables import text_table, wrapped
from fedfr.results.result_rows import ALL_CLIENTS, NO_MODEL, Row

__all__ = ["column_title", "markdown_table", "missing_values", "results_table", "summarize"]

_COUNTS = ("genuine", "impostor")
_NUMBER = re.compile(r"\d+(\.\d+)?(e-?\d+)?")
Summary = dict[tuple[str, str], dict[str, list[Row]]]
_ORDER = ("published", "pretrained", "local", "generic", "personalized", "centralized-private", "centralized")


def column_title(method: str, model: str) -> str:
    """Return the column title of a model: method and model, or one name if both are the same."""
    return model if method == model else f"{method} {model}"


def markdown_table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    rows = ["| " + " | ".join(cells) + " |" for cells in (head, *lines)]
    return "\n".join([rows[0], "|---" * len(head) + "|", *rows[1:]])


def summarize(rows: Sequence[Row]) -> Summary:
    """Group rows by (protocol, metric) and column, in order of first appearance; one row per client."""
    table: Summary = {}
    for row in rows:
        columns = table.setdefault((row.protocol, row.metric), {})
        columns.setdefault(column_title(row.method, row.model), []).append(row)
    return table


def results_table(rows: Sequence[Row], width: int = 80) -> str:
    """Return a plain-text table, one block per protocol with a line per model and a column per metric.

    Lines are at most ``width`` wide. Refused metrics and clients without a model are listed below the table.
    """
    summary, clients = summarize(rows), _clients(rows)
    models = dict.fromkeys((row.method, row.model) for row in rows)
    titles = [
        column_title(*key)
        for key in sorted(models, key=lambda key: _ORDER.index(key[1]) if key[1] in _ORDER else len(_ORDER))
    ]
    # The same for all protocols, so that their columns align.
    longest = max(map(len, [*titles, *_COUNTS]), default=0)
    blocks = []
    for protocol in clients:
        columns = [column for (name, _), column in summary.items() if name == protocol and _has_value(column)]
        metrics = [metric for (name, metric), column in summary.items() if name == protocol and _has_value(column)]
        if not columns:
            continue
        given = [title for title in titles if any(title in column for column in columns)]
        lines = [
            (title.ljust(longest), *(_cell(column.get(title, []), len(clients[protocol])) for column in columns))
            for title in given
        ]
        every = [[row for rows in column.values() for row in rows] for column in columns]
        lines.append((_COUNTS[0], *(_span([row.genuine for row in each]) for each in every)))
        lines.append((_COUNTS[1], *(_span([row.impostor for row in each]) for each in every)))
        blocks.append(text_table((protocol, *(metric.replace("@", "\n@") for metric in metrics)), lines, width))
    notes = [
        "in %: mean over clients (worst client); a single number for protocols without clients. Counts are per client."
    ]
    if any("95)" in metric for _, metric in summary):
        notes.append(
            "(low95), (high95): ends of 95 % intervals over pairs, not people; other people may be outside of them."
        )
    incomplete = [*_refused_for_some(summary), *_without_model(summary, clients)]
    if incomplete:
        notes.append("[n of C]: mean over n clients of C only.")
    notes += [*incomplete, *_refused_for_all(summary)]
    return "\n".join(["\n\n".join(blocks), "", *(wrapped(note, width) for note in notes)])


def _has_value(columns: Mapping[str, Sequence[Row]]) -> bool:
    return any(row.value is not None for rows in columns.values() for row in rows)


def missing_values(rows: Sequence[Row]) -> list[str]:
    """Return a sentence for each gap in the tables of these rows: refused metrics, and clients without a model."""
    summary = summarize(rows)
    return [*_refused_for_some(summary), *_without_model(summary, _clients(rows)), *_refused_for_all(summary)]


def _clients(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the sorted clients of every protocol; protocols without clients have none."""
    clients: dict[str, set[str]] = {}
    for row in rows:
        clients.setdefault(row.protocol, set()).update({row.client} - {ALL_CLIENTS})
    return {protocol: sorted(names) for protocol, names in clients.items()}


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _cell(rows: Sequence[Row], clients: int) -> str:
    values = [row.value for row in rows if row.value is not None]
    if not values:
        return "–"
    if not clients:
        return f"{100 * fmean(values):.1f}"
    some = f" [{len(values)} of {clients}]" if len(values) < clients else ""
    return f"{100 * fmean(values):.1f} ({100 * min(values):.1f}){some}"


def _refused_for_all(summary: Summary) -> list[str]:
    """Return a sentence per protocol with the metrics refused for all models; similar reasons are merged."""
    protocols: dict[str, dict[str, tuple[list[str], list[str]]]] = {}
    for (protocol, metric), columns in summary.items():
        if _has_value(columns):
            continue
        reasons = [row.refused for column in columns.values() for row in column if not row.lacks_model]
        if reasons:
            kinds = protocols.setdefault(protocol, {})
            metrics, others = kinds.setdefault(_NUMBER.sub("#", reasons[0]), ([], []))
            metrics.append(metric)
            others += reasons
    return [
        f"not shown for {protocol}: {'; '.join(_reason(*kind) for kind in kinds.values())}"
        for protocol, kinds in protocols.items()
    ]


def _reason(metrics: Sequence[str], reasons: Sequence[str]) -> str:
    """Format ``TAR@FAR=1e-3, 1e-4 – rests on 1.2 impostors or fewer; …``, with the largest number of the reasons."""
    first, *others = metrics
    same, _, _ = first.rpartition("=")
    names = [first, *(name.removeprefix(f"{same}=") if same else name for name in others)]
    most = max(reasons, key=lambda reason: float(found[0]) if (found := _NUMBER.search(reason)) else 0.0)
    return f"{', '.join(names)} – " + (
        most.replace(" impostors;", " impostors or fewer;") if len({*reasons}) > 1 else most
    )


def _refused_for_some(summary: Summary) -> list[str]:
    """Return a sentence for metrics that are refused for some clients, with those clients and the reason."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for (protocol, metric), columns in summary.items():
        if not _has_value(columns):
            continue
        whose: dict[str, dict[str, None]] = {}
        for title, column in columns.items():
            for row in column:
                if row.value is None and not row.lacks_model:
                    whose.setdefault(row.refused, {})[row.client or title] = None
        for reason, names in whose.items():
            groups.setdefault((protocol, ", ".join(names), reason), []).append(metric)
    return [
        f"refused for {names} in {protocol}: {', '.join(metrics)} – {reason}"
        for (protocol, names, reason), metrics in groups.items()
    ]


def _without_model(summary: Summary, clients: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a sentence for each model that clients, or the server, do not have, with the reason if it is known."""
    lacking: dict[tuple[str, str], dict[str, None]] = {}
    for (protocol, _), columns in summary.items():
        for title, rows in columns.items():
            for row in rows:
                if row.lacks_model:
                    lacking.setdefault((title, f": {row.refused.removeprefix(NO_MODEL)}"), {})[row.client] = None
            present = {row.client for row in rows}
            for client in clients[protocol]:
                if client not in present:
                    lacking.setdefault((title, ""), {})[client] = None
    return [f"no {title} model{_of(names)}{reason}" for (title, reason), names in lacking.items()]


def _of(clients: Iterable[str]) -> str:
    """Return ``of`` with the named clients; empty for a model shared by all."""
    named = [client for client in clients if client != ALL_CLIENTS]
    return f" of {', '.join(sorted(named))}" if named else ""
