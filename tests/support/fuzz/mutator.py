"""Seeded damage to bytes: bits, lengths, tokens of texts, parts of other files."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

__all__ = ["NUMBERS", "TOKENS", "Mutator"]

NUMBERS = (
    0,
    1,
    2,
    7,
    127,
    128,
    255,
    256,
    32767,
    65535,
    1 << 24,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 40,
    1 << 62,
)
"""Where lengths and counts go wrong."""

TOKENS = (
    b"null", b"true", b"false", b"NaN", b"-Infinity", b"1e999", b"-1", b"0", b"1.5", b"-0.0", b"9" * 400,
    b"1" + b"0" * 5000, b"9223372036854775808", b"18446744073709551616", b"1099511627776", b'""', b'"x"',
    b'"\\ud800"', b'"\\u0000"', b'"F16"', b"{}", b"[]", b"[[[[]]]]", b"[0]", b'{"a": 1}', b"[" * 2000,
    b'{"a":' * 2000, b"{},", b'"' + b"n" * 3000 + b'"', b'"\\u001b[2J\\nrefused: nobody"', b"\xff\xfe",
    b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\x00", b"\r\n", b"\t", b",", b":", b" ", b"'", b"&a *a",
    b"!!python/object:os.system", b"<<: *x", b"../../../escaped", b"/dev/zero", b"%s%n", b"\x1b[31m",
    b"-2147483649", b"nan", b"inf", b"0x10", b"1_000", b"\xc2\xa0", b"\xe2\x80\xa8",
)  # fmt: skip
"""What may stand where a text has something else."""

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|[A-Za-z_][A-Za-z0-9_./-]*|[\[\]{},:;\t\n]')


class Mutator:
    """Seeded source of damage; equal seeds give equal damage."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self._kinds: tuple[Callable[[bytearray, Sequence[bytes]], None], ...] = (
            self._flip, self._flip, self._set, self._cut, self._drop, self._repeat, self._insert, self._splice,
            self._length, self._length, self._digits,
        )  # fmt: skip

    def raw(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        """One to four kinds of damage, of those that any file may suffer; ``others``: files to take pieces of."""
        damaged = bytearray(data)
        for _ in range(self.random.choice((1, 1, 1, 2, 2, 4))):
            self.random.choice(self._kinds)(damaged, others)
        return bytes(damaged)

    def tokens(self, data: bytes) -> bytes:
        """Replace one to three tokens of a text, each by another, by two or by none."""
        found = [match.span() for match in _TOKEN.finditer(data)]
        damaged = data
        for _ in range(min(len(found), self.random.choice((1, 1, 2, 3)))):
            start, end = self.random.choice(found)
            new = data[slice(*self.random.choice(found))] if self.random.random() < 0.3 else self.random.choice(TOKENS)
            new = self.random.choice((new, new, new, b"", data[start:end] + new, data[start:end] * 2))
            damaged = damaged[:start] + new + damaged[end:]
            found = [match.span() for match in _TOKEN.finditer(damaged)] or found
        return damaged

    def either(self, data: bytes, others: Sequence[bytes] = ()) -> bytes:
        """Damage to bytes or, as often, to what looks like text."""
        return self.tokens(data) if self.random.random() < 0.5 else self.raw(data, others)

    def _at(self, data: bytearray) -> int:
        # Headers are where it hurts: half of all damage goes to the first 64 bytes.
        end = len(data) if self.random.random() < 0.5 else min(len(data), 64)
        return self.random.randrange(end) if end else 0

    def _flip(self, data: bytearray, others: Sequence[bytes]) -> None:
        if data:
            data[self._at(data)] ^= 1 << self.random.randrange(8)

    def _set(self, data: bytearray, others: Sequence[bytes]) -> None:
        if data:
            data[self._at(data)] = self.random.choice((0, 255, 128, self.random.randrange(256)))

    def _cut(self, data: bytearray, others: Sequence[bytes]) -> None:
        del data[self._at(data) :]

    def _drop(self, data: bytearray, others: Sequence[bytes]) -> None:
        start = self._at(data)
        del data[start : start + self.random.choice((1, 2, 4, 8, 100))]

    def _repeat(self, data: bytearray, others: Sequence[bytes]) -> None:
        start = self._at(data)
        data[start:start] = data[start : start + self.random.choice((1, 4, 16, 300))] * self.random.choice((1, 2, 9))

    def _insert(self, data: bytearray, others: Sequence[bytes]) -> None:
        start = self._at(data)
        data[start:start] = self.random.choice((self.random.choice(TOKENS), self.random.randbytes(4), bytes(64)))

    def _splice(self, data: bytearray, others: Sequence[bytes]) -> None:
        if others:
            other = self.random.choice(others)
            data[self._at(data) :] = other[self.random.randrange(len(other) + 1) :]

    def _length(self, data: bytearray, others: Sequence[bytes]) -> None:
        width, order = self.random.choice((1, 2, 4, 4, 8)), self.random.choice(("little", "big"))
        start = self._at(data) // width * width
        if start + width <= len(data):
            number = (self.random.choice(NUMBERS) + self.random.choice((0, 0, -1, 1))) % (1 << 8 * width)
            data[start : start + width] = number.to_bytes(width, order)  # type: ignore[arg-type]

    def _digits(self, data: bytearray, others: Sequence[bytes]) -> None:
        found = list(re.finditer(rb"\d+", data[:100_000]))
        if found:
            start, end = self.random.choice(found).span()
            data[start:end] = str(self.random.choice(NUMBERS)).encode()
