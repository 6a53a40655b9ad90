"""Keys, counts and labels beyond 2^24, which RecordIO stores as float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.support.recordio_files import flat

from fedfr.faces.readers.recordio import RecordError, RecordFile, RecordIndex, read_index, read_layout
from fedfr.faces.readers.recordio.float_labels import exact_labels, exact_ranges, float32_preimage, label_changes
from fedfr.faces.readers.recordio.header import pack_payload
from fedfr.faces.readers.recordio.record_layout import _read_declaration
from fedfr.faces.writers.recordio import RecordWriter

EDGE = 2**24


def rounded(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    return numbers.astype(np.float32).astype(np.int64)


@pytest.mark.parametrize("number", [0, 7, EDGE - 1, EDGE, EDGE + 2, EDGE + 4, 2**25, 2**25 + 4, 2**27 - 8, 2**30])
def test_integers_stored_as_one_float32(number: int) -> None:
    near = range(max(0, number - 200), number + 200)
    assert [*float32_preimage(number)] == [other for other in near if int(np.float32(other)) == number]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), most=st.sampled_from([1, 2, 5, 40]), edge=st.sampled_from([EDGE, 2**25, 2**26]))
def test_ranges_of_identities(seed: int, most: int, edge: int) -> None:
    """Identities with one image or many, before and after the first rounded key."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, most + 1, 60)
    labels = np.repeat(generator.permutation(60), sizes)
    keys = np.arange(edge - 30, edge - 30 + len(labels))
    starts = np.cumsum(sizes) - sizes
    found = exact_ranges(rounded(keys[starts]), rounded(keys[0] + np.cumsum(sizes)), keys, labels)
    assert [each.tolist() for each in found] == [starts.tolist(), np.cumsum(sizes).tolist()]
    assert label_changes(labels, *found).tolist() == [0] * 60


def test_contradictory_ranges_are_found_beyond_2_24() -> None:
    keys = np.arange(EDGE + 1, EDGE + 101)
    labels = np.repeat(np.arange(10), 10)
    ends = np.arange(10, 101, 10)
    torn = ends.copy()
    torn[3] += 5  # the fourth reaches into the fifth
    starts, stops = exact_ranges(rounded(keys[0] + ends - 10), rounded(keys[0] + torn), keys, labels)
    assert (label_changes(labels, starts, stops) > 0).tolist() == [number == 3 for number in range(10)]


def test_labels_distinguished_by_identity_records() -> None:
    numbers = np.arange(EDGE - 2, EDGE + 5)
    labels = np.repeat(rounded(numbers), 3)
    starts = np.arange(0, 21, 3)
    exact, known = exact_labels(labels, numbers, starts, starts + 3)
    assert exact.tolist() == np.repeat(numbers, 3).tolist()
    assert known.all()
    exact, known = exact_labels(labels, numbers[:-1], starts[:-1], starts[:-1] + 3)
    assert known.tolist() == [True] * 18 + [False] * 3


@pytest.mark.parametrize("layout", ["insightface", "fedfr"])
@pytest.mark.parametrize("images", [EDGE - 2, EDGE - 1, EDGE, EDGE + 1, EDGE + 2, EDGE + 4, 2**24 + 11])
def test_counts_in_record_0(images: int, layout: str, tmp_path: Path) -> None:
    """An index of millions of entries, most of which refer to the same record."""
    end, people = images + 1, 3 if layout == "insightface" else 0
    counts = [end, end + people if people else 5]
    with (tmp_path / "train.rec").open("wb") as file:
        writer = RecordWriter(file)
        writer.write(0, pack_payload([int(np.float32(count)) for count in counts], 0))
        writer.write(1, pack_payload(0, 1, flat(1)))
        for number in range(people):
            writer.write(end + number, pack_payload([1, 2], end + number))
    offsets = read_index_of(tmp_path, writer)
    keys = np.arange(end + people)
    places = np.full(len(keys), offsets[1])
    places[0], places[end:] = offsets[0], offsets[2:]
    announced = _read_declaration(RecordFile(tmp_path / "train.rec"), RecordIndex(keys, places), lambda error: None)
    assert announced.images == range(1, end)
    assert announced.identities == (range(end, end + people) if people else range(0))


def read_index_of(folder: Path, writer: RecordWriter) -> NDArray[np.int64]:
    (folder / "train.idx").write_bytes(writer.index())
    return read_index(folder / "train.idx").offsets


def test_ambiguous_labels_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "train.rec").open("wb") as file:
        writer = RecordWriter(file)
        writer.write(0, pack_payload([4, 3], 0))
        for key, label in ((1, 7), (2, EDGE - 1), (3, EDGE)):
            writer.write(key, pack_payload(label, key, flat(key)))
    read_index_of(tmp_path, writer)
    opened, index = RecordFile(tmp_path / "train.rec"), read_index(tmp_path / "train.idx")
    with pytest.raises(
        RecordError, match=r"record 3 at byte \d+ has the label 16777216, which float32 does not represent"
    ):
        read_layout(opened, index)
    told: list[RecordError] = []
    assert read_layout(opened, index, told.append).labels.tolist() == [7, EDGE - 1]
    assert [error.record for error in told] == ["record 3"]
