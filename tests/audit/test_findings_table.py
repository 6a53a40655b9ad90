"""Audit findings as text and CSV."""

from __future__ import annotations

import csv
import io

from fedfr.audit import Case, Finding, make_findings, sort_findings
from fedfr.audit.findings_table import findings_csv, findings_text


def some() -> tuple[Finding, ...]:
    copies = [Case((f"é, {n}/1.jpg", f"b/{n}.jpg"), ("é", "b"), ("public", "client-01 test"), 0.99) for n in range(7)]
    crop = Case(parts=("client-02",), value=7.5, detail="0.75 times the size")
    alone = Case((), ('zoë "z"',), (), 1.0)
    return sort_findings(
        [
            *make_findings("single-image", [alone]),
            *make_findings("crop", [crop]),
            *make_findings("image-of-two-people", copies),
        ]
    )


def test_severe_findings_are_first_and_long_lists_shortened() -> None:
    lines = findings_text(some()).splitlines()
    assert lines[0] == "error: image-of-two-people (7): the same or nearly the same image under two identities"
    assert lines[1].startswith("  -> at least one label is wrong")
    assert lines[2] == "     é, 0/1.jpg = b/0.jpg [public, client-01 test]: 0.99"
    assert lines[7] == "     and 2 more"
    assert lines[8].startswith("warning: crop (1)")
    assert lines[10] == "     [client-02]: 0.75 times the size"
    assert lines[11].startswith("note: single-image (1)")
    assert lines[-1] == "kinds of finding: 1 error, 1 warning, 1 note"
    assert len(findings_text(some(), shown=9).splitlines()) == len(lines) + 1


def test_an_empty_result_is_reported() -> None:
    assert findings_text([]) == "no findings"


def test_csv_has_every_image_and_reads_back() -> None:
    rows = list(csv.DictReader(io.StringIO(findings_csv(some()))))
    assert len(rows) == 14 + 1 + 1
    assert rows[0] == {
        "kind": "image-of-two-people",
        "severity": "error",
        "case": "1",
        "image": "é, 0/1.jpg",
        "identity": "é | b",
        "part": "public | client-01 test",
        "value": "0.99",
        "detail": "",
    }
    assert rows[13]["case"] == "7"
    assert (rows[14]["part"], rows[14]["detail"]) == ("client-02", "0.75 times the size")
    assert rows[15]["identity"] == 'zoë "z"'


def test_csv_of_nothing_is_its_header() -> None:
    assert findings_csv(()).splitlines() == ["kind,severity,case,image,identity,part,value,detail"]
