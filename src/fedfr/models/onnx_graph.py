"""Parsing of the nodes and constants of ONNX files without other libraries."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.core.files import read_file

__all__ = ["MAX_BYTES", "Graph", "Node", "check_tensors", "has_external_data", "message_fields", "read_graph"]

# Field numbers of onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
_MODEL_GRAPH, _GRAPH_NODE, _GRAPH_CONSTANT = 7, 1, 5
_INPUT, _OUTPUT, _OPERATION, _ATTRIBUTE = 1, 2, 4, 5
_NAME, _FLOAT, _INTEGER, _TENSOR, _FLOATS, _INTEGERS = 1, 2, 3, 5, 7, 8
_DIMENSIONS, _TYPE, _TENSOR_NAME, _RAW = 1, 2, 8, 9
# By ONNX element type: NumPy type, field of values that are not stored as raw bytes, and their type in that field.
_TYPES: Mapping[int, tuple[str, int, str]] = {
    1: ("<f4", 4, "<f4"),
    2: ("u1", 5, ""),
    3: ("i1", 5, ""),
    6: ("<i4", 5, ""),
    7: ("<i8", 7, ""),
    10: ("<f2", 5, ""),
    11: ("<f8", 10, "<f8"),
}
# Wire types of protocol buffers (https://protobuf.dev/programming-guides/encoding).
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_EXTERNAL, _SUBGRAPH, _SPARSE = 13, 6, 15
_BYTES_PER_VALUE: Mapping[int, int] = {
    1: 4,
    4: 2,
    5: 2,
    6: 4,
    7: 8,
    10: 2,
    11: 8,
    12: 4,
    13: 8,
    14: 8,
    15: 16,
    16: 2,
    21: 0,
    22: 0,
}
_ALLOCATING = frozenset({"ConstantOfShape", "Expand", "Tile", "RandomNormal", "RandomUniform"})
_MOST_ALLOCATED, _MOST_DIMENSIONS, _DEEPEST = 1 << 28, 8, 10
MAX_BYTES = 1 << 32
"""Largest size of a file."""
_LARGEST = 1 << 20
"""Largest number of values of a constant; larger ones are the weights of layers and are not read."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Node:
    """Operation of a graph: its type, the names of its inputs and outputs, and its numeric attributes."""

    operation: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """Nodes in execution order, and constants too small to be the weights of a layer."""

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]


def read_graph(path: Path) -> Graph:
    """Read the graph in a file; returns a graph without nodes if the file is damaged."""
    nodes: list[Node] = []
    constants: dict[str, Array] = {}
    try:
        for graph in _of(memoryview(read_file(path, MAX_BYTES)), _MODEL_GRAPH):
            for tensor in _of(graph, _GRAPH_CONSTANT):
                constants |= _constant(tensor)
            nodes += [_node(message) for message in _of(graph, _GRAPH_NODE)]
    except (IndexError, ValueError, OverflowError, OSError):
        return Graph((), {})
    for node in nodes:
        if node.operation == "Constant" and node.attributes and node.outputs:
            constants[node.outputs[0]] = next(iter(node.attributes.values()))
    return Graph(tuple(node for node in nodes if node.operation != "Constant"), constants)


def check_tensors(path: Path) -> None:
    """Raise ``ValueError`` if the tensors of a file claim more bytes than it and its external files contain.

    External files must be in the folder of the file. A runtime would allocate the memory or read the files.
    """
    content = read_file(path, MAX_BYTES)
    left = len(content)
    named: set[Path] = set()
    try:
        for tensor in _tensors(memoryview(content), _MODEL_GRAPH, 0):
            for entry in _of(tensor, _EXTERNAL):
                key, text = (next((bytes(each).decode() for each in _of(entry, number)), "") for number in (1, 2))
                if key == "location":
                    file = path.parent / text
                    if Path(text).is_absolute() or not file.resolve().is_relative_to(path.parent.resolve()):
                        raise ValueError(f"it names {text!r}, which is in another folder")
                    if not file.is_file():
                        raise ValueError(f"it names {text!r}, which does not exist")
                    if file not in named:
                        named.add(file)
                        left += file.stat().st_size
            shape = [abs(side) for side in _numbers(tensor, _DIMENSIONS)]
            left -= math.prod(shape) * _BYTES_PER_VALUE.get(next(iter(_numbers(tensor, _TYPE)), 0), 1)
            if left < 0:
                raise ValueError(
                    f"it claims a tensor of {'x'.join(map(str, shape[:8]))} values, which the file does not contain"
                )
    except (IndexError, OverflowError) as error:
        raise ValueError("it is damaged") from error
    graph = read_graph(path)
    for node in graph.nodes:
        if node.operation in _ALLOCATING:
            for array in (*node.attributes.values(), *(graph.constants.get(name) for name in node.inputs)):
                sides = (
                    [] if array is None or array.dtype.kind != "i" else [abs(int(each)) for each in array.reshape(-1)]
                )
                if len(sides) <= _MOST_DIMENSIONS and math.prod(sides) > _MOST_ALLOCATED:
                    raise ValueError(f"its {node.operation} would create {math.prod(sides)} values")


def has_external_data(content: bytes) -> bool:
    """Return whether weights of an ONNX file are in other files."""
    return any(
        next(_of(tensor, _EXTERNAL), None) is not None for tensor in _tensors(memoryview(content), _MODEL_GRAPH, 0)
    )


def _tensors(message: memoryview, graph: int, depth: int) -> Iterator[memoryview]:
    """Yield the tensors of every graph: constants, attributes of nodes, and those of graphs inside nodes."""
    if depth > _DEEPEST:
        raise ValueError("its graphs are nested too deeply")
    for body in _of(message, graph):
        if next(_of(body, _SPARSE), None) is not None:
            raise ValueError("it contains sparse tensors, whose size is not limited")
        yield from _of(body, _GRAPH_CONSTANT)
        for node in _of(body, _GRAPH_NODE):
            for attribute in _of(node, _ATTRIBUTE):
                yield from _of(attribute, _TENSOR)
                yield from _tensors(attribute, _SUBGRAPH, depth + 1)


def _node(message: memoryview) -> Node:
    names = {number: tuple(bytes(name).decode() for name in _of(message, number)) for number in (_INPUT, _OUTPUT)}
    operation = next((bytes(kind).decode() for kind in _of(message, _OPERATION)), "")
    attributes: dict[str, Array] = {}
    for attribute in _of(message, _ATTRIBUTE):
        name = next((bytes(each).decode() for each in _of(attribute, _NAME)), "")
        for number, value in message_fields(attribute):
            if number == _FLOAT and isinstance(value, memoryview):
                attributes[name] = np.frombuffer(value, "<f4")[0]
            elif number == _INTEGER and isinstance(value, int):
                attributes[name] = np.asarray(_signed(value))
            elif number == _TENSOR and isinstance(value, memoryview):
                for array in _constant(value).values():
                    attributes[name] = array
        floats = [np.frombuffer(value, "<f4") for value in _of(attribute, _FLOATS)]
        whole = _numbers(attribute, _INTEGERS)
        if floats or whole:
            attributes[name] = np.concatenate(floats) if floats else np.array(whole)
    return Node(operation, names[_INPUT], names[_OUTPUT], attributes)


def _constant(message: memoryview) -> dict[str, Array]:
    """Return a tensor by its name; nothing for weights of layers, tensors in other files and rare types."""
    shape = _numbers(message, _DIMENSIONS)
    kind = next(iter(_numbers(message, _TYPE)), 0)
    if kind not in _TYPES or np.prod(shape, dtype=float) > _LARGEST:
        return {}
    stored, place, packed = _TYPES[kind]
    raw = next(_of(message, _RAW), None)
    if raw is not None:
        values = np.frombuffer(raw, stored)
    elif packed:
        values = np.concatenate([np.frombuffer(part, packed) for part in _of(message, place)] or [np.empty(0)])
    else:
        whole = np.array(_numbers(message, place), np.int64)
        # Half-precision values are stored as the integers of their bits.
        values = whole.astype(np.uint16).view(np.float16) if stored == "<f2" else whole.astype(stored)
    if values.size != np.prod(shape, dtype=int):
        return {}
    name = next((bytes(each).decode() for each in _of(message, _TENSOR_NAME)), "")
    return {name: values.reshape(shape)}


def _numbers(message: memoryview, wanted: int) -> list[int]:
    """Return the integers of a repeated field, packed or not."""
    found: list[int] = []
    for number, value in message_fields(message):
        if number == wanted and isinstance(value, int):
            found.append(_signed(value))
        elif number == wanted and isinstance(value, memoryview):
            place = 0
            while place < len(value):
                single, place = _number(value, place)
                found.append(_signed(single))
    return found


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _of(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """Yield the values of a message's length-delimited fields with this number."""
    for number, value in message_fields(message):
        if number == wanted and isinstance(value, memoryview):
            yield value


def message_fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Yield numbers and values of a message's fields; stop at bytes that are not a field."""
    place = 0
    while place < len(message):
        key, place = _number(message, place)
        kind = key & 7
        if kind == _VARINT:
            value, place = _number(message, place)
            yield key >> 3, value
            continue
        if kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        elif kind == _LENGTH:
            length, place = _number(message, place)
        else:
            return
        if place + length > len(message):
            raise IndexError(f"a field ends at byte {place + length} of {len(message)}")
        yield key >> 3, message[place : place + length]
        place += length


def _number(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value & (1 << 64) - 1, place
    raise ValueError("a number has more than 64 bits")
