"""List of skipped photographs as CSV, and counts by reason."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence

from fedfr.faces.alignment.photographs.outcome import Outcome
from fedfr.faces.alignment.photographs.reasons import REASONS

__all__ = ["COLUMNS", "count_reasons", "skipped_csv"]

COLUMNS = ("name", "reason", "width", "height", "faces", "score", "size", "sharpness", "detail")


def count_reasons(skipped: Iterable[Outcome]) -> dict[str, int]:
    """Return the number of skipped files by reason, in the order of :data:`REASONS`."""
    found = Counter(outcome.reason for outcome in skipped)
    return {reason: found[reason] for reason in REASONS if found[reason]}


def skipped_csv(skipped: Sequence[Outcome]) -> bytes:
    """Return the list as UTF-8 CSV: ``path``, then :data:`COLUMNS` as in :class:`Outcome`; None gives an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", *COLUMNS[1:]))
    for outcome in skipped:
        values = (getattr(outcome, column) for column in COLUMNS)
        writer.writerow("" if value is None else value for value in values)
    return text.getvalue().encode()
