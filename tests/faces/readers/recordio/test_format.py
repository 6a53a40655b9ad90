"""Records of RecordIO files: parts, padding, invalid lengths, files of another format."""

from __future__ import annotations

import json
import os
import pickle
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.recordio_files import SAMPLES, records

from fedfr.core.errors import FedfrError
from fedfr.faces.readers.recordio import RecordError, RecordFile, iterate_records, read_index
from fedfr.faces.readers.recordio.format import MAGIC, MAX_LENGTH
from fedfr.faces.readers.recordio.header import HEADER
from fedfr.faces.writers.recordio import frame_record


def test_records_split_at_the_magic_number(data_dir: Path) -> None:
    folder = data_dir / "recordio" / "tricky"
    truth = {int(key): bytes.fromhex(text) for key, text in json.loads((folder / "payloads.json").read_text()).items()}
    file, index = RecordFile(folder / "train.rec"), read_index(folder / "train.idx")
    found = {
        key: file.payload(offset)[HEADER.size :]
        for key, offset in zip(index.keys.tolist(), index.offsets.tolist(), strict=True)
    }
    assert {key: found[key] for key in truth} == truth
    assert set(found) - set(truth) == {0}
    passed = list(iterate_records(file))
    assert [record.offset for record in passed] == sorted(index.offsets.tolist())
    assert passed[-1].end == file.size
    for record in passed:
        payload = file.payload(record.offset)
        assert record.length == len(payload)
        assert file.payload_prefix(record.offset, 30) == payload[:30]
    assert sum(MAGIC in payload for payload in truth.values()) >= 5


@pytest.mark.parametrize("sample", SAMPLES)
def test_scanning_equals_the_index(data_dir: Path, sample: str) -> None:
    folder = data_dir / "recordio" / sample
    offsets = [record.offset for record in iterate_records(RecordFile(folder / "train.rec"))]
    assert offsets == sorted(read_index(folder / "train.idx").offsets.tolist())


@given(st.lists(st.one_of(st.just(MAGIC), st.binary(max_size=9), st.just(bytes(4)))).map(b"".join))
def test_any_payload_is_read_back(tmp_path_factory: pytest.TempPathFactory, payload: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "one.rec"
    framed = frame_record(payload)
    path.write_bytes(framed + frame_record(b"next"))
    file = RecordFile(path)
    assert len(framed) % 4 == 0
    assert file.payload(0) == payload
    assert [(record.offset, record.length) for record in iterate_records(file)] == [(0, len(payload)), (len(framed), 4)]
    # No word of a part is the magic: readers that look for it find the beginnings of parts only.
    body = framed.split(MAGIC)
    assert body[0] == b""
    assert len(framed) == sum(len(part) + 4 for part in body[1:])


@pytest.mark.parametrize("length", [9, 1 << 20, MAX_LENGTH])
def test_a_length_beyond_the_file_allocates_no_memory(tmp_path: Path, length: int) -> None:
    path = tmp_path / "long.rec"
    path.write_bytes(MAGIC + struct.pack("<I", length) + bytes(8))
    file = RecordFile(path)
    tracemalloc.start()
    with pytest.raises(RecordError, match=f"at byte 0 declares {length} bytes, the file ends after 8"):
        file.payload(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([MAGIC + struct.pack("<I", 2 << 29)], "has a part of kind 2 out of order at byte 0"),
        ([MAGIC + struct.pack("<I", 5 << 29)], "has a part of kind 5 out of order"),
        (
            [MAGIC + struct.pack("<I", 1 << 29), MAGIC + struct.pack("<I", 0)],
            "has a part of kind 0 out of order at byte 8",
        ),
        ([MAGIC + struct.pack("<I", 1 << 29)], "has no header at byte 8 of 8"),
        ([MAGIC + struct.pack("<I", 1 << 29), b"nothing."], "has 6e 6f 74 68, not 0a 23 d7 ce, at byte 8"),
    ],
)
def test_incomplete_records_are_refused(tmp_path: Path, words: list[bytes], message: str) -> None:
    path = tmp_path / "parts.rec"
    path.write_bytes(b"".join(words))
    with pytest.raises(RecordError, match=f"record at byte 0 {message}"):
        RecordFile(path).payload(0)


@pytest.mark.parametrize("offset", [-8, 2, 10_000])
def test_an_offset_without_a_record(tmp_path: Path, offset: int) -> None:
    file = RecordFile(records(tmp_path / "train.rec"))
    with pytest.raises(RecordError, match=f"at byte {offset} has no header"):
        file.record(offset)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.rec").touch()
    os.mkfifo(tmp_path / "pipe.rec")
    for name, message in (
        ("gone.rec", "gone.rec does not exist; give a RecordIO file such as train.rec"),
        ("empty.rec", "empty.rec is empty; fetch it again"),
        ("pipe.rec", "pipe.rec is not a file; give a RecordIO file"),
        (".", "is not a file"),
    ):
        with pytest.raises(FedfrError, match=message):
            RecordFile(tmp_path / name)


def test_a_file_truncated_while_it_is_read(tmp_path: Path) -> None:
    file = RecordFile(records(tmp_path / "train.rec"))
    os.truncate(file.path, 20)
    with pytest.raises(RecordError, match="at byte 8 ends after 12 of"):
        file.payload(0)


def test_errors_and_files_can_be_pickled(tmp_path: Path) -> None:
    file = RecordFile(records(tmp_path / "train.rec"))
    with pytest.raises(RecordError) as caught:
        file.payload(4)
    again = pickle.loads(pickle.dumps(caught.value.with_key(7)))
    assert str(again).startswith(f"{file.path}: record 7 at byte 4 has ")
    assert pickle.loads(pickle.dumps(file)).payload(0) == file.payload(0)
