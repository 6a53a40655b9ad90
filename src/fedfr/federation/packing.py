"""Named tensors in one piece of bytes, the safetensors format, written with one copy and read with none.

The safetensors library copies every tensor two or three times each way; at a few hundred megabytes per client that is
most of what the server does. The bytes are the library's own, to the bit (https://github.com/huggingface/safetensors:
eight bytes length of the header, the header as JSON, the tensors one behind the other).
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from itertools import groupby

import torch

__all__ = ["pack", "packed", "unpack"]

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
        parts.append(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % LENGTH)
    return [len(text).to_bytes(LENGTH, "little"), text, *parts]


def unpack(data: bytes) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """The texts, and the tensors as views of ``data``, which nobody may write to.

    Whatever stands in the bytes, no view reaches outside them: raises ValueError, LookupError, TypeError,
    ArithmeticError or RuntimeError when they are not whole.
    """
    begin = LENGTH + int.from_bytes(data[:LENGTH], "little")
    if begin > len(data):
        raise ValueError(f"its header ends at byte {begin}")
    header = json.loads(data[LENGTH:begin])
    metadata = header.pop(METADATA)
    with warnings.catch_warnings():
        # torch knows no tensor that cannot be written to and says so.
        warnings.filterwarnings("ignore", "The given buffer is not writable", UserWarning)
        body = torch.frombuffer(data, dtype=torch.uint8)[begin:]
    tensors: dict[str, torch.Tensor] = {}
    end = 0
    ordered = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    # All neighbours of one type are cut out of one view: a view for each would cost several times as much.
    for code, group in groupby(ordered, key=lambda item: item[1]["dtype"]):
        dtype, begins = DTYPES[code], end
        shapes: dict[str, list[int]] = {}
        counts: list[int] = []
        for name, entry in group:
            shape, (start, stop) = entry["shape"], entry["data_offsets"]
            count = math.prod(shape)
            if start != end or stop - start != count * dtype.itemsize or min(shape, default=0) < 0:
                raise ValueError(f"{name} of shape {shape} does not fit into its bytes {start} to {stop}")
            shapes[name] = shape
            counts.append(count)
            end = stop
        if end > len(body):
            raise ValueError(f"its tensors take {end} bytes or more, there are {len(body)}")
        pieces = body[begins:end].view(dtype).split(counts)
        tensors |= {name: piece.view(shape) for name, piece, shape in zip(shapes, pieces, shapes.values(), strict=True)}
    if end != len(body):
        raise ValueError(f"its tensors take {end} of {len(body)} bytes")
    return metadata, tensors
