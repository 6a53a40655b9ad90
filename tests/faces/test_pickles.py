"""Pickles of pictures: every protocol is read, nothing is run, nothing grows."""

from __future__ import annotations

import os
import pickle
import subprocess
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedfr.faces.pickles import PlainPickleError, read_plain_pickle

PICTURES = [b"\xff\xd8 first", b"", b"x" * 300, bytes(range(256))]
SAME = [True, False]


def plain(value: Any) -> Any:
    """Arrays as their bytes."""
    return [part.tobytes() if isinstance(part, np.ndarray) else part for part in value]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_gives_what_was_written(protocol: int) -> None:
    arrays = [np.frombuffer(picture, np.uint8) for picture in PICTURES]
    truths = [True, False, np.bool_(True), 1]
    pictures, same = read_plain_pickle(pickle.dumps(([*PICTURES, *arrays], truths), protocol))
    assert plain(pictures) == [*PICTURES, *PICTURES]
    assert same == [True, False, True, 1]


def test_what_python_2_wrote() -> None:
    """Protocol 2 with the strings of Python 2, put together by hand: (['ab', 'cd…'], [True, False])."""
    long = b"c" * 300
    content = (
        b"\x80\x02]q\x00(U\x02abq\x01T" + len(long).to_bytes(4, "little") + long + b"q\x02e]q\x03(\x88\x89e\x86q\x04."
    )
    assert pickle.loads(content, encoding="bytes") == ([b"ab", long], SAME)
    assert read_plain_pickle(content) == ([b"ab", long], SAME)


@pytest.mark.parametrize("place", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_the_arrays_of_both_numpys(place: str) -> None:
    content = pickle.dumps(np.arange(5, dtype=np.uint8), 2)
    for name in (b"numpy._core.multiarray", b"numpy.core.multiarray"):
        content = content.replace(name, place.encode())
    np.testing.assert_array_equal(read_plain_pickle(content), [0, 1, 2, 3, 4])


class Dangerous:
    """Unpickled, it would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch gotcha",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Dangerous()), r"it asks for posix\.system"),
        (pickle.dumps(Dangerous(), 0), r"it asks for posix\.system"),
        (b"cbuiltins\neval\n(S'1'\ntR.", r"it asks for builtins\.eval"),
        (b"\x80\x04\x8c\x05numpy\x8c\x04load\x93.", r"it asks for numpy\.load"),
        (pickle.dumps(subprocess.run), "it asks for subprocess.run"),
        (pickle.dumps(np.array([b"a", None], dtype=object)), "it holds an array of 'O8'; allowed are uint8 and bool"),
        (pickle.dumps(np.zeros(3)), "it holds an array of 'f8'"),
        (pickle.dumps(np.zeros(3, [("a", "u1")])), "it holds an array of 'V1'"),
        (pickle.dumps({"a": 1}), "it asks for the operation EMPTY_DICT"),
        (pickle.dumps(1.5), "it asks for the operation BINFLOAT"),
        (b"\x80\x04\x8e" + (1 << 60).to_bytes(8, "little") + b"x.", "expected 1152921504606846976 bytes"),
        (b"\x80\x02" + b"(" * 50_000 + b"l" * 50_001 + b".", "it closes a list that it did not open"),
        (b"\x80\x02h\x05.", r"it is damaged \(KeyError\)"),
        (b"\x80\x02K\x01a.", r"it is damaged \(IndexError\)"),
        (b"\x80\x02(K\x01e.", r"it is damaged \(IndexError\)"),
        (b"\x80\x02K\x01K\x02b.", "it gives a state to something that has none"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", r"opcode b'\\xff' unknown"),
        (b"", "pickle exhausted before seeing STOP"),
    ],
)
def test_anything_else_is_refused_unrun(
    content: bytes, message: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlainPickleError, match=message) as caught:
        read_plain_pickle(content)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_announced_lengths_take_no_memory() -> None:
    """A memo index of two billion makes Python's own unpickler take 16 GB."""
    bombs = [
        b"\x80\x03B\xff\xff\xff\x7fx.",
        b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b"x.",
        b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b"x.",
        b"\x80\x02\x8b\xff\xff\xff\x7fx.",
    ]
    tracemalloc.start()
    for bomb in bombs:
        with pytest.raises(PlainPickleError):
            read_plain_pickle(bomb)
    assert read_plain_pickle(b"\x80\x02]r\xff\xff\xff\x7f.") == []
    assert read_plain_pickle(b"\x80\x04\x95" + (1 << 60).to_bytes(8, "little") + b"].") == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_cut_short_at_any_byte(protocol: int) -> None:
    content = pickle.dumps((PICTURES, SAME), protocol)
    for end in range(len(content)):
        with pytest.raises(PlainPickleError):
            read_plain_pickle(content[:end])


@settings(max_examples=400, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 1 << 10), st.integers(0, 255)), min_size=1, max_size=6), data=st.data()
)
def test_damaged_bytes_end_in_a_value_or_in_one_line(changes: list[tuple[int, int]], data: st.DataObject) -> None:
    content = bytearray(pickle.dumps((PICTURES, SAME), data.draw(st.integers(0, 5))))
    for place, value in changes:
        content[place % len(content)] = value
    try:
        read_plain_pickle(bytes(content))
    except PlainPickleError as error:
        text = str(error)
    else:
        text = ""
    assert "\n" not in text


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_end_in_a_value_or_in_one_line(content: bytes) -> None:
    try:
        read_plain_pickle(content)
    except PlainPickleError as error:
        text = str(error)
    else:
        text = ""
    assert "\n" not in text
