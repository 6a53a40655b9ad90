"""The table of primary comparisons, and the same verdict wherever a difference appears."""

from __future__ import annotations

from tests.results.test_primary_family import PRIMARY, rows

from fedfr.reporting.page import Report, Section, page
from fedfr.reporting.primary_table import primary_table, primary_text
from fedfr.results.metric_groups import Deals


def test_the_table_says_what_the_family_is_and_what_is_missing() -> None:
    table = primary_table(rows(), PRIMARY)
    assert table is not None
    assert [(line[0], line[-1]) for line in table.lines] == [
        ("fedfr generic − fedavg generic", "equal within 1 point"),
        ("fedfr generic − pretrained", "ahead"),
        ("fedfr personalized − local-fedfr personalized", "not settled"),
        ("fedfr personalized − fedavg generic", "ahead"),
        ("fedfr personalized − pretrained", "ahead"),
    ]
    assert [line[4].startswith("**") for line in table.lines] == [False, True, False, True, True]
    assert table.lines[1][2:4] == ("60.0", "50.0")
    assert "These 5 comparisons were declared before the runs" in table.note
    assert "corrected for all 5 (Holm)" in table.note
    assert "without results: local-fedfr in generic-1:1" in table.note
    shared = primary_table(rows(), PRIMARY, Deals(people=10, shared=2))
    assert shared is not None
    assert "No intervals: 2 of the 10 people" in shared.note
    assert not any("*" in cell or "[" in cell for line in shared.lines for cell in line)
    few = primary_table([row for row in rows() if row.seed < 2], PRIMARY)
    assert few is not None
    assert "they need 3 deals" in few.note


def test_a_report_shows_the_family_before_the_descriptive_tables() -> None:
    """Only its differences are bold."""
    report = Report("A benchmark", [], [Section(rows(), [], [], [], primary=PRIMARY)], "", {})
    assert list(report.tables)[:2] == ["overview", "primary"]
    bold = {name for name, table in report.tables.items() if any("**" in cell for line in table.lines for cell in line)}
    assert bold == {"primary"}
    assert '<th scope="col">primary comparison</th>' in page(report)
    without = Report("A benchmark", [], [Section(rows(), [], [], [])], "", {})
    assert "primary" not in without.tables


def test_a_terminal_marks_settled_differences() -> None:
    text = primary_text(rows(), PRIMARY, width=80)
    assert text.startswith("Primary comparisons\n")
    assert text.count("]*") == 3
    assert max(map(len, text.splitlines())) <= 80
    assert primary_text(rows(), None) == ""
