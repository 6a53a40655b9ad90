"""How a client's files name its identities: by a keyed hash whose key never leaves the client's own folder."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.core.files import write_atomically

__all__ = ["IdentityKey"]

KEY = "identities.key"
_BYTES = 32


class IdentityKey:
    """A random key in a file of mode 600 of its own, made when it is first needed.

    A name alone would tell who is enrolled, and its plain hash as well to whoever can guess names. Under the key the
    same name gives the same text in one client's files, and another in every other client's. Somebody who has a private
    state but not the key can neither read nor test names.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / KEY

    def of(self, names: Sequence[str]) -> tuple[str, ...]:
        """The text that stands for each name, byte for byte as it is written: 128 bits in hexadecimal."""
        key = self._key()
        return tuple(
            hmac.new(key, name.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32] for name in names
        )

    @property
    def id(self) -> str:
        """What tells this key from another one, and nothing about it."""
        return hashlib.sha256(self._key()).hexdigest()[:16]

    def _key(self) -> bytes:
        try:
            key = self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            key = secrets.token_bytes(_BYTES)
            write_atomically(self.path, lambda temporary: _write_secret(temporary, key))
        except OSError as error:
            reason = error.strerror or error
            raise FedfrError(f"cannot read {self.path}: {reason}; make it readable for this user alone") from error
        if len(key) != _BYTES:
            raise FedfrError(
                f"{self.path} holds {len(key)} bytes, a key has {_BYTES}; put the client's own key back, or remove it "
                "with the private states beside it to start this client afresh"
            )
        return key


def _write_secret(path: Path, content: bytes) -> None:
    """A file for the eyes of its owner alone, from the first byte on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
