"""Masks: streams of AES-256 in counter mode, added to a vector modulo 2³² in place.

The key of a stream is derived for one round, one list of sites and one site or pair of sites, and the counter starts at
0: no key is used for two streams, so no counter value occurs twice under a key. A stream has at most 2³⁰ blocks, far
below the number at which a permutation can be told from a random function (2⁶⁴).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedfr.privacy.secure_sum.canonical import Label
from fedfr.privacy.secure_sum.fixed_point import Vector
from fedfr.privacy.secure_sum.keys import agree, derive
from fedfr.privacy.secure_sum.library import AES, CTR, Cipher

__all__ = ["Stream", "add_streams", "pair_stream", "self_stream"]

Stream = tuple[bytes, bool]
"""Key of a stream, and whether it is added; otherwise it is subtracted."""

# Values at a time: 256 KiB, so that a block stays in the processor's cache while every stream is added to it.
_BLOCK = 1 << 16
_WIDTH = 4
_ZEROS = bytes(_BLOCK * _WIDTH)
_COUNTER = bytes(16)
# The library asks for room for one incomplete block more.
_SPARE = 15


def self_stream(seed: bytes, sharers: bytes, site: str, *, added: bool = True) -> Stream:
    """Return the stream PRG(b_i) of a site's own seed."""
    return derive(seed, sharers, Label.SELF_MASK, site), added


def pair_stream(secret: bytes, public: bytes, sharers: bytes, own: str, other: str, *, added: bool = True) -> Stream:
    """Return the stream PRG(k_ij) as the site ``own`` adds it: with opposite signs at the two sites.

    ``secret`` and ``public``: the mask key of one site and the public mask key of the other. ``added=False`` gives what
    removes the stream again.
    """
    key = derive(agree(secret, public), sharers, Label.PAIR_MASK, *sorted((own, other)))
    return key, (own < other) == added


def add_streams(vector: Vector, streams: Sequence[Stream]) -> None:
    """Add or subtract every stream in place; needs 256 KiB beside the vector."""
    ciphers = [
        (Cipher(AES(key), CTR(_COUNTER)).encryptor(), np.add if added else np.subtract) for key, added in streams
    ]
    buffer = bytearray(len(_ZEROS) + _SPARE)
    stream = np.frombuffer(buffer, "<u4", _BLOCK)
    zeros = memoryview(_ZEROS)
    for start in range(0, len(vector), _BLOCK):
        part = vector[start : start + _BLOCK]
        for cipher, operation in ciphers:
            cipher.update_into(zeros[: len(part) * _WIDTH], buffer)
            operation(part, stream[: len(part)], out=part)
