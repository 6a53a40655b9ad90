"""Named tensors in one piece of bytes, the safetensors format, written with one copy and read with none.

The safetensors library copies every tensor two or three times each way; at a few hundred megabytes per client that is
most of what the server does. The bytes are the library's own, to the bit (https://github.com/huggingface/safetensors:
eight bytes length of the header, the header as JSON, the tensors one behind the other).
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

__all__ = ["pack", "packed", "read_metadata", "unpack"]

# In the library's order: the widest first, so that every tensor begins at a multiple of its width.
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
MOST_SIDES = 16
# Of one side, and of all together: beyond it torch cannot count.
LARGEST = 1 << 48


def pack(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """The bytes of the tensors, widest type first and then by name, with texts in the header.

    Raises KeyError for a type of tensor that is not in ``DTYPES``.
    """
    return b"".join(packed(tensors, metadata))


def packed(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> list[bytes | memoryview]:
    """:func:`pack` in pieces, to be written one behind the other: views of the tensors, where those lie contiguous."""
    ranks = {dtype: rank for rank, dtype in enumerate(DTYPES.values())}
    ordered = sorted(tensors.items(), key=lambda item: (ranks[item[1].dtype], item[0]))
    header: dict[str, object] = {METADATA: dict(metadata)}
    parts: list[bytes | memoryview] = []
    end = 0
    for name, tensor in ordered:
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        flat = tensor.detach().cpu().contiguous()
        # A single value counts as contiguous whatever its stride, and bytes are seen only at a stride of 1.
        parts.append(flat.as_strided((flat.numel(),), (1,)).view(torch.uint8).numpy().data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % LENGTH)
    return [len(text).to_bytes(LENGTH, "little"), text, *parts]


@dataclass(frozen=True)
class _Entry:
    """What the header says of one tensor, of the right types and possible."""

    name: str
    code: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def values(self) -> int:
        return math.prod(self.shape)


def read_metadata(path: Path, longest_header: int = LONGEST_HEADER) -> dict[str, str]:
    """The texts in a file's header, whatever has become of its tensors; raises as :func:`unpack` does, and OSError."""
    with path.open("rb") as file:
        length, size = int.from_bytes(file.read(LENGTH), "little"), os.fstat(file.fileno()).st_size
        return _header(file.read(_begin(length, size, longest_header) - LENGTH))[0]


def _begin(length: int, size: int, longest: int) -> int:
    """Where the tensors begin in ``size`` bytes whose header says that it takes ``length``."""
    begin = LENGTH + length
    if begin > size:
        raise ValueError(f"its header ends at byte {begin}")
    if length > longest:
        raise ValueError(f"its header takes {length} bytes, more than {longest}")
    return begin


def unpack(data: bytes, longest_header: int = LONGEST_HEADER) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """The texts, and the tensors as views of ``data``, which nobody may write to.

    Whatever stands in the bytes, no view reaches outside them, and nothing is made of a header longer than
    ``longest_header`` bytes. Raises ValueError when they are not whole.
    """
    begin = _begin(int.from_bytes(data[:LENGTH], "little"), len(data), longest_header)
    metadata, entries = _header(data[LENGTH:begin])
    with warnings.catch_warnings():
        # torch knows no tensor that cannot be written to and says so.
        warnings.filterwarnings("ignore", "The given buffer is not writable", UserWarning)
        body = torch.frombuffer(data, dtype=torch.uint8)[begin:]
    tensors: dict[str, torch.Tensor] = {}
    end = 0
    # All neighbours of one type are cut out of one view: a view for each would cost several times as much.
    for code, group in groupby(entries, key=lambda entry: entry.code):
        dtype, begins, found = DTYPES[code], end, list(group)
        for entry in found:
            if entry.start != end or entry.stop - entry.start != entry.values * dtype.itemsize:
                raise ValueError(
                    f"{entry.name} of shape {entry.shape} does not fit into its bytes {entry.start} to {entry.stop}"
                )
            end = entry.stop
        if end > len(body):
            raise ValueError(f"its tensors take {end} bytes or more, there are {len(body)}")
        if (begin + begins) % dtype.itemsize:
            raise ValueError(f"{found[0].name} begins at byte {begins}, which {code} cannot")
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
        raise ValueError(f"its {METADATA} are no texts")
    entries = [_entry(name, found) for name, found in header.items()]
    return metadata, sorted(entries, key=lambda entry: (entry.start, entry.stop))


def _entry(name: str, found: Any) -> _Entry:
    name.encode()  # Half a surrogate pair is no name: it could be written down nowhere.
    if not isinstance(found, dict) or found.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name[:60]!r} is not described by dtype, shape and data_offsets")
    code, shape, offsets = found["dtype"], found["shape"], found["data_offsets"]
    if not isinstance(code, str) or code not in DTYPES:
        raise ValueError(f"{name[:60]!r} is of no known dtype")
    # Sides of 0 count as 1: torch multiplies the others all the same.
    if not _counts(shape) or len(shape) > MOST_SIDES or math.prod(side or 1 for side in shape) > LARGEST:
        raise ValueError(f"{name[:60]!r} has no shape that a tensor can have")
    if not _counts(offsets) or len(offsets) != 2:
        raise ValueError(f"{name[:60]!r} has no place in the bytes")
    return _Entry(name, code, tuple(shape), *offsets)


def _counts(found: Any) -> bool:
    """Whether this is a list of integers from 0 to ``LARGEST``; in JSON, true is no integer."""
    return isinstance(found, list) and all(type(value) is int and 0 <= value <= LARGEST for value in found)
