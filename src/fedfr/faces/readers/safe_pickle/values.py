"""Functions that a pickle of images may call; looked up in a fixed table, never by name.

Values of the file are not printed, compared or copied before their type is known, because a value that contains itself
many times would take unbounded time.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.faces.readers.safe_pickle.operations import PlainPickleError

__all__ = ["CALLS", "GlobalName", "StatefulObject", "UnfinishedArray"]

_ONE_BYTE = {"u1": np.uint8, "|u1": np.uint8, "b1": np.bool_, "|b1": np.bool_, "?": np.bool_}


class GlobalName:
    """A global name in the pickle; raises :class:`PlainPickleError` for all but a few allowed names."""

    def __init__(self, module: object, name: object) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise PlainPickleError("it refers to a global without a name")
        # NumPy 2 moved what NumPy 1 wrote as numpy.core.multiarray.
        self.key = module.replace("numpy._core.", "numpy.core.", 1), name
        if self.key not in _NAMES:
            # repr escapes control sequences of terminals.
            shown = repr(f"{module[:80]}.{name[:80]}")[1:-1]
            raise PlainPickleError(f"it refers to {shown}, which lists of images do not need")


class StatefulObject(ABC):
    """An object whose state the operation BUILD sets."""

    @abstractmethod
    def with_state(self, state: object) -> object:
        """Return the object with this state; raises :class:`PlainPickleError` for a state that NumPy does not write."""


class _Dtype(StatefulObject):
    """A NumPy type by its code; only types of one byte are allowed."""

    def __init__(self, code: object, *_: object) -> None:
        text = code.decode("latin-1") if isinstance(code, bytes) else code
        if not isinstance(text, str) or text not in _ONE_BYTE:
            type_name = repr(text[:20]) if isinstance(text, str) else "an unknown type"
            raise PlainPickleError(f"it holds an array of {type_name}; allowed are uint8 and bool")
        self.type = _ONE_BYTE[text]

    def with_state(self, state: object) -> _Dtype:
        """Check that the type has no fields; its byte order is irrelevant for one byte."""
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise PlainPickleError("it holds an array with fields")
        return self


class UnfinishedArray(StatefulObject):
    """An array whose ``values`` are None until its state is set."""

    def __init__(self, kind: object, *_: object) -> None:
        if not isinstance(kind, GlobalName) or kind.key != ("numpy", "ndarray"):
            raise PlainPickleError("it holds an array of an unknown kind")
        self.values: NDArray[Any] | None = None

    def with_state(self, state: object) -> NDArray[Any]:
        """Set the state ``(version, shape, dtype, Fortran order, bytes)`` that NumPy writes."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise PlainPickleError("it holds an array that is not in NumPy's form")
        _, shape, dtype, fortran, content = state
        self.values = _array(content, dtype, shape, "F" if isinstance(fortran, int) and fortran else "C")
        return self.values


def _array(content: object, dtype: object, shape: object, order: object) -> NDArray[Any]:
    """Return an array that is a view of ``content``."""
    if not isinstance(content, bytes) or not isinstance(dtype, _Dtype) or not isinstance(shape, tuple):
        raise PlainPickleError("it holds an array that is not in NumPy's form")
    if len(shape) > 2 or not all(type(side) is int and side >= 0 for side in shape):
        raise PlainPickleError("it holds an array of a shape that compressed images do not have")
    if math.prod(shape) != len(content):
        raise PlainPickleError("it holds an array whose shape and values do not agree")
    values: NDArray[Any] = np.frombuffer(content, dtype.type)
    return values.reshape(shape, order="F" if isinstance(order, str) and order == "F" else "C")


def _scalar(dtype: object, content: object) -> bool:
    found = _array(content, dtype, (1,), "C")
    if found.dtype != np.bool_:
        raise PlainPickleError("it holds a number where a truth value is expected")
    return bool(found[0])


def _encode(text: object, coding: object) -> bytes:
    """Decode bytes as Python 3 writes them in protocols up to 2."""
    if not isinstance(text, str) or not isinstance(coding, str) or coding not in ("latin1", "latin-1"):
        raise PlainPickleError("it encodes something other than bytes")
    return text.encode("latin-1")


def _no_bytes() -> bytes:
    return b""


CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): UnfinishedArray,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "bytes"): _no_bytes,
}
"""Allowed functions by module and name."""

_NAMES = frozenset({*CALLS, ("numpy", "ndarray")})
