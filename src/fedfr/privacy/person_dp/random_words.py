"""Secret random words from a seed, for noise that can be drawn again bit for bit."""

from __future__ import annotations

import secrets

import numpy as np
import numpy.typing as npt

from fedfr.core.errors import FedfrError

__all__ = ["SEED_BYTES", "RandomWords", "new_seed"]

SEED_BYTES = 32

Words = npt.NDArray[np.uint64]


def new_seed() -> bytes:
    """Return a secret seed of 256 bits from the randomness of the operating system."""
    return secrets.token_bytes(SEED_BYTES)


class RandomWords:
    """Stream of uniform 64-bit words: AES-256 in counter mode under a key derived from a seed and a purpose.

    The key is HKDF-SHA256 of the seed with the parts of ``purpose``, so streams of different purposes are independent.
    The words are the same on every machine. ``position`` is the number of words taken so far. Nobody who does not know
    the seed can tell the words from uniform ones, as far as AES-256 and SHA-256 are sound; everything drawn from them
    inherits this condition. Raises :class:`FedfrError` if the seed does not have 32 bytes, or without ``cryptography``.
    """

    def __init__(self, seed: bytes, *purpose: str | bytes | int) -> None:
        if len(seed) != SEED_BYTES:
            raise FedfrError(f"the seed of noise has {len(seed)} bytes; it must have {SEED_BYTES}")
        try:
            from cryptography.hazmat.primitives.ciphers import Cipher
            from cryptography.hazmat.primitives.ciphers.algorithms import AES
            from cryptography.hazmat.primitives.ciphers.modes import CTR
            from cryptography.hazmat.primitives.hashes import SHA256
            from cryptography.hazmat.primitives.kdf.hkdf import HKDF
        except ImportError as error:
            raise FedfrError(
                "noise for differential privacy needs cryptography; pip install 'fedfr[privacy]'"
            ) from error
        self._seed, self._purpose = seed, purpose
        self.position = 0
        info = b"".join(_with_length(part) for part in ("fedfr person noise 1", *purpose))
        key = HKDF(SHA256(), SEED_BYTES, salt=None, info=info).derive(seed)
        self._cipher = Cipher(AES(key), CTR(bytes(16))).encryptor()

    def take(self, count: int) -> Words:
        """Return the next ``count`` words."""
        self.position += count
        return np.frombuffer(self._cipher.update(bytes(8 * count)), "<u8").astype(np.uint64, copy=False)

    def below(self, bound: int, count: int) -> npt.NDArray[np.int64]:
        """Return at most ``count`` uniform numbers from 0 to ``bound`` − 1, for a bound of at most 2⁶²; without bias.

        One word is taken for each. Words of the incomplete last interval are left out, with probability bound / 2⁶⁴.
        """
        words = self.take(count)
        last = (1 << 64) - (1 << 64) % bound - 1
        return (words[words <= np.uint64(last)] % np.uint64(bound)).astype(np.int64)

    def more(self, position: int) -> RandomWords:
        """Return the stream that continues the word at ``position``, however many words were taken after it."""
        return RandomWords(self._seed, *self._purpose, "more", position)


def _with_length(part: str | bytes | int) -> bytes:
    """Encode a part of a purpose so that no two lists of parts have the same bytes."""
    content = part if isinstance(part, bytes) else str(part).encode()
    kind = {str: b"s", bytes: b"b", int: b"i"}[type(part)]
    return kind + len(content).to_bytes(8, "big") + content
