"""Whole numbers parsed in blocks: equal to parsing line by line, and errors that name the line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedfr.core.errors import FedfrError
from fedfr.faces.readers.ijb.number_lines import number_lines

COLUMNS = ("template", "template", "0/1")
GOOD = b"12 345 1\n6 7 0\n999999999 0 1\n"


def read(path: Path, block: int = 1 << 21) -> list[list[int]]:
    found, expected = [], 1
    for first, values in number_lines(path, COLUMNS, block):
        assert first == expected
        found += values.tolist()
        expected += len(values)
    return found


@given(st.lists(st.tuples(*[st.integers(0, 10**9 - 1)] * 3), min_size=1, max_size=40), st.integers(1, 70), st.data())
@settings(deadline=None)
def test_equals_parsing_by_python(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[int, ...]], block: int, data: st.DataObject
) -> None:
    """For every block size, with any white space around the numbers."""
    blanks = st.sampled_from([" ", "\t", "  "])
    text = ""
    for line in lines:
        text += data.draw(st.sampled_from(["", " "])) + data.draw(blanks).join(map(str, line))
        text += data.draw(st.sampled_from(["\n", "\r\n", " \n"]))
    text = text if data.draw(st.booleans()) else text.rstrip("\r\n ")
    path = tmp_path_factory.mktemp("numbers") / "pairs.txt"
    path.write_text(text, newline="")
    assert read(path, block) == [list(map(int, line.split())) for line in text.splitlines()] == list(map(list, lines))


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        (b"1 2\n", 1, "'1 2'"),
        (b"1 2 3 4\n", 1, "'1 2 3 4'"),
        (b"1 2 1\n\n3 4 0\n", 2, "''"),
        (b"1 2 1\n3 4\n0 5 6 7\n", 2, "'3 4'"),
        (b"1 2 1\n0 5 6 7\n3 4\n", 2, "'0 5 6 7'"),
        (b"1 2 1\n3 -4 0\n", 2, "'3 -4 0'"),
        (b"1 2 1\n3 4.0 0\n", 2, "'3 4.0 0'"),
        (b"1 2 1\n3 nan 0\n", 2, "'3 nan 0'"),
        (b"1 2 1\n3 1234567890 0\n", 2, "'3 1234567890 0'"),
        (b"1 2 1\n3 4\x0b0\n", 2, r"'3 4\x0b0'"),
        (b"\xef\xbb\xbf1 2 1\n", 1, r"'\\xef\\xbb\\xbf1 2 1'"),
        (b"1,2,1\n", 1, "'1,2,1'"),
        (b"1 2 1\n3 4 0\n5 6", 3, "'5 6'"),
        (b"\x00" * 300, 1, "'"),
        (b"1 2 1\n" + b"7" * 300_000, 2, "'" + "7" * 60 + "…'"),
    ],
)
@pytest.mark.parametrize("block", [1 << 21, 7])
def test_an_invalid_number_is_named_with_its_line(
    text: bytes, line: int, found: str, block: int, tmp_path: Path
) -> None:
    path = tmp_path / "pairs.txt"
    path.write_bytes(text)
    with pytest.raises(FedfrError) as caught:
        read(path, block)
    message = str(caught.value)
    assert message.startswith(
        f"{path}, line {line}: expected 3 whole numbers of up to 9 digits (template template 0/1)"
    )
    assert f"found {found}" in message
    assert "\n" not in message


def test_a_truncated_file_is_reported_or_loses_no_number(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    whole = [[12, 345, 1], [6, 7, 0], [999999999, 0, 1]]
    for size in range(1, len(GOOD)):
        path.write_bytes(GOOD[:size])
        lines = GOOD[:size].count(b"\n")
        if GOOD[:size].endswith((b"1", b"0")) and GOOD[size : size + 1] == b"\n":
            assert read(path) == whole[: lines + 1]
        elif GOOD[:size].endswith(b"\n"):
            assert read(path) == whole[:lines]
        else:
            with pytest.raises(FedfrError, match=f"line {lines + 1}: "):
                read(path)


def test_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(FedfrError, match=r"cannot read .*none.txt: No such file"):
        read(tmp_path / "none.txt")
    with pytest.raises(FedfrError, match=r"cannot read .*: Is a directory"):
        read(tmp_path)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(FedfrError, match=r"empty.txt is empty; fetch it again"):
        read(tmp_path / "empty.txt")


def test_numbers_are_int64(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_bytes(GOOD)
    ((_, values),) = number_lines(path, COLUMNS)
    assert values.dtype == np.int64
    assert values.shape == (3, 3)
