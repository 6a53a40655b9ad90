"""Table of a benchmark's primary comparisons, which were declared before its runs and are corrected together."""

from __future__ import annotations

from collections.abc import Sequence

from fedfr.reporting.benchmark_table import FEW_PEOPLE, difference_text
from fedfr.reporting.markup import PageTable
from fedfr.reporting.table import column_title
from fedfr.reporting.text_tables import broken_title, text_table, wrapped
from fedfr.results.intervals import FEWEST_DEALS
from fedfr.results.metric_groups import DISJOINT, Deals, summaries
from fedfr.results.primary_family import Primary, PrimaryComparison, PrimaryFamily, primary_family
from fedfr.results.result_rows import Row

__all__ = ["PRIMARY_TABLE", "marked_difference", "primary_note", "primary_table", "primary_text"]

PRIMARY_TABLE = "primary"
TITLE = "Primary comparisons"


def primary_table(rows: Sequence[Row], primary: Primary | None, deals: Deals = DISJOINT) -> PageTable | None:
    """Return the comparisons of the declared family; settled differences are bold. None where there are none."""
    family = primary_family(rows, primary, deals)
    if primary is None or not family.comparisons:
        return None
    method = primary.method
    head = ("primary comparison", "people and metric", f"{method} (%)", "other (%)", "difference [95 %]", "verdict")
    return PageTable(
        PRIMARY_TABLE, TITLE, head, [_line(each) for each in family.comparisons], primary_note(family, deals)
    )


def primary_text(rows: Sequence[Row], primary: Primary | None, deals: Deals = DISJOINT, width: int = 80) -> str:
    """Return the table for a terminal, with an asterisk at settled differences; empty where there are none."""
    table = primary_table(rows, primary, deals)
    if table is None:
        return ""
    lines = [[f"{cell[2:-2]}*" if cell.startswith("**") else cell for cell in line] for line in table.lines]
    whole = text_table([broken_title(title) for title in table.head], lines, width)
    return "\n".join([TITLE, "", whole, "", wrapped(table.note, width)])


def marked_difference(compared: PrimaryComparison) -> str:
    """Format the difference of a comparison, bold where it is not 0 in the family."""
    text = difference_text(compared.found.difference)
    return f"**{text}**" if compared.found.differs else text


def primary_note(family: PrimaryFamily, deals: Deals = DISJOINT) -> str:
    """Return what the family is, what its verdicts rest on, and which of its comparisons were not measured."""
    count = len(family.comparisons)
    text = (
        f"These {count} comparisons were declared before the runs. Of another method with two models, the one with the "
        "higher mean is compared, which favours it."
    )
    if family.missing:
        missing = ", ".join(f"{method} in {protocol}" for protocol, method in family.missing)
        text += f" Declared as well, but without results: {missing}."
    differences = [each.found.difference for each in family.comparisons]
    if deals.shared:
        return f"{text} No intervals: {deals.shared} of the {deals.people} people in training belong to several deals."
    most = max((difference.deals for difference in differences), default=0)
    if most < FEWEST_DEALS:
        return f"{text} No intervals: they need {FEWEST_DEALS} deals."
    few = f" {FEW_PEOPLE}" if any(difference.few for difference in differences) else ""
    return (
        f"{text} Verdicts (bold: ahead or behind) are at the level of 5 %, corrected for all {count} (Holm); equal: by "
        "two one-sided tests, corrected likewise, with a margin of 1 point or, where that is less, half of the other "
        f"model's distance from 0 or 100 %. Intervals are t intervals over {most} deals of different people, "
        f"uncorrected: one without 0 may be not settled.{few}"
    )


def _line(each: PrimaryComparison) -> tuple[str, ...]:
    means = summaries(each.group)
    return (
        f"{column_title(*each.one)} − {column_title(*each.other)}",
        f"{each.group.protocol} {each.group.metric}",
        *(f"{100 * means[key].mean:.1f}" for key in (each.one, each.other)),
        marked_difference(each),
        each.verdict,
    )
