"""Boxes: two shares from one site to another, which pass the server closed (ChaCha20-Poly1305, RFC 8439).

The key is derived for one direction between two sites in one round and closes one box. The nonce is random all the
same: if a site's record were restored from a copy, the site could close a second box under the same key. Round, list of
keys, sender and recipient are bound by the key and by the associated data.
"""

from __future__ import annotations

import secrets

from fedfr.core.errors import FedfrError
from fedfr.privacy.secure_sum.canonical import Label, canonical
from fedfr.privacy.secure_sum.keys import agree, derive
from fedfr.privacy.secure_sum.library import ChaCha20Poly1305, InvalidTag
from fedfr.privacy.secure_sum.shares import SHARE_BYTES

__all__ = ["BOX_BYTES", "Box"]

_NONCE = 12
_TAG = 16
BOX_BYTES = _NONCE + 2 * SHARE_BYTES + _TAG


class Box:
    """Boxes in one direction between two sites: ``secret`` and ``public`` are the box keys of one and the other."""

    def __init__(self, secret: bytes, public: bytes, roster: bytes, sender: str, recipient: str) -> None:
        self._aead = ChaCha20Poly1305(derive(agree(secret, public), roster, Label.BOX_KEY, sender, recipient))
        self._data = canonical(Label.BOX, roster, sender, recipient)
        self._sender = sender

    def close(self, seed_share: bytes, key_share: bytes) -> bytes:
        """Return the closed box."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._aead.encrypt(nonce, seed_share + key_share, self._data)

    def open(self, box: bytes) -> tuple[bytes, bytes]:
        """Return the share of the seed and that of the mask key.

        Raises :class:`FedfrError` with the same text whatever is wrong with the box.
        """
        try:
            content = self._aead.decrypt(box[:_NONCE], box[_NONCE:], self._data)
        except (InvalidTag, ValueError):
            content = b""
        if len(content) != 2 * SHARE_BYTES:
            raise FedfrError(f"the box from {self._sender} cannot be opened; it was changed or is for another round")
        return content[:SHARE_BYTES], content[SHARE_BYTES:]
