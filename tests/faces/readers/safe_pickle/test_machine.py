"""Pickles of images by all versions of Python and NumPy: read as plain values."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.python2_pickles import protocol_0, protocol_1, protocol_2, protocol_2_arrays

from fedfr.faces.readers.safe_pickle import PlainPickleError, read_plain_pickle

# Every byte there is, and what Python 2's repr writes with escapes.
IMAGES = [b"\xff\xd8 first", b"", b"x" * 300, bytes(range(256)), b'it\'s "quoted"\\n\\x41\n\r\t\\']
SAME = [True, False]


def plain(value: Any) -> Any:
    """Arrays as their bytes."""
    return [part.tobytes() if isinstance(part, np.ndarray) else part for part in value]


def only_plain(value: Any) -> bool:
    """Return whether there are only lists, tuples, bytes, texts, numbers, bools and arrays of one-byte values."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if type(found) in (list, tuple):
            if id(found) not in seen:
                seen.add(id(found))
                waiting += found
        elif type(found) is np.ndarray:
            if found.dtype not in (np.uint8, np.bool_):
                return False
        elif type(found) not in (bytes, str, int, bool, type(None)):
            return False
    return True


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_is_read(protocol: int) -> None:
    arrays = [np.frombuffer(image, np.uint8) for image in IMAGES]
    truths = [True, False, np.bool_(True), 1]
    images, same = read_plain_pickle(pickle.dumps(([*IMAGES, *arrays], truths), protocol))
    assert plain(images) == [*IMAGES, *IMAGES]
    assert same == [True, False, True, 1]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_form(protocol: int) -> None:
    """Writeable, read-only, two-dimensional, Fortran-ordered and bool arrays, and a repeated object."""
    column = np.arange(6, dtype=np.uint8)[:, None]
    given = [column, np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3)), np.array([True, False]), column]
    found, beside = read_plain_pickle(pickle.dumps((given, np.array([True, False])), protocol))
    for array, wanted in zip(found, given, strict=True):
        assert (array.dtype, array.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_array_equal(array, wanted)
    assert found[0] is found[3]
    assert beside.tolist() == [True, False]


@pytest.mark.parametrize("write", [protocol_0, protocol_1, protocol_2])
def test_pickles_of_python_2(write: Any) -> None:
    content = write(IMAGES, SAME)
    assert pickle.loads(content, encoding="bytes") == (IMAGES, SAME)
    assert read_plain_pickle(content) == (IMAGES, SAME)


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_arrays_of_python_2(module: bytes) -> None:
    content = protocol_2_arrays(IMAGES, SAME, module)
    # NumPy 2 warns of its old name.
    theirs, _ = pickle.loads(content.replace(b"numpy.core", b"numpy._core"), encoding="latin1")
    images, same = read_plain_pickle(content)
    assert plain(images) == plain(theirs) == IMAGES
    assert [image.shape for image in images] == [(len(image), 1) for image in IMAGES]
    assert same == SAME


@pytest.mark.parametrize("place", ["numpy.core.", "numpy._core."])
@pytest.mark.parametrize("protocol", [0, 2, 3])
def test_arrays_of_numpy_1_and_2(place: str, protocol: int) -> None:
    content = pickle.dumps([np.arange(5, dtype=np.uint8), np.bool_(True)], protocol)
    array, truth = read_plain_pickle(content.replace(b"numpy._core.", place.encode()))
    np.testing.assert_array_equal(array, [0, 1, 2, 3, 4])
    assert truth is True


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_truncated_at_every_byte(protocol: int) -> None:
    content = pickle.dumps((IMAGES, SAME), protocol)
    for end in range(len(content)):
        with pytest.raises(PlainPickleError) as caught:
            read_plain_pickle(content[:end])
        assert str(caught.value).startswith("it is truncated: ")


def check(content: bytes) -> None:
    """Check for a plain value, or a one-line error with printable characters only."""
    try:
        found = read_plain_pickle(content)
    except PlainPickleError as error:
        found = str(error)
    assert only_plain(found)
    if isinstance(found, str):
        assert found.isprintable()
        assert len(found) < 300


WHOLE = [
    *(pickle.dumps((IMAGES, SAME), protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
    *(pickle.dumps(([np.arange(9, dtype=np.uint8)], np.array(SAME)), protocol) for protocol in (0, 2, 4, 5)),
    *(write(IMAGES, SAME) for write in (protocol_0, protocol_1, protocol_2)),
    protocol_2_arrays(IMAGES, SAME, b"numpy.core.multiarray"),
]


@settings(max_examples=400, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 1 << 11), st.integers(0, 255)), min_size=1, max_size=6),
    whole=st.sampled_from(WHOLE),
)
def test_damaged_bytes_give_plain_values_or_one_line(changes: list[tuple[int, int]], whole: bytes) -> None:
    content = bytearray(whole)
    for place, value in changes:
        content[place % len(content)] = value
    check(bytes(content))


PIECES = [
    *(b"(", b")", b"]", b"l", b"t", b"\x85", b"\x86", b"\x87", b"a", b"e", b"R", b"b", b"0", b"N", b"\x88", b"\x94"),
    *(b"h\x00", b"h\x01", b"q\x00", b"q\x01", b"K\x01", b"U\x01a", b"C\x02ab", b"\x8c\x02u1", b"\x8c\x06latin1"),
    *(b"c_codecs\nencode\n", b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"cnumpy.core.multiarray\n_reconstruct\n"),
    *(b"cnumpy._core.numeric\n_frombuffer\n", b"\x93"),
]


@settings(max_examples=600, deadline=None)
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=30))
def test_any_operations_give_plain_values_or_one_line(pieces: list[bytes]) -> None:
    check(b"\x80\x04" + b"".join(pieces) + b".")


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_give_plain_values_or_one_line(content: bytes) -> None:
    check(content)
