"""Sealed state of a gallery: active space, revision, next row number, journal, digests of the rows that decide."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from fedfr.core.errors import FedfrError
from fedfr.recognition.gallery.encryption import NONCE, Cipher, SiteKey

__all__ = ["GalleryState", "RowDigest"]

_PLACE = "meta.state"
_BYTES = 32


class RowDigest:
    """Keyed digest of a set of sealed rows, independent of their order.

    Each sealing has a random nonce, so that the digest of the nonces is that of the rows: a row that was removed,
    restored from an older copy or replaced by its own older version changes it.
    """

    def __init__(self, key: bytes, table: str) -> None:
        self._key = hmac.digest(key, table.encode(), "sha256")
        self._value = 0

    def toggle(self, row: int, sealed: object) -> None:
        """Add a row, or remove it if it was added."""
        nonce = sealed[:NONCE] if isinstance(sealed, bytes) else b""
        token = blake2b(b"%d %s" % (row, nonce), key=self._key, digest_size=_BYTES).digest()
        self._value ^= int.from_bytes(token, "big")

    def combine(self, other: str) -> str:
        """Return this digest combined with that of another set of rows."""
        return (self._value ^ int(other or "0", 16)).to_bytes(_BYTES, "big").hex()

    @property
    def value(self) -> str:
        """The digest in hexadecimal."""
        return self.combine("")


@dataclass
class GalleryState:
    """State of a gallery; ``dims``: feature length of each space; ``digests``: those of rows by table (and space).

    ``journal``: ends of the chain of its entries. ``settings``: those in force; None if none are sealed, and those of
    the file count. ``models``: SHA-256 of the model's file of each space.
    """

    active: str | None = None
    revision: int = 0
    next_row: int = 1
    dims: dict[str, int] = field(default_factory=dict)
    journal: dict[str, Any] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] | None = None
    models: dict[str, str] = field(default_factory=dict)

    def seal(self, key: SiteKey) -> bytes:
        """Return the sealed state."""
        return key.cipher("state").seal_json(vars(self), _PLACE)

    @classmethod
    def open(cls, sealed: bytes | None, cipher: Cipher) -> GalleryState:
        """Open a sealed state; raises :class:`FedfrError` if it was changed."""
        content: dict[str, Any] = cipher.open_json(sealed, _PLACE)
        return cls(**content)

    def check(self, digest: RowDigest, table: str, where: Path) -> None:
        """Raise :class:`FedfrError` if the rows of a table are not those that the gallery wrote."""
        if not hmac.compare_digest(digest.value, self.digests.get(table, RowDigest(b"", "").value)):
            raise FedfrError(
                f"{where}: rows of the table {table} were added, removed or restored by another program; restore the "
                "gallery from a copy"
            )
