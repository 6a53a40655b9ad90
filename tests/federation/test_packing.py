"""Packed tensors compared with the safetensors library."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedfr.federation.packing import DTYPES, pack, unpack

Tensors = dict[str, torch.Tensor]


@st.composite
def tensors(draw: st.DrawFn) -> Tensors:
    names = draw(st.lists(st.text('aé."\\/ \n{', min_size=1, max_size=5), max_size=6, unique=True))
    made = {}
    for name in names:
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        made[name] = (9 * torch.rand(shape)).to(draw(st.sampled_from(list(DTYPES.values()))))
    return made


@given(given=tensors(), text=st.text(max_size=9))
def test_the_same_bytes_as_the_library(given: Tensors, text: str) -> None:
    data = pack(given, {"note": text})
    assert data == safetensors.torch.save(given, {"note": text})
    texts, found = unpack(data)
    assert texts == {"note": text}
    assert found.keys() == given.keys()
    for name, value in given.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        assert torch.equal(found[name], value)


def test_tensors_that_are_not_contiguous_are_packed_in_order() -> None:
    turned = torch.arange(6.0).reshape(2, 3).T
    assert torch.equal(unpack(pack({"a": turned}, {}))[1]["a"], turned)


def test_unpacking_copies_nothing() -> None:
    data = pack({"a": torch.ones(1000), "b": torch.zeros(5, dtype=torch.bool)}, {})
    first, second = unpack(data)[1], unpack(data)[1]
    assert all(first[name].data_ptr() == second[name].data_ptr() for name in first)


def with_entry(**changed: object) -> bytes:
    header = {"__metadata__": {}, "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24], **changed}}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + bytes(24)


def test_a_whole_entry_is_read() -> None:
    assert torch.equal(unpack(with_entry())[1]["a"], torch.zeros(2, 3))


@pytest.mark.parametrize(
    "changed",
    [
        {"shape": [2, 4]},
        {"shape": [-2, -3]},
        {"shape": [2.0, 3]},
        {"shape": ["a"]},
        {"shape": 6},
        {"shape": [0, 10**30], "data_offsets": [0, 0]},
        {"data_offsets": [4, 28]},
        {"data_offsets": [-24, 0]},
        {"data_offsets": [0, 20]},
        {"data_offsets": [0, 48], "shape": [12]},
        {"data_offsets": [0]},
        {"data_offsets": [0, 24, 24]},
        {"data_offsets": [False, 24]},
        {"data_offsets": None},
        {"shape": [True, 6]},
        {"shape": [1] * 17 + [6]},
        {"shape": [0] + [2**31] * 9, "data_offsets": [0, 0]},
        {"shape": None},
        {"more": 1},
        {"dtype": "F31"},
        {"dtype": ["F32"]},
        {"dtype": "F64"},
    ],
)
def test_an_entry_that_does_not_fit_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"'a'|a of shape|its tensors"):
        unpack(with_entry(**changed))


def test_misaligned_offsets_are_refused() -> None:
    entries = {"a": ("U8", [1], [0, 1]), "b": ("F32", [1], [1, 5])}
    names = ("dtype", "shape", "data_offsets")
    header = {name: dict(zip(names, entry, strict=True)) for name, entry in entries.items()}
    text = json.dumps({"__metadata__": {}, **header}).encode()
    with pytest.raises(ValueError, match="b begins at byte 1, which is not aligned for F32"):
        unpack(len(text).to_bytes(8, "little") + text + bytes(5))


def test_a_single_value_of_any_stride() -> None:
    """A column of a matrix with one row is contiguous to torch, and has the stride of the matrix."""
    column = torch.arange(6.0).reshape(3, 2)[1:2, 1]
    assert column.stride() == (2,)
    _, found = unpack(pack({"a": column, "b": column.to(torch.int64)[:0]}, {}))
    assert found["a"].tolist() == [3.0]
    assert found["b"].shape == (0,)
