"""Reading pickles that hold lists of images, without unpickling: nothing but plain values can come out.

Python's ``Unpickler`` is not used, not even a restricted one: it gives memory to whatever length a file announces. The
few operations that such files consist of are carried out here, on bytes, numbers, lists and tuples alone.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from fedfr.faces.readers.safe_pickle.operations import PlainPickleError, operations
from fedfr.faces.readers.safe_pickle.values import CALLS, Name, Stateful, UnfinishedArray

__all__ = ["read_plain_pickle"]

_MARK = object()


class _PartialTuple(tuple[Any, ...]):
    """A tuple that holds something without a value of its own: good as arguments and states, no value either."""

    __slots__ = ()


def _is_partial(value: object) -> bool:
    return value is _MARK or isinstance(value, Name | Stateful | _PartialTuple)


def _complete(found: object) -> object:
    if _is_partial(found):
        raise PlainPickleError("it holds something that is no list, no image and no truth value")
    return found


class _Machine:
    """The pickle machine's stack and memo. ``room``: bytes that may yet be made of what the pickle holds."""

    def __init__(self, room: int) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.room = room

    def pop_to_mark(self) -> list[Any]:
        """Remove and return the values above the last mark."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                found = self.stack[place + 1 :]
                del self.stack[place:]
                return found
        raise PlainPickleError("it closes a list that it did not open")

    def last(self, count: int) -> list[Any]:
        """The last ``count`` values, taken off."""
        return [self.stack.pop() for _ in range(count)][::-1]

    def extend(self, values: list[Any]) -> None:
        """Append to the list on top."""
        if not isinstance(self.stack[-1], list):
            raise PlainPickleError("it appends to something that is no list")
        self.stack[-1].extend(map(_complete, values))

    def put(self, place: int) -> None:
        """Remember the value on top."""
        self.memo[place] = self.stack[-1]

    def recall(self, place: int) -> Any:
        """Return the value stored at ``place`` of the memo."""
        found = self.memo[place]
        return found.values if isinstance(found, UnfinishedArray) and found.values is not None else found

    def call(self) -> Any:
        """Apply the function below the top of the stack to the arguments on top."""
        function, arguments = self.last(2)
        if not isinstance(function, Name) or function.key not in CALLS or not isinstance(arguments, tuple):
            raise PlainPickleError("it calls something that is no function")
        return self.checked_size(CALLS[function.key](*arguments))

    def build(self) -> Any:
        """The value below the top with the state on it."""
        target, state = self.last(2)
        if not isinstance(target, Stateful):
            raise PlainPickleError("it gives a state to something that has none")
        return self.checked_size(target.with_state(state))

    def checked_size(self, made: Any) -> Any:
        """``made``, if there is room for it: a pickle made to harm has one text made into bytes again and again."""
        self.room -= len(made) if isinstance(made, bytes) else made.nbytes if isinstance(made, np.ndarray) else 0
        if self.room < 0:
            raise PlainPickleError("it makes more bytes than it holds")
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
    pickle.GLOBAL: lambda machine, names: Name(*names),
    pickle.STACK_GLOBAL: lambda machine, _: Name(*machine.last(2)),
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
    """The lists, tuples, bytes, texts, numbers, truth values and uint8 or bool arrays of a pickle of any protocol.

    Strings of Python 2 come as bytes. Memory stays within a few times ``content`` and what as many empty lists take as
    there may be operations, whatever lengths are announced and however often one content is called for.

    Raises :class:`PlainPickleError` saying in one line what is wrong: it is cut short, no pickle, or asks for anything
    beyond plain data.
    """
    # An honest pickle makes each of its bytes twice at most: from text, and into an array.
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
