"""Encoding of named tensors in the safetensors format, written with one copy and read with none.

The safetensors library copies every tensor two or three times each way; at a few hundred megabytes per client that
dominates the server's work. The bytes equal the library's (https://github.com/huggingface/safetensors: length of the
header in eight bytes, the header as JSON, the tensors one after the other).
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from fedfr.core.files import parse_json

__all__ = ["pack", "packed", "raw_bytes", "read_header_metadata", "unpack"]

# In the library's order, widest first, so that every tensor begins at a multiple of its width.
DTYPES = {
    "I64": torch.int64,
    "F64": torch.float64,
    "F32": torch.float32,
    "I32": torch.int32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
METADATA = "__metadata__"
LENGTH = 8
# Names and shapes of the largest backbone take 60 kB; JSON in memory takes up to 25 times its length.
LONGEST_HEADER = 1 << 22
MOST_DIMENSIONS = 16
# Of one dimension, and of the product of all: torch cannot represent larger tensors.
LARGEST = 1 << 48


def pack(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """Return the tensors as bytes, widest dtype first and then by name, with ``metadata`` in the header.

    Raises KeyError for a dtype that is not in ``DTYPES``.
    """
    return b"".join(packed(tensors, metadata))


def packed(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> list[bytes | memoryview]:
    """Return the output of :func:`pack` in pieces to write one after the other; contiguous tensors are not copied."""
    ranks = {dtype: rank for rank, dtype in enumerate(DTYPES.values())}
    ordered = sorted(tensors.items(), key=lambda item: (ranks[item[1].dtype], item[0]))
    header: dict[str, object] = {METADATA: dict(metadata)}
    parts: list[bytes | memoryview] = []
    end = 0
    for name, tensor in ordered:
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        parts.append(raw_bytes(tensor))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % LENGTH)
    return [len(text).to_bytes(LENGTH, "little"), text, *parts]


def raw_bytes(tensor: torch.Tensor) -> memoryview:
    """Return a tensor's values as bytes; of a contiguous tensor on the CPU they are its own, not a copy."""
    flat = tensor.detach().cpu().contiguous()
    # A single value counts as contiguous whatever its stride, but a view as bytes needs a stride of 1.
    return flat.as_strided((flat.numel(),), (1,)).view(torch.uint8).numpy().data


@dataclass(frozen=True)
class _Entry:
    """Description of one tensor in the header, checked for types and possible values."""

    name: str
    code: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def values(self) -> int:
        return math.prod(self.shape)


def read_header_metadata(path: Path, longest_header: int = LONGEST_HEADER) -> dict[str, str]:
    """Read the metadata in a file's header without its tensors; raises as :func:`unpack` does, and OSError."""
    with path.open("rb") as file:
        length, size = int.from_bytes(file.read(LENGTH), "little"), os.fstat(file.fileno()).st_size
        return _header(file.read(_begin(length, size, longest_header) - LENGTH))[0]


def _begin(length: int, size: int, longest: int) -> int:
    """Return the offset of the tensors in ``size`` bytes whose header has ``length`` bytes."""
    begin = LENGTH + length
    if begin > size:
        raise ValueError(f"its header ends at byte {begin}, beyond the end")
    if length > longest:
        raise ValueError(f"its header takes {length} bytes, more than {longest}")
    return begin


def unpack(data: bytes, longest_header: int = LONGEST_HEADER) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Return the metadata, and the tensors as read-only views of ``data``.

    For any input, no view reaches outside the bytes, and a header longer than ``longest_header`` bytes is not parsed.
    Raises ValueError when the bytes are damaged or incomplete.
    """
    begin = _begin(int.from_bytes(data[:LENGTH], "little"), len(data), longest_header)
    metadata, entries = _header(data[LENGTH:begin])
    with warnings.catch_warnings():
        # torch has no read-only tensors and warns about them.
        warnings.filterwarnings("ignore", "The given buffer is not writable", UserWarning)
        body = torch.frombuffer(data, dtype=torch.uint8)[begin:]
    tensors: dict[str, torch.Tensor] = {}
    end = 0
    # Adjacent tensors of one dtype are split from one view: a view for each would cost several times as much.
    for code, group in groupby(entries, key=lambda entry: entry.code):
        dtype, begins, found = DTYPES[code], end, list(group)
        for entry in found:
            if entry.start != end or entry.stop - entry.start != entry.values * dtype.itemsize:
                raise ValueError(
                    f"{entry.name} of shape {entry.shape} does not fit into its bytes {entry.start} to {entry.stop}"
                )
            end = entry.stop
        if end > len(body):
            raise ValueError(f"its tensors take {end} bytes or more, but there are {len(body)}")
        if (begin + begins) % dtype.itemsize:
            raise ValueError(f"{found[0].name} begins at byte {begins}, which is not aligned for {code}")
        pieces = body[begins:end].view(dtype).split([entry.values for entry in found])
        tensors |= {entry.name: piece.view(entry.shape) for entry, piece in zip(found, pieces, strict=True)}
    if end != len(body):
        raise ValueError(f"its tensors take {end} of {len(body)} bytes")
    return metadata, tensors


def _header(text: bytes) -> tuple[dict[str, str], list[_Entry]]:
    header = parse_json(text, names_once=True)
    if not isinstance(header, dict):
        raise ValueError(f"its header is {type(header).__name__}, not an object")  # noqa: TRY004 - bytes, not arguments
    metadata = header.pop(METADATA, None)
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"its {METADATA} is not an object of texts")
    entries = [_entry(name, found) for name, found in header.items()]
    return metadata, sorted(entries, key=lambda entry: (entry.start, entry.stop))


def _entry(name: str, found: Any) -> _Entry:
    name.encode()  # Raises for half a surrogate pair, which cannot be stored.
    if not isinstance(found, dict) or found.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name[:60]!r} is not described by dtype, shape and data_offsets")
    code, shape, offsets = found["dtype"], found["shape"], found["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        raise ValueError(f"{name[:60]!r} has an unknown dtype")
    # Dimensions of 0 count as 1: torch multiplies the others all the same.
    if not _counts(shape) or len(shape) > MOST_DIMENSIONS or math.prod(side or 1 for side in shape) > LARGEST:
        raise ValueError(f"{name[:60]!r} has an impossible shape")
    if not _counts(offsets) or len(offsets) != 2:
        raise ValueError(f"{name[:60]!r} has invalid data_offsets")
    return _Entry(name, code, tuple(shape), *offsets)


def _counts(found: Any) -> bool:
    """Return whether ``found`` is a list of integers from 0 to ``LARGEST`` (JSON's ``true`` is not an integer)."""
    return isinstance(found, list) and all(type(value) is int and 0 <= value <= LARGEST for value in found)
