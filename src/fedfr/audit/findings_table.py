"""Output of audit findings as text and as CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence

from fedfr.audit import SEVERITIES, Case, Finding
from fedfr.faces import FaceSet

__all__ = ["findings_csv", "findings_text"]

MAX_CASES = 5
COLUMNS = ("kind", "severity", "case", "image", "identity", "part", "value", "detail")
EXCLUSION_COLUMNS = ("index", "faces", "decision")


def findings_text(findings: Iterable[Finding], shown: int = MAX_CASES) -> str:
    """Format one block per finding: severity, kind, number, description, advice and the first ``shown`` cases."""
    listed = list(findings)
    blocks = [_block(each, shown) for each in listed]
    counts = Counter(each.severity for each in listed)
    total = ", ".join(f"{counts[name]} {name}{'s' * (counts[name] != 1)}" for name in SEVERITIES if counts[name])
    return "\n".join([*blocks, f"kinds of finding: {total}" if total else "no findings"])


def _block(finding: Finding, shown: int) -> str:
    lines = [
        f"{finding.severity}: {finding.kind} ({len(finding.cases)}): {finding.description}",
        f"  -> {finding.advice}",
    ]
    lines += [f"     {_line(case)}" for case in finding.cases[:shown]]
    more = len(finding.cases) - shown
    return "\n".join([*lines, *([f"     and {more} more"] if more > 0 else [])])


def _line(case: Case) -> str:
    what = " = ".join(case.images or case.identities)
    value = "" if case.value is None or case.detail else f"{case.value:g}"
    notes = [note for note in (case.detail, value) if note]
    where = f" [{', '.join(case.parts)}]" if case.parts else ""
    return f"{what}{where}{': ' if what or where else ''}{', '.join(notes)}".rstrip(": ").strip()


def findings_csv(findings: Sequence[Finding], faces: FaceSet | None = None) -> str:
    """Return CSV with one row per image of every case, or per identity where a case names no image.

    ``case`` numbers the cases of a kind. With ``faces`` every row also has the index of the image (unless other images
    have the same name) and the fingerprint of the set, so that ``fedfr faces exclude`` can apply what a person enters
    in the column ``decision``.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS if faces is None else COLUMNS + EXCLUSION_COLUMNS)
    indices = {} if faces is None else _indices(findings, faces)
    digest = "" if faces is None else f"sha256:{faces.fingerprint()[:16]}"
    for finding in findings:
        for number, case in enumerate(finding.cases, start=1):
            identities = " | ".join(case.identities)
            rows = [(image, identities) for image in case.images] or [("", identities)]
            for image, identity in rows:
                parts, value = " | ".join(case.parts), "" if case.value is None else case.value
                more = [] if faces is None else [indices.get(image, ""), digest, ""]
                writer.writerow(
                    [finding.kind, finding.severity, number, image, identity, parts, value, case.detail, *more]
                )
    return text.getvalue()


def _indices(findings: Sequence[Finding], faces: FaceSet) -> dict[str, int]:
    """Return the index of every image named in a finding, for names that only one image has."""
    wanted = {image for finding in findings for case in finding.cases for image in case.images}
    places: dict[str, list[int]] = {}
    for index, name in enumerate(faces.names):
        if name in wanted:
            places.setdefault(name, []).append(index)
    return {name: rows[0] for name, rows in places.items() if len(rows) == 1}
