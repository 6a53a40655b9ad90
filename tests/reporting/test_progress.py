"""Progress: how much is said where nobody watches, and that a terminal gets bars."""

from __future__ import annotations

import io
import re

import pytest

from fedfr.reporting.progress import PlainProgress, TerminalProgress


def plain(interval: float) -> list[str]:
    stream = io.StringIO()
    progress = PlainProgress(stream, interval)
    for done in range(5):
        progress.update("pre-training", done, 4, "epoch 1" if done else "")
    progress.note("evaluating fedfr")
    progress.update("fedfr", 1, 2)
    return stream.getvalue().splitlines()


def test_plain_lines_at_the_beginning_and_at_the_end() -> None:
    """Between them at most one every interval; every work begins anew."""
    first, last, note, other = plain(interval=1000.0)
    assert first == "pre-training: 0/4"
    assert last == "pre-training: 4/4 (epoch 1)"
    assert note == "evaluating fedfr"
    assert other == "fedfr: 1/2", "what was done before gives no estimate"


def test_plain_lines_estimate_the_time_left() -> None:
    said = plain(interval=0.0)
    assert len(said) == 7
    assert all(re.fullmatch(r"pre-training: [123]/4, about \d+ s left \(epoch 1\)", line) for line in said[1:4])


def test_what_was_done_before_does_not_hurry_the_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 100.0, 8000.0])
    monkeypatch.setattr("fedfr.reporting.progress.time.monotonic", lambda: next(now))
    stream = io.StringIO()
    progress = PlainProgress(stream, interval=0.0)
    progress.update("fedfr", 50, 100)  # resumed
    progress.update("fedfr", 51, 100)
    progress.update("fedfr", 60, 100)
    assert stream.getvalue().splitlines() == [
        "fedfr: 50/100",
        "fedfr: 51/100, about 82 min left",
        "fedfr: 60/100, about 8.9 h left",
    ]


def test_bars_show_what_is_done_and_keep_notes(capfd: pytest.CaptureFixture[str]) -> None:
    with TerminalProgress() as bars:
        bars.update("fedfr", 1, 8, "round 1")
        bars.update("fedfr", 8, 8, "round 4")
        bars.note("refused: [client-02] failed")
    out, err = capfd.readouterr()
    assert out == ""
    assert "refused: [client-02] failed" in err
    assert re.search(r"fedfr .*8/8.*round 4", err)
    assert "1/8" not in err, "one bar per work"
