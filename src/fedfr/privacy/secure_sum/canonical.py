"""Canonical encoding of everything that is hashed, signed or used to derive a key.

The encoding is injective: it starts with the name of this protocol and version and a label that is used for one purpose
only, and each value carries its type and length. Two different lists of values, or the same values for two purposes,
therefore never have the same bytes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from enum import Enum

__all__ = ["PROTOCOL", "Label", "Value", "canonical", "digest", "float_bytes"]

PROTOCOL = "fedfr secure sum 1"
"""Name and version of the protocol; a change of any encoding needs another version."""

_NUMBER = struct.Struct(">Q")

Value = bytes | str | int | Sequence["Value"]


class Label(Enum):
    """Purposes of hashed, signed and derived values; none is used for two."""

    # Hashes
    AGREEMENT = "hash of agreement"
    MODEL = "hash of model"
    LAYOUT = "hash of layout"
    NOISED_LAYOUT = "hash of noised layout"
    ROUND = "hash of round"
    ROSTER = "hash of keys"
    SHARERS = "hash of sharers"
    SURVIVORS = "hash of survivors"
    VECTOR = "hash of vector"
    MASKED_VECTOR = "hash of masked vector"
    # Signatures
    BEGIN = "signature of begin"
    SHARE = "signature of share"
    MASK = "signature of mask"
    CONSENT = "signature of consent"
    UNMASK = "signature of unmask"
    # Derived keys, and the associated data of boxes
    BOX_KEY = "key of box"
    BOX = "data of box"
    PAIR_MASK = "key of pair mask"
    SELF_MASK = "key of self mask"
    SEED_COMMITMENT = "commitment to seed"


def canonical(label: Label, *values: Value) -> bytes:
    """Return the encoding of ``values`` for the purpose ``label``.

    Integers are from 0 to 2⁶⁴ − 1. Raises TypeError for other types, truth values among them.
    """
    return _encode((PROTOCOL, label.value, *values))


def digest(label: Label, *values: Value) -> bytes:
    """Return the SHA-256 of :func:`canonical`."""
    return hashlib.sha256(canonical(label, *values)).digest()


def float_bytes(value: float) -> bytes:
    """Return a float as its eight bytes, so that it has one encoding."""
    return struct.pack(">d", value)


def _encode(value: Value) -> bytes:
    if isinstance(value, bytes):
        return b"B" + _length(len(value)) + value
    if isinstance(value, str):
        text = value.encode()
        return b"S" + _length(len(text)) + text
    if isinstance(value, int) and not isinstance(value, bool):
        return b"I" + _length(value)
    if isinstance(value, tuple | list):
        return b"L" + _length(len(value)) + b"".join(map(_encode, value))
    raise TypeError(f"a value of type {type(value).__name__} has no canonical encoding")


def _length(count: int) -> bytes:
    return _NUMBER.pack(count)
