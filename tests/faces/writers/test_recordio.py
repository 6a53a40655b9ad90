"""Written RecordIO files: identical to those of MXNet."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedfr.core.errors import FedfrError
from fedfr.faces.readers.recordio import RecordFile, RecordPixels, iterate_records, read_index, read_layout
from fedfr.faces.readers.recordio.header import pack_payload, unpack_header
from fedfr.faces.writers.recordio import RecordWriter, frame_record, write_recordio_file


@pytest.mark.parametrize(("sample", "identities", "first"), [("fedfr_public", 6, None), ("fedfr_client_0001", 8, 8)])
def test_the_samples_of_the_fedfr_layout(
    data_dir: Path, tmp_path: Path, sample: str, identities: int, first: int | None
) -> None:
    folder = data_dir / "recordio" / sample
    file = RecordFile(folder / "train.rec")
    layout = read_layout(file, read_index(folder / "train.idx"))
    pixels = RecordPixels(file, layout.keys, layout.offsets)
    images = [(label, pixels.encoded(row)) for row, label in enumerate(layout.labels.tolist())]
    write_recordio_file(tmp_path / "train.rec", images, identities, first)
    for name in ("train.rec", "train.idx"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("sample", ["insightface", "tricky"])
def test_records_are_framed_as_by_mxnet(data_dir: Path, tmp_path: Path, sample: str) -> None:
    folder = data_dir / "recordio" / sample
    file, index = RecordFile(folder / "train.rec"), read_index(folder / "train.idx")
    keys = dict(zip(index.offsets.tolist(), index.keys.tolist(), strict=True))
    with (tmp_path / "train.rec").open("wb") as out:
        writer = RecordWriter(out)
        for record in iterate_records(file):
            writer.write(keys[record.offset], file.payload(record.offset))
    assert (tmp_path / "train.rec").read_bytes() == (folder / "train.rec").read_bytes()
    assert writer.index() == (folder / "train.idx").read_bytes()


def test_headers_are_read_back() -> None:
    for labels, expected in ((5, (5.0,)), ([3, 4, 5], (3.0, 4.0, 5.0)), ([7], (7.0,))):
        header = unpack_header(pack_payload(labels, 9, b"image"))
        assert (header.labels, header.id) == (expected, 9)
        assert pack_payload(labels, 9, b"image")[header.size :] == b"image"


def test_numbers_that_float32_cannot_hold_are_refused(tmp_path: Path) -> None:
    assert unpack_header(pack_payload(2**24, 0)).labels == (2.0**24,)
    with pytest.raises(FedfrError, match=r"x\.rec cannot be written: the label 16777217 is not exact as float32"):
        write_recordio_file(tmp_path / "x.rec", [(2**24 + 1, b"")], 1)


def test_too_large_records_are_refused() -> None:
    payload = bytes(2**29)  # pages that nobody touches take no memory
    with pytest.raises(ValueError, match="536870912 bytes in one record; RecordIO holds 536870911"):
        frame_record(payload)
