"""Table of a privacy audit for terminals and pages."""

from __future__ import annotations

from collections.abc import Sequence

from fedfr.reporting.markup import PageTable
from fedfr.reporting.text_tables import text_table, wrapped
from fedfr.results.audit_rows import AuditRow

__all__ = ["AUDIT_TABLE", "audit_page_table", "audit_text", "left_out_lines"]

_HEAD = ("inference", "observer", "AUC [95 %]", "TPR at\n1 % FPR", "true/\nfalse", "positive\ncontrol", "shuffled")
AUDIT_TABLE = "privacy-audit"
"""Name of the table in a report."""

_FEW = 100
_NOTE = (
    "AUC 0.5 is guessing. Intervals are over people, by bootstrap and by Newcombe's score interval, the wider of both; "
    "none with fewer than 3 on a side. *: fewer than 100 false scores, so that no false positive is allowed. Positive "
    "control: AUC where the leak was planted. Shuffled: mean AUC with exchanged truth, and its 95 % range."
)


def _lines(rows: Sequence[AuditRow]) -> list[list[str]]:
    return [_line(row) for row in rows if not row.left_out]


def _line(row: AuditRow) -> list[str]:
    few = "*" if row.negative_scores < _FEW else ""
    return [
        row.inference,
        row.observer,
        f"{_number(row.auc)} {_range(row.low, row.high)}",
        "–" if row.tpr is None else f"{100 * row.tpr:.0f} %{few}",
        f"{row.positives}/{row.negatives}",
        _number(row.positive_control),
        f"{_number(row.shuffled)} {_range(row.shuffled_low, row.shuffled_high)}",
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _range(low: float | None, high: float | None) -> str:
    return "[–]" if low is None or high is None else f"[{low:.2f}, {high:.2f}]"


def left_out_lines(rows: Sequence[AuditRow]) -> list[str]:
    """Return one line for each reason why something was not measured."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.left_out:
            found.setdefault((row.inference, row.left_out), []).append(row.observer)
    return [f"{inference} by {', '.join(who)}: {reason}" for (inference, reason), who in found.items()]


def epsilon_lines(rows: Sequence[AuditRow]) -> list[str]:
    """Return the empirical lower bounds on ε, one line each."""
    return [
        f"{row.inference}, {row.observer}: ε of the round is at least {row.epsilon:.2f} (95 %); "
        f"{row.positives + row.negatives} canaries certify at most {row.epsilon_most:.2f}"
        for row in rows
        if row.epsilon is not None and row.epsilon_most is not None
    ]


def audit_text(rows: Sequence[AuditRow], width: int) -> str:
    """Return the table of an audit for a terminal, with what was not measured."""
    shown: list[list[str]] = []
    group = ""
    for row in rows:
        if not row.left_out:
            if row.inference != group:
                shown.append([row.inference, *[""] * (len(_HEAD) - 2)])
            group = row.inference
            # The range of the shuffled control is on the page and in the stored rows.
            shown.append([f"  {row.observer}", *_line(row)[2:-1], _number(row.shuffled)])
    below = [*epsilon_lines(rows), *(f"not measured: {line}" for line in left_out_lines(rows))]
    table = text_table(["inference\n  observer", *_HEAD[2:]], shown, width)
    return "\n".join([table, "", wrapped(_NOTE, width, ""), *(wrapped(line, width) for line in below)])


def audit_page_table(rows: Sequence[AuditRow]) -> PageTable:
    """Return the table of an audit for a page."""
    missing = "; ".join(left_out_lines(rows))
    note = " ".join([_NOTE, *(f"{line}." for line in epsilon_lines(rows))])
    note = f"{note} Not measured: {missing}." if missing else note
    return PageTable(
        AUDIT_TABLE, "What observers can infer", [title.replace("\n", " ") for title in _HEAD], _lines(rows), note
    )
