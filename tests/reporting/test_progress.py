"""Progress output: plain lines without a terminal, bars on a terminal."""

from __future__ import annotations

import io
import re
import sys
from types import ModuleType

import pytest

from fedfr.reporting.progress import PlainProgress, Silent, TerminalProgress, automatic_progress, progress_or_default


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


def test_earlier_work_does_not_affect_the_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_unit_is_named_everywhere(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    PlainProgress(stream).update("importing faces", 1200, 4000, unit="images")
    assert stream.getvalue() == "importing faces: 1200/4000 images\n"
    monkeypatch.setenv("COLUMNS", "80")
    with TerminalProgress() as bars:
        bars.update("evaluating branch-cosface", 3, 12, "branch-cosface client-07: 640/1,280 images", "models")
    shown = [line.rstrip() for line in capfd.readouterr().err.splitlines()]
    assert max(map(len, shown)) <= 80
    assert re.search(r"3/12 models", " ".join(shown))
    assert "…" not in "".join(shown)


def test_the_newest_of_many_works_is_on_the_screen(capfd: pytest.CaptureFixture[str]) -> None:
    with TerminalProgress() as bars:
        for number in range(40):
            bars.update(f"work {number}", 1, 1)
        bars.update("the last", 0, 1)
    last = capfd.readouterr().err
    assert "the last" in last
    assert "work 39" in last
    assert "work 3 " not in last


def test_silent_progress_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_or_default(False) as shown:
        shown.update("fedfr", 1, 2)
    assert capfd.readouterr() == ("", "")
    with progress_or_default(None) as shown:
        assert isinstance(shown, PlainProgress), "standard error is no terminal here"
        shown.update("fedfr", 1, 2, unit="clients")
    assert capfd.readouterr() == ("", "fedfr: 1/2 clients\n")
    mine = Silent()
    with progress_or_default(mine) as shown:
        assert shown is mine


class Shell:
    """Shell of IPython in a notebook, with a kernel."""

    kernel = object()


def test_a_notebook_gets_lines_that_change_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two functions replace IPython, which is no dependency."""
    said: list[str] = []

    class Handle:
        def update(self, content: dict[str, str], *, raw: bool) -> None:
            assert raw
            said.append(content["text/plain"])

    def display(content: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        assert raw
        assert display_id
        said.append(content["text/plain"])
        return Handle()

    ipython, shown_there = ModuleType("IPython"), ModuleType("IPython.display")
    vars(ipython)["get_ipython"] = Shell
    vars(shown_there)["display"] = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", shown_there)
    with automatic_progress() as progress:
        progress.update("pre-training", 0, 2, unit="steps")
        progress.update("pre-training", 2, 2, "epoch 1", "steps")
        progress.update("fedfr", 8, 8, unit="client updates")
    assert said[0] == "pre-training: 0/2 steps"
    assert said[-1] == "pre-training: 2/2 steps (epoch 1)\nfedfr: 8/8 client updates"
