"""Keyed hashes of identity names in a client's files; the key never leaves the client's folder."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.core.secret_files import write_private

__all__ = ["IdentityKey"]

KEY = "identities.key"
_BYTES = 32


class IdentityKey:
    """Random key of one client, created on first use in a file of mode 600.

    A name in plain text would show who is enrolled, and its plain hash would allow guessing names. With the key, the
    same name gives the same text in one client's files and another text in every other client's. A private state
    without the key neither shows names nor lets them be tested.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / KEY

    def hash_names(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the keyed hash of each name: 128 bits in hexadecimal."""
        key = self._key()
        return tuple(
            hmac.new(key, name.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32] for name in names
        )

    @property
    def id(self) -> str:
        """Identifier of the key, from which the key cannot be derived."""
        return hashlib.sha256(self._key()).hexdigest()[:16]

    def _key(self) -> bytes:
        try:
            key = self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            key = secrets.token_bytes(_BYTES)
            write_private(self.path, key)
        except OSError as error:
            reason = error.strerror or error
            raise FedfrError(f"cannot read {self.path}: {reason}; make it readable for this user only") from error
        if len(key) != _BYTES:
            raise FedfrError(
                f"{self.path} holds {len(key)} bytes, a key has {_BYTES}; restore the client's own key, or remove it "
                "with the private states beside it to restart this client from the beginning"
            )
        return key
