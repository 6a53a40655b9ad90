"""Malicious pickles: refused in one line, without execution and in bounded memory and time."""

from __future__ import annotations

import os
import pickle
import subprocess
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedfr.core.errors import FedfrError
from fedfr.faces import read_verification_set
from fedfr.faces.readers.safe_pickle import PlainPickleError, operations, read_plain_pickle


class Dangerous:
    """An object whose unpickling would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch gotcha",)


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


def laughs(levels: int) -> bytes:
    """A tuple of itself twice, nested ``levels`` times; printing or comparing it visits 2^levels values."""
    return b")q\x00" + b"0h\x00h\x00\x86q\x00" * levels


def deep(levels: int) -> bytes:
    """A tuple in a tuple in a tuple …"""
    return b"(" * levels + b"t" * levels


DTYPE, RECONSTRUCT = b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\n_reconstruct\n"
U1 = DTYPE + b"U\x02u1\x85R"
NDARRAY = RECONSTRUCT + b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Dangerous()), r"it refers to posix\.system, which lists of images do not need"),
        (pickle.dumps(Dangerous(), 0), r"it refers to posix\.system"),
        (b"\x80\x02]q\x00(cos\nsystem\n(U\x05touchtRe.", r"it refers to os\.system"),
        (b"cbuiltins\neval\n(S'1'\ntR.", r"it refers to builtins\.eval"),
        (b"\x80\x04\x8c\x05numpy\x8c\x04load\x93.", r"it refers to numpy\.load"),
        (b"cnumpy\nndarray\n(K\x05tR.", "it calls something that is not a function"),
        (b"cnumpy.core.multiarray\nfromstring\n.", r"it refers to numpy\.core\.multiarray\.fromstring"),
        (pickle.dumps(subprocess.run), r"it refers to subprocess\.run"),
        (b"c\x1b[2J\x07evil\nx\n.", r"it refers to \\x1b\[2J\\x07evil\.x"),
        (b"ios\nsystem\n.", "it uses the operation INST at byte 0"),
        (b"\x80\x02\x82\x01.", "it uses the operation EXT1"),
        (b"Pid\n.", "it uses the operation PERSID"),
        (b"\x80\x02)\x81.", "it uses the operation NEWOBJ"),
        (b"\x80\x05\x97.", "it uses the operation NEXT_BUFFER"),
        (pickle.dumps({"a": 1}), "it uses the operation EMPTY_DICT"),
        (pickle.dumps({1}), "it uses the operation EMPTY_SET"),
        (pickle.dumps(1.5), "it uses the operation BINFLOAT"),
        (pickle.dumps(1 << 3000), "it uses the operation LONG4"),
        (b"L" + b"9" * 5000 + b"L\n.", "it holds a number that is damaged"),
        (pickle.dumps(np.array([b"a", None], dtype=object)), "it holds an array of 'O8'; allowed are uint8 and bool"),
        (pickle.dumps(np.array([b"a", None], dtype=object), 2), "it holds an array of 'O8'"),
        (pickle.dumps(np.zeros(3)), "it holds an array of 'f8'"),
        (pickle.dumps(np.zeros(3, [("a", "u1")])), "it holds an array of 'V1'"),
        (b"\x80\x02" + DTYPE + b"U\x02u1\x85R(K\x03U\x01|N(U\x01at}Rtb.", "it uses the operation EMPTY_DICT"),
        (b"\x80\x02" + U1 + b"(K\x03U\x01|NU\x01aNtb.", "it holds an array with fields"),
        (pickle.dumps(np.zeros((2, 2, 2), np.uint8), 2), "a shape that compressed images do not have"),
        (
            b"\x80\x02" + NDARRAY + b"(K\x01J\xff\xff\xff\x7f\x85" + U1 + b"\x89U\x01atb.",
            "shape and values do not agree",
        ),
        (b"\x80\x02" + NDARRAY + b"(K\x01J\xff\xff\xff\xff\x85" + U1 + b"\x89U\x01atb.", "a shape that compressed"),
        (b"\x80\x02" + NDARRAY + b".", "it holds something other than lists, images and truth values"),
        (b"\x80\x02]" + NDARRAY + b"\x85a.", "it holds something other than lists"),
        (b"\x80\x02]" + U1 + b"a.", "it holds something other than lists"),
        (b"cnumpy\ndtype\n.", "it holds something other than lists"),
        (b"(.", "it holds something other than lists"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00punyc\x86R.", "it encodes something other"),
        (b"c_codecs\nencode\nV\\u0100\nVlatin1\n\x86R.", r"it is damaged \(UnicodeEncodeError\)"),
        (b"\x80\x02" + b"(" * 50_000 + b"l" * 50_001 + b".", "it closes a list that was not opened"),
        (b"\x80\x02h\x05.", r"it is damaged \(KeyError\)"),
        (b"\x80\x02a.", r"it is damaged \(IndexError\)"),
        (b"\x80\x02K\x01K\x02b.", "it sets the state of something that has none"),
        (b"\x80\x02K\x01K\x02a.", "it appends to something that is not a list"),
        (b"S'cut\n.", "it holds a string without its quotes"),
        (b"S'\\q'\n.", "it holds a string that is damaged"),
        (b"S'\\x4'\n.", "it holds a string that is damaged"),
        (b"S'a\\'\n.", "it holds a string that is damaged"),
        (b"X\x01\x00\x00\x00\xff.", "it holds text that is damaged"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "it holds ff, which is not an operation, at byte 0"),
        (b"", "it is truncated: 1 bytes should follow byte 0"),
    ],
)
def test_malicious_pickles_are_refused_and_not_executed(
    content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlainPickleError, match=message) as caught:
        read_plain_pickle(content)
    assert str(caught.value).isprintable()
    assert list(tmp_path.iterdir()) == []


PAIR = b"\x80\x02](U\x01aU\x01be]"


@pytest.mark.parametrize("value", [laughs(60), deep(20_000)], ids=["laughs", "deep"])
@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (PAIR, b"a\x86.", "pair 0 has the label tuple; expected true or false"),
        (b"\x80\x02](U\x01a", b"e](\x88e\x86.", "image 1 is tuple, not compressed bytes"),
        (b"\x80\x02", b".", "does not hold a list of images and a list of labels"),
        (b"\x80\x02" + DTYPE, b"\x85R.", "it holds an array of an unknown type"),
        (b"\x80\x02" + RECONSTRUCT, b"U\x00U\x01b\x87R.", "it holds an array of an unknown kind"),
        (b"\x80\x02" + NDARRAY, b"b.", "it holds an array that is not in NumPy's form"),
        (b"\x80\x02" + NDARRAY + b"(K\x01", U1 + b"\x89U\x01atb.", "a shape that compressed images do not have"),
        (b"\x80\x02c_codecs\nencode\n", b"X\x06\x00\x00\x00latin1\x86R.", "it encodes something other than bytes"),
        (b"\x80\x02", b"X\x01\x00\x00\x00a\x93.", "it refers to a global without a name"),
        (b"\x80\x02", b")R.", "it calls something that is not a function"),
    ],
)
def test_deeply_repeated_values_are_not_traversed(
    before: bytes, after: bytes, value: bytes, message: str, tmp_path: Path
) -> None:
    """Printing or comparing 2^60 values would not end; nesting 20 000 deep would exceed the recursion limit."""
    path = tmp_path / "x.bin"
    path.write_bytes(before + value + after)
    started = time.process_time()
    with pytest.raises(FedfrError, match=message) as caught:
        read_verification_set(path)
    assert time.process_time() - started < 10
    assert str(caught.value).isprintable()


def test_a_list_that_contains_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"\x80\x02]q\x00h\x00a](\x88e\x86.")
    with pytest.raises(FedfrError, match="image 0 is list, not compressed bytes"):
        read_verification_set(path)


def peak(content: bytes, path: Path) -> int:
    """Return the peak memory in bytes while a file with this content is read and refused."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(FedfrError):
            read_verification_set(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x03B\xff\xff\xff\x7fx.",
        b"\x80\x02T\xff\xff\xff\xffx.",
        b"\x80\x04\x8e" + number(1 << 40, 8) + b"x.",
        b"\x80\x04\x8d" + number(1 << 62, 8) + b"x.",
        b"\x80\x05\x96" + number(1 << 40, 8) + b"x.",
        b"\x80\x02\x8b\xff\xff\xff\x7fx.",
        # A memo index of two billion makes Python's own unpickler take 16 GB.
        b"\x80\x02]r\xff\xff\xff\x7f.",
        b"\x80\x04\x95" + number(1 << 60, 8) + b"].",
        b"\x80\x02" + NDARRAY + b"(K\x01\x8a\x08" + number(1 << 60, 8) + b"\x85" + U1 + b"\x89U\x01atb.",
    ],
)
def test_announced_sizes_allocate_no_memory(content: bytes, tmp_path: Path) -> None:
    assert peak(content, tmp_path / "x.bin") < 1 << 20


MEGABYTE = 1 << 20
TEXT = b"X" + number(MEGABYTE, 4) + b"a" * MEGABYTE
STATE = b"(K\x01J" + number(MEGABYTE, 4) + b"\x85" + U1 + b"\x89T" + number(MEGABYTE, 4) + b"a" * MEGABYTE + b"tq\x01"


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02c_codecs\nencode\nq\x00" + TEXT + b"X\x06\x00\x00\x00latin1\x86q\x01](" + b"h\x00h\x01R" * 1000,
        b"\x80\x02" + NDARRAY + STATE + b"b](" + (NDARRAY + b"h\x01b") * 1000,
        # One array that stands in the list a thousand times: an honest pickle may do that, and it stays one array.
        b"\x80\x02" + NDARRAY + b"q\x02" + STATE + b"b](" + b"h\x02" * 1000,
    ],
    ids=["text encoded again and again", "arrays of one content", "one array"],
)
def test_memoized_values_are_not_copied(content: bytes, tmp_path: Path) -> None:
    """A megabyte requested a thousand times would take a gigabyte."""
    assert peak(content + b"e](" + b"\x88" * 500 + b"e\x86.", tmp_path / "x.bin") < 12 * MEGABYTE


def test_too_many_operations_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "MAX_OPERATIONS", 1000)
    assert read_plain_pickle(b"(" + b"N" * 997 + b"l.") == [None] * 997
    with pytest.raises(PlainPickleError, match="it takes more than 1000 operations"):
        read_plain_pickle(b"(" + b"N" * 998 + b"l.")
