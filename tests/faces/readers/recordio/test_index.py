"""Index of a RecordIO file: read or rebuilt, and recovery after a damaged record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.support.recordio_files import SAMPLES, flat, records

from fedfr.core.errors import FedfrError
from fedfr.faces.readers.recordio import RecordError, RecordFile, iterate_records, make_index, read_index
from fedfr.faces.readers.recordio.header import pack_payload
from fedfr.faces.writers.recordio import frame_record


@pytest.mark.parametrize("sample", [*SAMPLES, "tricky"])
def test_a_rebuilt_index_equals_the_original(data_dir: Path, sample: str) -> None:
    folder = data_dir / "recordio" / sample
    made, read = make_index(RecordFile(folder / "train.rec")), read_index(folder / "train.idx")
    np.testing.assert_array_equal(made.keys, read.keys)
    np.testing.assert_array_equal(made.offsets, read.offsets)
    assert read.keys.tolist() == list(range(len(read)))


@pytest.mark.parametrize(
    "line", ["5", "5\t", "\t40", "5\t-4", "5 40", "x\t40", "5\t40\t1", "٣\t40", "5\t" + "9" * 19, ""]
)
def test_invalid_lines_are_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "train.idx"
    path.write_text(f"0\t0\n{line}\n1\t40\n", encoding="utf-8")
    with pytest.raises(FedfrError, match=r"train\.idx, line 2: expected `key<TAB>offset`, found"):
        read_index(path)


def test_repeated_keys_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.idx").write_text("0\t0\n1\t40\n1\t88\n")
    with pytest.raises(FedfrError, match="two records with key 1, at bytes 40 and 88"):
        read_index(tmp_path / "train.idx")
    (tmp_path / "same.rec").write_bytes(2 * frame_record(pack_payload(0, 7, flat(0))))
    with pytest.raises(FedfrError, match=r"same\.rec has two records with key 7, at bytes 0 and"):
        make_index(RecordFile(tmp_path / "same.rec"))


def test_an_unreadable_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FedfrError, match=r"cannot read .*: Is a directory"):
        read_index(tmp_path)


@pytest.mark.parametrize("damaged", ["magic", "length", "kind"])
def test_reading_continues_after_a_damaged_record(tmp_path: Path, damaged: str) -> None:
    path = records(tmp_path / "train.rec", [0, 0, 1, 1])
    offsets = [record.offset for record in iterate_records(RecordFile(path))]
    content = bytearray(path.read_bytes())
    at = offsets[1]
    content[at + {"magic": 0, "length": 6, "kind": 7}[damaged]] ^= 0x41
    path.write_bytes(content)
    with pytest.raises(RecordError, match=f"the 2nd record at byte {at} "):
        list(iterate_records(RecordFile(path)))
    told: list[RecordError] = []
    found = [record.offset for record in iterate_records(RecordFile(path), told.append)]
    assert found == [offset for offset in offsets if offset != at]
    assert [(error.record, error.offset) for error in told] == [("the 2nd record", at)]


def test_the_next_record_may_be_far_away(tmp_path: Path) -> None:
    """Farther than one search window; the parts of the damaged record are not taken for new records."""
    payload = pack_payload(0, 1, flat(0))
    far = tmp_path / "far.rec"
    for gap in ((1 << 20) - 4, 1 << 20, (1 << 20) + 4, 3 << 20):
        far.write_bytes(bytes(gap) + frame_record(payload))
        assert [record.offset for record in iterate_records(RecordFile(far), lambda error: None)] == [gap]
    broken = frame_record(b"\x0a\x23\xd7\xce" * 3 + b"end.")
    far.write_bytes(broken[:-8] + frame_record(payload))
    assert [record.offset for record in iterate_records(RecordFile(far), lambda error: None)] == [len(broken) - 8]
