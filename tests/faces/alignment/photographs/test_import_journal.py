"""Journal of an unfinished import: complete up to the last valid record."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tests.support.photograph_files import texture

from fedfr.core.errors import WriteError
from fedfr.faces.alignment.photographs.import_journal import ImportJournal
from fedfr.faces.alignment.photographs.outcome import Outcome

FIT = Outcome("Zoë/顔 1.jpg", "", 400, 300, 2, 0.93, 160.5, 120.25, pixels=texture(112, 112))
UNFIT = Outcome("b/2.jpg", "no-face", 10, 20, detail="nothing")
LAST = Outcome("c/3.jpg", "", 5, 5, 1, None, 60.0, 9.0, pixels=texture(112, 112, 1))
ALL = (FIT, UNFIT, LAST)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three outcomes."""
    with ImportJournal(tmp_path / "faces.bin") as journal:
        for number, outcome in enumerate(ALL):
            journal.append([number, 10**18 + number], outcome)
    return tmp_path / "faces.bin"


def found(path: Path) -> list[Outcome]:
    """Return the known outcomes; their pixels must equal the stored ones."""
    with ImportJournal(path) as journal:
        known = []
        for number, outcome in enumerate(ALL):
            kept = journal.known(outcome.name, [number, 10**18 + number])
            if kept is not None:
                known.append(kept)
                if outcome.pixels is not None:
                    np.testing.assert_array_equal(journal.pixels(outcome.name), outcome.pixels)
        return known


def test_stored_outcomes_are_read_back(path: Path) -> None:
    assert found(path) == [*ALL]


def test_a_changed_photograph_has_no_stored_outcome(path: Path) -> None:
    with ImportJournal(path) as journal:
        assert journal.known(FIT.name, [0, 10**18 + 1]) is None
        assert journal.known(FIT.name, [1, 10**18]) is None
        assert journal.known("d/4.jpg", [0, 10**18]) is None
        journal.append([0, 5], LAST)
        assert journal.known(LAST.name, [2, 10**18 + 2]) is None
        assert journal.known(LAST.name, [0, 5]) == LAST


def test_a_truncated_journal_loses_one_outcome(path: Path) -> None:
    content = path.read_bytes()
    ends = [content.index(b"face", 1 + content.index(UNFIT.name.encode()) - 100), len(content)]
    for length in (0, 1, 15, 16, 40, 30_000, ends[0] - 1, ends[0], ends[0] + 30, len(content) - 1):
        path.write_bytes(content[:length])
        known = found(path)
        assert known == [*ALL[: len(known)]]
        assert len(known) == (0 if length < ends[0] else 1 if length < ends[0] + 100 else 2)
        # What comes after is written where the last whole record ends.
        with ImportJournal(path) as journal:
            journal.append([2, 10**18 + 2], LAST)
        assert found(path) == [*known, LAST]


@pytest.mark.parametrize("place", [0, 5, 13, 20, 200, 20_000])
def test_an_overwritten_record_is_ignored(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x40
    path.write_bytes(content)
    assert found(path) == []


@contextmanager
def files_up_to(limit: int) -> Iterator[None]:
    """Limit the size of files in the system, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_complete_records(path: Path) -> None:
    size = path.stat().st_size
    more = Outcome("d/4.jpg", pixels=texture(112, 112, 2))
    with ImportJournal(path) as journal, files_up_to(size + 1000):
        with pytest.raises(WriteError, match=r"cannot write .*faces\.bin: File too large; free space"):
            journal.append([3, 3], more)
        assert path.stat().st_size == size
        assert journal.known(more.name, [3, 3]) is None
    with ImportJournal(path) as journal:
        journal.append([3, 3], more)
        assert journal.known(more.name, [3, 3]) == more
    assert found(path) == [*ALL]
