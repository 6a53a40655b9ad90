"""Layout of RecordIO face sets: images and labels of the samples, and contradictory files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.support.recordio_files import flat, insightface

from fedfr.core.errors import FedfrError
from fedfr.faces.readers.recordio import RecordError, RecordFile, RecordLayout, make_index, read_index, read_layout
from fedfr.faces.readers.recordio.format import OnBadRecord, raise_error
from fedfr.faces.readers.recordio.header import HEADER, pack_payload
from fedfr.faces.writers.recordio import RecordWriter


def layout_of(path: Path, on_bad: OnBadRecord = raise_error) -> RecordLayout:
    return read_layout(RecordFile(path), read_index(path.with_suffix(".idx")), on_bad)


def write(path: Path, entries: Sequence[tuple[int, bytes]]) -> Path:
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for key, payload in entries:
            writer.write(key, payload)
    path.with_suffix(".idx").write_bytes(writer.index())
    return path


@pytest.mark.parametrize(
    ("sample", "counts", "first"),
    [
        ("fedfr_public", [14, 15, 13, 14, 13, 12], 0),
        ("fedfr_client_0001", [12, 15, 12, 13, 15, 14, 13, 14], 8),
        ("insightface", [13, 16, 12, 14, 12, 15], 0),
    ],
)
def test_samples(data_dir: Path, sample: str, counts: list[int], first: int) -> None:
    layout = layout_of(data_dir / "recordio" / sample / "train.rec")
    assert layout.keys.tolist() == list(range(1, sum(counts) + 1))
    assert np.bincount(layout.labels).tolist() == counts
    assert layout.labels.tolist() == sorted(layout.labels.tolist())
    assert (layout.first_identity, layout.mixed_ranges) == (first, 0)


def test_images_are_in_the_order_of_keys(tmp_path: Path) -> None:
    entries = [
        (3, pack_payload(5, 3, flat(0))),
        (1, pack_payload([9, 1], 1, flat(1))),
        (0, pack_payload([4, 2], 0)),
        (2, pack_payload(5, 2, flat(2))),
    ]
    layout = layout_of(write(tmp_path / "a.rec", entries))
    assert (layout.keys.tolist(), layout.labels.tolist()) == ([1, 2, 3], [9, 5, 5])


def test_without_numbers_in_record_0_all_records_are_images(tmp_path: Path) -> None:
    """As MXNet's ``im2rec`` writes them, and as InsightFace and FedFR read them."""
    layout = layout_of(write(tmp_path / "a.rec", [(key, pack_payload(key // 2, key, flat(key))) for key in range(4)]))
    assert (layout.keys.tolist(), layout.labels.tolist()) == ([0, 1, 2, 3], [0, 0, 1, 1])


def test_record_0_may_carry_an_image_too(tmp_path: Path) -> None:
    """The script for the public part stores the last image in it again."""
    entries = [
        (1, pack_payload(0, 1, flat(1))),
        (2, pack_payload(1, 2, flat(2))),
        (0, pack_payload([3, 2], 0, flat(2))),
    ]
    assert layout_of(write(tmp_path / "a.rec", entries)).keys.tolist() == [1, 2]


def test_identity_records_that_span_other_people_are_counted(tmp_path: Path) -> None:
    assert layout_of(insightface(tmp_path / "a.rec", [0, 0, 1, 1])).mixed_ranges == 0
    assert layout_of(insightface(tmp_path / "b.rec", [0, 0, 1, 1], torn=True)).mixed_ranges == 1


IMAGES = [(1, pack_payload(0, 1, flat(1))), (2, pack_payload(1, 2, flat(2)))]


@pytest.mark.parametrize(
    ("entries", "message", "kept"),
    [
        (IMAGES, "record 0 at byte .* is missing, which declares the number of images", [1, 2]),
        (
            [*IMAGES, (0, pack_payload([5, 2], 0))],
            "record 3 at byte .* is missing, as are 2 of the 4 images that record 0 declares",
            [1, 2],
        ),
        ([*IMAGES, (0, pack_payload([3, 5], 0))], "record 3 .* 2 of the 2 identity records", [1, 2]),
        ([*IMAGES, (0, pack_payload([0, 2], 0))], "record 0 at byte .* declares images up to key -1", [1, 2]),
        ([*IMAGES, (0, HEADER.pack(2, 0, 0, 0))], "record 0 at byte .* declares 2 labels in 24 bytes", [1, 2]),
        (
            [*IMAGES, (0, HEADER.pack(2, 0, 0, 0) + np.array([3, np.nan], np.float32).tobytes())],
            "record 0 at byte .* has the label nan; expected a whole number from 0 to 2147483647",
            [1, 2],
        ),
        (
            [IMAGES[0], (2, HEADER.pack(0, 0.5, 2, 0) + flat(2)), (0, pack_payload([3, 2], 0))],
            r"record 2 at byte .* has the label 0\.5; expected a whole number",
            [1],
        ),
        (
            [IMAGES[0], (2, pack_payload(-1, 2, flat(2))), (0, pack_payload([3, 2], 0))],
            "record 2 .* has the label -1",
            [1],
        ),
        (
            [IMAGES[0], (2, HEADER.pack(0, 1e20, 2, 0) + flat(2)), (0, pack_payload([3, 2], 0))],
            "record 2 .* label 1",
            [1],
        ),
        ([IMAGES[0], (2, pack_payload(1, 2)), (0, pack_payload([3, 2], 0))], "record 2 at byte .* holds no image", [1]),
        (
            [*IMAGES, (3, pack_payload(4, 3)), (0, pack_payload([3, 4], 0))],
            "record 3 .* has 1 label; expected two for an identity",
            [1, 2],
        ),
        (
            [*IMAGES, (3, pack_payload([1, 9], 3)), (0, pack_payload([3, 4], 0))],
            "record 3 .* spans images 1 to 9",
            [1, 2],
        ),
    ],
)
def test_contradictions(tmp_path: Path, entries: list[tuple[int, bytes]], message: str, kept: list[int]) -> None:
    path = write(tmp_path / "a.rec", entries)
    with pytest.raises(RecordError, match=message):
        layout_of(path)
    told: list[RecordError] = []
    assert layout_of(path, told.append).keys.tolist() == kept
    assert len(told) == 1


def test_records_without_a_header_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.rec", [(0, b"short"), (1, pack_payload(0, 1, flat(0)))])
    with pytest.raises(FedfrError, match=r"a\.rec: the 1st record at byte 0 holds 5 bytes, a header takes 24"):
        make_index(RecordFile(path))
    with pytest.raises(FedfrError, match=r"a\.rec: record 0 at byte 0 holds 5 bytes, a header takes 24"):
        layout_of(path)


def test_without_record_0_records_without_image_are_not_counted_as_lost(tmp_path: Path) -> None:
    path = insightface(tmp_path / "a.rec")
    content = bytearray(path.read_bytes())
    content[8:12] = b"\xff\xff\xff\x00"
    path.write_bytes(content)
    told: list[RecordError] = []
    assert layout_of(path, told.append).keys.tolist() == [1, 2, 3]
    assert ["16777215 labels in 32 bytes" in str(error) for error in told] == [True]
