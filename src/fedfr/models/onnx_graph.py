"""What kind of operations an ONNX file begins with, read from its bytes alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

__all__ = ["first_operations"]

# Field numbers of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
_MODEL_GRAPH, _GRAPH_NODE, _NODE_OPERATION = 7, 1, 4
# Wire types of protocol buffers (https://protobuf.dev/programming-guides/encoding).
_VARINT, _WIDE, _LENGTH, _NARROW = 0, 1, 2, 5


def first_operations(path: Path, count: int) -> list[str]:
    """Types of the first ``count`` nodes, such as ``Conv``; fewer where there are fewer, none of a damaged file."""
    content = memoryview(path.read_bytes())
    try:
        nodes = (node for graph in _of(content, _MODEL_GRAPH) for node in _of(graph, _GRAPH_NODE))
        return [bytes(kind).decode() for node in islice(nodes, count) for kind in _of(node, _NODE_OPERATION)]
    except (IndexError, UnicodeDecodeError):
        return []


def _of(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """The fields of a message that have this number and a length; stops where the bytes are no message."""
    place = 0
    while place < len(message):
        key, place = _number(message, place)
        kind = key & 7
        if kind == _VARINT:
            _, place = _number(message, place)
        elif kind in (_WIDE, _NARROW):
            place += 8 if kind == _WIDE else 4
        elif kind == _LENGTH:
            length, place = _number(message, place)
            if place + length > len(message):
                raise IndexError(f"a field ends at byte {place + length} of {len(message)}")
            if key >> 3 == wanted:
                yield message[place : place + length]
            place += length
        else:
            return


def _number(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
