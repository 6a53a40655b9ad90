"""Reading pickles that hold lists of pictures, without unpickling: nothing but plain values can come out.

Python's ``Unpickler`` is not used, not even a restricted one: it gives memory to whatever length a file announces. The
few operations that such files consist of are carried out here, on bytes, numbers, lists and tuples alone.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["PlainPickleError", "read_plain_pickle"]

_MARK = object()
MOST_OPERATIONS = 10_000_000


class PlainPickleError(ValueError):
    """A pickle that is damaged, or more than plain data; the text is one line without its name."""


class _Global:
    """A name that the pickle asks for, never looked up: only what stands in ``_CALLS`` can be done with it."""

    def __init__(self, module: str, name: str) -> None:
        self.key = module.removeprefix("numpy._core.").removeprefix("numpy.core."), name


class _Dtype:
    """A NumPy type by its code; one byte per value is all there is."""

    def __init__(self, code: object) -> None:
        text = code.decode("latin-1") if isinstance(code, bytes) else code
        if text not in ("u1", "|u1", "b1", "|b1", "?"):
            raise PlainPickleError(f"it holds an array of {text!r}; allowed are uint8 and bool")
        self.bool = text not in ("u1", "|u1")

    def set_state(self, state: object) -> None:
        """Byte order and field names; with one byte and no fields there is nothing to remember."""
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise PlainPickleError("it holds an array with fields")


class _Array:
    """An array under way: its values come with its state."""

    def __init__(self) -> None:
        self.values: np.ndarray[Any, Any] | None = None

    def set_state(self, state: object) -> None:
        """``(version, shape, dtype, order, bytes)`` as NumPy writes it."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise PlainPickleError("it holds an array that is not in NumPy's form")
        _, shape, dtype, fortran, content = state
        self.values = _values(content, dtype, shape, "F" if fortran else "C")


def _values(content: object, dtype: object, shape: object, order: object) -> np.ndarray[Any, Any]:
    if isinstance(content, str):  # Python 2 wrote bytes as text
        content = content.encode("latin-1")
    if not isinstance(content, bytes | bytearray) or not isinstance(dtype, _Dtype) or not isinstance(shape, tuple):
        raise PlainPickleError("it holds an array that is not in NumPy's form")
    if not all(type(side) is int and side >= 0 for side in shape):
        raise PlainPickleError(f"it holds an array of shape {shape}")
    values: np.ndarray[Any, Any] = np.frombuffer(content, np.bool_ if dtype.bool else np.uint8)
    return values.reshape(shape, order="F" if order in ("F", b"F") else "C")


def _encode(text: object, coding: object) -> bytes:
    """How protocol 2 writes bytes under Python 3."""
    if not isinstance(text, str) or coding not in ("latin1", "latin-1"):
        raise PlainPickleError("it encodes something else than bytes")
    return text.encode("latin-1")


def _scalar(dtype: object, content: object) -> bool:
    found = _values(content, dtype, (1,), "C")
    if found.dtype != np.bool_:
        raise PlainPickleError("it holds a number where truth values stand")
    return bool(found[0])


def _from_buffer(content: object, dtype: object, shape: object, order: object) -> np.ndarray[Any, Any]:
    return _values(content, dtype, shape, order)


def _dtype(code: object, align: object = False, copy: object = True) -> _Dtype:
    return _Dtype(code)


def _empty_array(kind: object, shape: object, code: object) -> _Array:
    if not isinstance(kind, _Global) or kind.key != ("numpy", "ndarray"):
        raise PlainPickleError("it holds an array of an unknown kind")
    return _Array()


def _empty_bytes() -> bytes:
    return b""


# By module (NumPy 1 and 2 name theirs differently) and name: the only things that a call may do.
_CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("multiarray", "_reconstruct"): _empty_array,
    ("multiarray", "scalar"): _scalar,
    ("numeric", "_frombuffer"): _from_buffer,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _empty_bytes,
    ("builtins", "bytes"): _empty_bytes,
}
_NAMES = frozenset({*_CALLS, ("numpy", "ndarray")})


class _Machine:
    """The pickle machine's stack and memo, with the operations that plain data need."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, content: bytes) -> Any:
        """The value that the pickle describes; raises ``ValueError`` saying what is wrong."""
        for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if number > MOST_OPERATIONS:
                raise PlainPickleError(f"it takes more than {MOST_OPERATIONS} operations")
            if opcode.name == "STOP":
                return _finished(self.stack.pop())
            if opcode.name in _CONSTANTS:
                self.stack.append(_CONSTANTS[opcode.name])
            elif opcode.name in _VALUES:
                self.stack.append(argument)
            elif opcode.name in _BYTES:
                text: Any = argument
                self.stack.append(text.encode("latin-1") if isinstance(text, str) else bytes(text))
            elif opcode.name in _OPERATIONS:
                _OPERATIONS[opcode.name](self, argument)
            elif opcode.name not in ("PROTO", "FRAME"):
                raise PlainPickleError(f"it asks for the operation {opcode.name}, which lists of pictures do not need")
        raise PlainPickleError("it has no end")

    def since_mark(self) -> list[Any]:
        """What lies above the last mark, taken off with it."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                found = self.stack[place + 1 :]
                del self.stack[place:]
                return found
        raise PlainPickleError("it closes a list that it did not open")

    def mark(self, argument: object) -> None:
        self.stack.append(_MARK)

    def new_list(self, argument: object) -> None:
        self.stack.append([])

    def new_tuple(self, argument: object) -> None:
        self.stack.append(())

    def close_list(self, argument: object) -> None:
        self.stack.append(self.since_mark())

    def close_tuple(self, argument: object) -> None:
        self.stack.append(tuple(self.since_mark()))

    def last(self, count: int) -> None:
        """A tuple of the last ``count`` values."""
        parts = [self.stack.pop() for _ in range(count)]
        self.stack.append(tuple(reversed(parts)))

    def append(self, argument: object) -> None:
        value = self.stack.pop()
        self._list().append(_finished(value))

    def appends(self, argument: object) -> None:
        values = self.since_mark()
        self._list().extend(map(_finished, values))

    def _list(self) -> list[Any]:
        if not isinstance(self.stack[-1], list):
            raise PlainPickleError("it appends to something that is no list")
        found: list[Any] = self.stack[-1]
        return found

    def memoize(self, argument: object) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def put(self, argument: int) -> None:
        self.memo[argument] = self.stack[-1]

    def get(self, argument: int) -> None:
        self.stack.append(self.memo[argument])

    def name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._named(module, name)

    def stack_name(self, argument: object) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._named(module, name)

    def _named(self, module: object, name: object) -> None:
        found = _Global(str(module), str(name))
        if found.key not in _NAMES:
            raise PlainPickleError(f"it asks for {module}.{name}, which lists of pictures do not need")
        self.stack.append(found)

    def call(self, argument: object) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Global) or function.key not in _CALLS or not isinstance(arguments, tuple):
            raise PlainPickleError("it calls something that is no function")
        self.stack.append(_CALLS[function.key](*arguments))

    def build(self, argument: object) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Array | _Dtype):
            raise PlainPickleError("it gives a state to something that has none")
        self.stack[-1].set_state(state)

    def pop(self, argument: object) -> None:
        self.stack.pop()


def _finished(value: Any) -> Any:
    return value.values if isinstance(value, _Array) else value


_CONSTANTS = {"NEWTRUE": True, "NEWFALSE": False, "NONE": None}
# pickletools gives text for what Python 2 called a string; it stays bytes, as with encoding="bytes".
_BYTES = frozenset({"BINSTRING", "SHORT_BINSTRING", "STRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"})
_VALUES = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    }
)
_OPERATIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "EMPTY_LIST": _Machine.new_list,
    "EMPTY_TUPLE": _Machine.new_tuple,
    "LIST": _Machine.close_list,
    "TUPLE": _Machine.close_tuple,
    "TUPLE1": lambda machine, _: machine.last(1),
    "TUPLE2": lambda machine, _: machine.last(2),
    "TUPLE3": lambda machine, _: machine.last(3),
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "MEMOIZE": _Machine.memoize,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.stack_name,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
    "POP": _Machine.pop,
}


def read_plain_pickle(content: bytes) -> Any:
    """The lists, tuples, bytes, texts, numbers, truth values and uint8 or bool arrays of a pickle of any protocol.

    Memory stays within a small multiple of ``content``, whatever lengths it announces.

    Raises :class:`PlainPickleError` saying in one line what is wrong: it is cut short, no pickle, or asks for anything
    beyond plain data.
    """
    try:
        return _Machine().run(content)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise PlainPickleError(reason[:200]) from error
    except (LookupError, TypeError, AttributeError, OverflowError, UnicodeError, MemoryError) as error:
        raise PlainPickleError(f"it is damaged ({type(error).__name__})") from error
