"""Input range of an ONNX graph: −1 … 1, 0 … 1, or grey levels 0 … 255, derived from its first operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.models.onnx_graph import Graph, Node

__all__ = ["GREY", "SIGNED", "UNIT", "InputScaling", "input_scaling"]

SIGNED, UNIT, GREY = "-1 … 1", "0 … 1", "0 … 255"

_VALUE_PRESERVING = {
    "Cast",
    "CastLike",
    "Clip",
    "Dropout",
    "Identity",
    "Pad",
    "Reshape",
    "Resize",
    "Slice",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}
_SHAPE_QUERIES = {"Shape", "Size"}
# Layers of the network itself, and operations after which the scale no longer matters.
_FIRST_LAYERS = {
    "AveragePool",
    "Conv",
    "Flatten",
    "FusedConv",
    "Gemm",
    "GlobalAveragePool",
    "InstanceNormalization",
    "LayerNormalization",
    "MatMul",
    "MaxPool",
    "MeanVarianceNormalization",
    "SpaceToDepth",
}
_COLOURS = 3

Values = NDArray[np.float64]


@dataclass(frozen=True)
class InputScaling:
    """Operations of a graph on its input before the first layer.

    ``input_range`` is the expected range of the input, None if it cannot be determined; ``operations`` names those that
    scale the input; ``reverses_colours`` says whether they reverse the order of the colours.
    """

    input_range: str | None
    operations: tuple[str, ...]
    reverses_colours: bool = False


def input_scaling(graph: Graph, name: str) -> InputScaling:
    """Follow the input ``name`` to the first layer: ``y = slope·x + offset`` of each colour, and pixel statistics."""
    slope, offset = np.ones(1), np.zeros(1)
    operations: list[str] = []
    reverses, statistics = False, None
    while True:
        users = [node for node in graph.nodes if name in node.inputs and node.operation not in _SHAPE_QUERIES]
        if len(users) != 1:
            known = all(user.operation in _FIRST_LAYERS for user in users)
            operations += [] if known else sorted({user.operation for user in users})
            input_range = _range(slope, offset, statistics, bool(operations)) if known else None
            return InputScaling(input_range, tuple(operations), reverses)
        (node,) = users
        diagonal = _diagonal(node, graph)
        if diagonal is not None:
            by, more, reversing = diagonal
            slope, offset, reverses = slope * by, offset * by + more, reverses ^ reversing
            operations.append("Conv 1×1")
        elif node.operation in _FIRST_LAYERS:
            return InputScaling(_range(slope, offset, statistics, bool(operations)), tuple(operations), reverses)
        elif _reverses_colours(node, graph):
            reverses = not reverses
        elif node.operation == "BatchNormalization":
            operations.append(node.operation)
            scale, bias, mean, variance = (_colours(graph.constants.get(each)) for each in node.inputs[1:5])
            if scale is None or bias is None or mean is None or variance is None:
                return InputScaling(None, tuple(operations), reverses)
            deviation = np.sqrt(np.maximum(variance + float(node.attributes.get("epsilon", 1e-5)), 1e-12))
            if statistics is None:
                statistics = (mean - offset) / slope, deviation / np.abs(slope)
            slope, offset = slope * scale / deviation, (offset - mean) * scale / deviation + bias
            if not slope.all():
                return InputScaling(None, tuple(operations), reverses)
        elif node.operation in _ARITHMETIC:
            operations.append(node.operation)
            other = next((each for each in node.inputs if each != name), "")
            constant = _colours(graph.constants.get(other))
            step = None if constant is None else _ARITHMETIC[node.operation](constant, node.inputs[0] == name)
            if step is None:
                return InputScaling(None, tuple(operations), reverses)
            slope, offset = slope * step[0], offset * step[0] + step[1]
        elif node.operation not in _VALUE_PRESERVING:
            return InputScaling(None, (*operations, node.operation), reverses)
        name = node.outputs[0]


def _range(slope: Values, offset: Values, statistics: tuple[Values, Values] | None, scaled: bool) -> str | None:
    """Return the input range that this scaling maps to the usual input of a network, the same for all colours."""
    if not scaled:
        return SIGNED
    if not (np.isfinite(slope).all() and np.isfinite(offset).all() and (slope != 0).all()):
        return None
    if statistics is not None:
        return _agreed(_of_statistics, *statistics)
    return _agreed(_of_scaling, -offset / slope, 1 / slope)


def _agreed(rule: Callable[[float, float], str | None], mean: Values, deviation: Values) -> str | None:
    mean, deviation = np.broadcast_arrays(mean, deviation)
    found = {rule(*pair) for pair in zip(mean.tolist(), deviation.tolist(), strict=True)}
    return found.pop() if len(found) == 1 else None


def _of_scaling(mean: float, std: float) -> str | None:
    """Return the input range of a network that computes ``(x − mean) / std``."""
    if abs(mean) <= 0.02 and abs(std - 1) <= 0.02:
        return SIGNED
    if (std >= 16 and -1 <= mean <= 255) or (abs(std - 1) <= 0.02 and 16 <= mean <= 255):
        return GREY
    if (0.2 <= mean <= 0.8 and 0.1 <= std <= 0.6) or (-0.01 <= mean <= 0.8 and 1 / 260 <= std <= 1 / 250):
        return UNIT
    # Back to grey levels, for networks that were trained on those.
    if -1.1 <= mean <= -0.9 and 1 / 140 <= std <= 1 / 115:
        return SIGNED
    return None


def _of_statistics(mean: float, deviation: float) -> str | None:
    """Return the input range in which pixels have these statistics."""
    if 16 <= deviation <= 128 and 20 <= mean <= 235:
        return GREY
    if 0.2 <= mean <= 0.8 and 0.1 <= deviation <= 0.35:
        return UNIT
    if abs(mean) <= 0.35 and 0.35 <= deviation <= 1.05:
        return SIGNED
    return None


def _colours(constant: NDArray[Any] | None) -> Values | None:
    """Return a constant as one value or one per colour, averaged over pixels; None for any other shape or type."""
    if constant is None or not constant.size or constant.dtype.kind not in "fiu":
        return None
    values = np.asarray(constant, np.float64)
    if values.size == 1:
        return values.reshape(1)
    axes = [axis for axis, size in enumerate(values.shape) if size == _COLOURS]
    if len(axes) != 1:
        return None
    return np.asarray(values.mean(axis=tuple(axis for axis in range(values.ndim) if axis != axes[0])), np.float64)


def _diagonal(node: Node, graph: Graph) -> tuple[Values, Values, bool] | None:
    """Return slope, offset and reversal of colours of a 1×1 convolution that scales each colour; None for others."""
    weight = graph.constants.get(node.inputs[1]) if node.operation == "Conv" and len(node.inputs) > 1 else None
    if weight is None or weight.shape not in ((_COLOURS, 1, 1, 1), (_COLOURS, _COLOURS, 1, 1)):
        return None
    bias = _colours(graph.constants.get(node.inputs[2])) if len(node.inputs) > 2 else np.zeros(1)
    matrix = np.diag(weight.reshape(-1)) if weight.shape[1] == 1 else weight.reshape(_COLOURS, _COLOURS)
    reversing = not matrix.diagonal().all()
    diagonal = np.asarray(matrix[:, ::-1] if reversing else matrix, np.float64)
    if bias is None or np.count_nonzero(matrix) != _COLOURS or not diagonal.diagonal().all():
        return None
    return diagonal.diagonal(), bias, reversing


def _reverses_colours(node: Node, graph: Graph) -> bool:
    """Return whether a node reverses the order of the colours."""
    given = [graph.constants.get(each) for each in node.inputs[1:]]
    if node.operation == "Gather":
        return given[0] is not None and given[0].reshape(-1).tolist() == [2, 1, 0]
    steps = given[3] if node.operation == "Slice" and len(given) > 3 else None
    return steps is not None and steps.reshape(-1).tolist() == [-1]


def _difference(slope: float, constant: Values, first: bool) -> tuple[Values, Values]:
    return (np.ones(1), -constant) if first else (np.full(1, slope), constant)


_ARITHMETIC: Mapping[str, Callable[[Values, bool], tuple[Values, Values] | None]] = {
    "Add": lambda constant, first: (np.ones(1), constant),
    "Sub": lambda constant, first: _difference(-1.0, constant, first),
    "Mul": lambda constant, first: (constant, np.zeros(1)),
    "Div": lambda constant, first: (1 / constant, np.zeros(1)) if first and constant.all() else None,
}
