"""Interpreter for pickles of lists of images; it can return plain values only.

Python's ``Unpickler`` is not used, not even a restricted one, because it allocates memory for any length that a file
declares. The few operations of such files are implemented here, on bytes, numbers, lists and tuples only.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from fedfr.faces.readers.safe_pickle.operations import PlainPickleError, operations
from fedfr.faces.readers.safe_pickle.values import CALLS, GlobalName, StatefulObject, UnfinishedArray

__all__ = ["read_plain_pickle"]

_MARK = object()


class _PartialTuple(tuple[Any, ...]):
    """A tuple with an element that is not a value; allowed as arguments and states, not as a value."""

    __slots__ = ()


def _is_partial(value: object) -> bool:
    return value is _MARK or isinstance(value, GlobalName | StatefulObject | _PartialTuple)


def _complete(found: object) -> object:
    if _is_partial(found):
        raise PlainPickleError("it holds something other than lists, images and truth values")
    return found


class _Machine:
    """Stack and memo of the pickle machine; ``budget`` is the number of bytes that may still be created."""

    def __init__(self, budget: int) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.budget = budget

    def pop_to_mark(self) -> list[Any]:
        """Remove and return the values above the last mark."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                found = self.stack[place + 1 :]
                del self.stack[place:]
                return found
        raise PlainPickleError("it closes a list that was not opened")

    def last(self, count: int) -> list[Any]:
        """Remove and return the last ``count`` values."""
        return [self.stack.pop() for _ in range(count)][::-1]

    def extend(self, values: list[Any]) -> None:
        """Append values to the list on top."""
        if not isinstance(self.stack[-1], list):
            raise PlainPickleError("it appends to something that is not a list")
        self.stack[-1].extend(map(_complete, values))

    def put(self, place: int) -> None:
        """Store the value on top at ``place`` of the memo."""
        self.memo[place] = self.stack[-1]

    def recall(self, place: int) -> Any:
        """Return the value stored at ``place`` of the memo."""
        found = self.memo[place]
        return found.values if isinstance(found, UnfinishedArray) and found.values is not None else found

    def call(self) -> Any:
        """Apply the function below the top of the stack to the arguments on top."""
        function, arguments = self.last(2)
        if not isinstance(function, GlobalName) or function.key not in CALLS or not isinstance(arguments, tuple):
            raise PlainPickleError("it calls something that is not a function")
        return self.checked_size(CALLS[function.key](*arguments))

    def build(self) -> Any:
        """Apply the state on top to the object below it."""
        target, state = self.last(2)
        if not isinstance(target, StatefulObject):
            raise PlainPickleError("it sets the state of something that has none")
        return self.checked_size(target.with_state(state))

    def checked_size(self, made: Any) -> Any:
        """Return ``made`` if the budget allows its size: a malicious pickle converts one text to bytes many times."""
        self.budget -= len(made) if isinstance(made, bytes) else made.nbytes if isinstance(made, np.ndarray) else 0
        if self.budget < 0:
            raise PlainPickleError("it creates more bytes than it holds")
        return made


def _tuple(values: list[Any]) -> tuple[Any, ...]:
    return (_PartialTuple if any(map(_is_partial, values)) else tuple)(values)


# What an operation puts on the stack, where it does only that.
_PUSHING: dict[bytes, Callable[[_Machine, Any], Any]] = {
    pickle.MARK: lambda machine, _: _MARK,
    pickle.NONE: lambda machine, _: None,
    pickle.NEWTRUE: lambda machine, _: True,
    pickle.NEWFALSE: lambda machine, _: False,
    pickle.EMPTY_LIST: lambda machine, _: [],
    pickle.EMPTY_TUPLE: lambda machine, _: (),
    pickle.LIST: lambda machine, _: list(map(_complete, machine.pop_to_mark())),
    pickle.TUPLE: lambda machine, _: _tuple(machine.pop_to_mark()),
    pickle.TUPLE1: lambda machine, _: _tuple(machine.last(1)),
    pickle.TUPLE2: lambda machine, _: _tuple(machine.last(2)),
    pickle.TUPLE3: lambda machine, _: _tuple(machine.last(3)),
    pickle.GLOBAL: lambda machine, names: GlobalName(*names),
    pickle.STACK_GLOBAL: lambda machine, _: GlobalName(*machine.last(2)),
    pickle.REDUCE: lambda machine, _: machine.call(),
    pickle.BUILD: lambda machine, _: machine.build(),
    **dict.fromkeys((pickle.GET, pickle.BINGET, pickle.LONG_BINGET), _Machine.recall),
    **dict.fromkeys(
        (
            *(pickle.INT, pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG, pickle.LONG1),
            *(pickle.STRING, pickle.SHORT_BINSTRING, pickle.BINSTRING),
            *(pickle.SHORT_BINBYTES, pickle.BINBYTES, pickle.BINBYTES8, pickle.BYTEARRAY8),
            *(pickle.UNICODE, pickle.SHORT_BINUNICODE, pickle.BINUNICODE, pickle.BINUNICODE8),
        ),
        lambda machine, argument: argument,
    ),
}
_ACTING: dict[bytes, Callable[[_Machine, Any], object]] = {
    pickle.PROTO: lambda machine, _: None,
    pickle.FRAME: lambda machine, _: None,
    pickle.POP: lambda machine, _: machine.stack.pop(),
    pickle.APPEND: lambda machine, _: machine.extend(machine.last(1)),
    pickle.APPENDS: lambda machine, _: machine.extend(machine.pop_to_mark()),
    pickle.MEMOIZE: lambda machine, _: machine.put(len(machine.memo)),
    **dict.fromkeys((pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT), _Machine.put),
}


def read_plain_pickle(content: bytes) -> Any:
    """Read lists, tuples, bytes, texts, numbers, truth values and uint8 or bool arrays from a pickle of any protocol.

    Strings of Python 2 are returned as bytes. Memory is bounded by a few times ``content`` plus one empty list per
    operation, whatever lengths the pickle declares and however often it refers to the same content.

    Raises :class:`PlainPickleError` with a one-line reason for a truncated pickle, other content, and operations that
    plain data do not need.
    """
    # A regular pickle creates each of its bytes at most twice: from text, and as an array.
    machine = _Machine(2 * len(content))
    try:
        for code, argument in operations(content):
            if code in _PUSHING:
                machine.stack.append(_PUSHING[code](machine, argument))
            elif code in _ACTING:
                _ACTING[code](machine, argument)
        return _complete(machine.stack.pop())
    except PlainPickleError:
        raise
    except (ValueError, LookupError, TypeError, MemoryError) as error:
        raise PlainPickleError(f"it is damaged ({type(error).__name__})") from error
