"""Parsing of the operations of a pickle of plain data, with their arguments.

:func:`pickletools.genops` is not used: it cannot read strings of Python 2 that hold an image, and it decodes an
argument before the operation can be refused.
"""

from __future__ import annotations

import codecs
import pickle
import pickletools
import re
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["MAX_OPERATIONS", "PlainPickleError", "operations"]

MAX_OPERATIONS = 4_000_000
"""Published sets take up to 30 000 operations for 12 000 images; one may take some hundred bytes of memory."""

_NAMES = {opcode.code: opcode.name for opcode in pickletools.opcodes}
# A number in text is at most a 64-bit one with its sign and an L.
MAX_DIGITS = 21
# Escapes that Python 2 never writes in a string's repr; escaped backslashes are removed before.
_STRANGE_ESCAPE = re.compile(rb"\\(?:[^x'\"nrt]|x(?![0-9a-fA-F]{2})|\Z)")


class PlainPickleError(ValueError):
    """Raised for a pickle that is damaged or holds more than plain data; the message is one printable line."""


class _Reader:
    """Cursor in the content; memory is allocated only after a check that the bytes exist."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0

    def take(self, count: int) -> bytes:
        """Read the next ``count`` bytes."""
        if count > len(self.content) - self.at:
            raise PlainPickleError(f"it is truncated: {count} bytes should follow byte {self.at}")
        self.at += count
        return self.content[self.at - count : self.at]

    def number(self, size: int, *, signed: bool = False) -> int:
        """Read a little-endian number of ``size`` bytes."""
        return int.from_bytes(self.take(size), "little", signed=signed)

    def length_prefixed(self, size: int) -> bytes:
        """Read a length of ``size`` bytes, then as many bytes."""
        return self.take(self.number(size))

    def line(self) -> bytes:
        """Read a line, without its LF."""
        end = self.content.find(b"\n", self.at)
        if end < 0:
            raise PlainPickleError(f"it is truncated: a line should follow byte {self.at}")
        return self.take(end + 1 - self.at)[:-1]


def _text(content: bytes, coding: str = "utf-8", errors: str = "surrogatepass") -> str:
    try:
        return content.decode(coding, errors)
    except UnicodeDecodeError as error:
        raise PlainPickleError("it holds text that is damaged") from error


def _decimal(line: bytes) -> int:
    if len(line) > MAX_DIGITS or not re.fullmatch(rb"-?\d+L?", line):
        raise PlainPickleError("it holds a number that is damaged")
    return int(line.removesuffix(b"L"))


def _integer(line: bytes) -> int | bool:
    # Protocols 0 and 1 have no separate truth values.
    return {b"00": False, b"01": True}[line] if line in (b"00", b"01") else _decimal(line)


def _quoted(line: bytes) -> bytes:
    """Parse bytes in the form of Python 2's ``repr``."""
    inner = line[1:-1]
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise PlainPickleError("it holds a string without its quotes")
    if _STRANGE_ESCAPE.search(inner.replace(b"\\\\", b"")):
        raise PlainPickleError("it holds a string that is damaged")
    return codecs.escape_decode(inner)[0]


def _two_lines(reader: _Reader) -> tuple[str, str]:
    return _text(reader.line()), _text(reader.line())


def _nothing(reader: _Reader) -> None:
    return None


# Bytes of protocol 3 and strings of Python 2 are both returned as bytes, as with ``encoding="bytes"``.
_ARGUMENTS: dict[bytes, Callable[[_Reader], Any]] = {
    **dict.fromkeys(
        (
            *(pickle.MARK, pickle.STOP, pickle.POP, pickle.MEMOIZE, pickle.REDUCE, pickle.BUILD),
            *(pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.STACK_GLOBAL),
            *(pickle.EMPTY_LIST, pickle.LIST, pickle.APPEND, pickle.APPENDS),
            *(pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
        ),
        _nothing,
    ),
    pickle.PROTO: lambda reader: reader.number(1),
    pickle.FRAME: lambda reader: reader.number(8),
    pickle.BININT: lambda reader: reader.number(4, signed=True),
    pickle.BININT1: lambda reader: reader.number(1),
    pickle.BININT2: lambda reader: reader.number(2),
    pickle.LONG1: lambda reader: int.from_bytes(reader.length_prefixed(1), "little", signed=True),
    pickle.INT: lambda reader: _integer(reader.line()),
    pickle.LONG: lambda reader: _decimal(reader.line()),
    pickle.STRING: lambda reader: _quoted(reader.line()),
    pickle.SHORT_BINSTRING: lambda reader: reader.length_prefixed(1),
    pickle.BINSTRING: lambda reader: reader.length_prefixed(4),
    pickle.SHORT_BINBYTES: lambda reader: reader.length_prefixed(1),
    pickle.BINBYTES: lambda reader: reader.length_prefixed(4),
    pickle.BINBYTES8: lambda reader: reader.length_prefixed(8),
    pickle.BYTEARRAY8: lambda reader: reader.length_prefixed(8),
    pickle.UNICODE: lambda reader: _text(reader.line(), "raw-unicode-escape", "strict"),
    pickle.SHORT_BINUNICODE: lambda reader: _text(reader.length_prefixed(1)),
    pickle.BINUNICODE: lambda reader: _text(reader.length_prefixed(4)),
    pickle.BINUNICODE8: lambda reader: _text(reader.length_prefixed(8)),
    pickle.PUT: lambda reader: _decimal(reader.line()),
    pickle.BINPUT: lambda reader: reader.number(1),
    pickle.LONG_BINPUT: lambda reader: reader.number(4),
    pickle.GET: lambda reader: _decimal(reader.line()),
    pickle.BINGET: lambda reader: reader.number(1),
    pickle.LONG_BINGET: lambda reader: reader.number(4),
    pickle.GLOBAL: _two_lines,
}


def operations(content: bytes) -> Iterator[tuple[bytes, Any]]:
    """Yield every operation up to STOP as its byte (a constant of :mod:`pickle`) and its argument.

    Raises :class:`PlainPickleError` if the content ends before STOP, for operations that plain data do not need,
    and for more than :data:`MAX_OPERATIONS`.
    """
    reader = _Reader(content)
    for _ in range(MAX_OPERATIONS):
        place = reader.at
        code = reader.take(1)
        if code not in _ARGUMENTS:
            name = _NAMES.get(code.decode("latin-1"))
            if name is None:
                raise PlainPickleError(f"it holds {code.hex()}, which is not an operation, at byte {place}")
            raise PlainPickleError(f"it uses the operation {name} at byte {place}, which lists of images do not need")
        yield code, _ARGUMENTS[code](reader)
        if code == pickle.STOP:
            return
    raise PlainPickleError(f"it takes more than {MAX_OPERATIONS} operations")
