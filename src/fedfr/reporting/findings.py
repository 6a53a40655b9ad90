"""The findings of an audit as text to read and as CSV to work through."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence

from fedfr.faces.audit import SEVERITIES, Case, Finding

__all__ = ["findings_csv", "findings_text"]

SHOWN = 5
COLUMNS = ("kind", "severity", "case", "image", "identity", "part", "value", "detail")


def findings_text(findings: Iterable[Finding], shown: int = SHOWN) -> str:
    """One block per finding: how grave, what, how many, what to do, and the first ``shown`` cases."""
    found = list(findings)
    blocks = [_block(each, shown) for each in found]
    counts = Counter(each.severity for each in found)
    total = ", ".join(f"{counts[name]} {name}{'s' * (counts[name] != 1)}" for name in SEVERITIES if counts[name])
    return "\n".join([*blocks, f"kinds of finding: {total}" if total else "nothing found"])


def _block(found: Finding, shown: int) -> str:
    lines = [f"{found.severity}: {found.kind} ({len(found.cases)}): {found.description}", f"  -> {found.advice}"]
    lines += [f"     {_line(case)}" for case in found.cases[:shown]]
    more = len(found.cases) - shown
    return "\n".join([*lines, *([f"     and {more} more"] if more > 0 else [])])


def _line(case: Case) -> str:
    what = " = ".join(case.images or case.identities)
    value = "" if case.value is None or case.detail else f"{case.value:g}"
    notes = [note for note in (case.detail, value) if note]
    where = f" [{', '.join(case.parts)}]" if case.parts else ""
    return f"{what}{where}{': ' if what or where else ''}{', '.join(notes)}".rstrip(": ").strip()


def findings_csv(findings: Sequence[Finding]) -> str:
    """One row per image of every case, or per identity where it names no image; ``case`` numbers them within a kind."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for found in findings:
        for number, case in enumerate(found.cases, start=1):
            identities = " | ".join(case.identities)
            rows = [(image, identities) for image in case.images] or [("", identities)]
            for image, identity in rows:
                parts, value = " | ".join(case.parts), "" if case.value is None else case.value
                writer.writerow([found.kind, found.severity, number, image, identity, parts, value, case.detail])
    return text.getvalue()
