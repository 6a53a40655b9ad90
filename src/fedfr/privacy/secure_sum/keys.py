"""Keys of sites: identity keys that sign (Ed25519), and keys of one round from which others are derived (X25519, HKDF).

Keys have one use each. The identity key signs and nothing else. A site has two X25519 keys in a round, because the one
for masks is recovered by the server if the site drops out, and boxes must stay closed then. Every key that is used is
derived by HKDF-SHA256 (RFC 5869) with the hash of the stage as salt, and as info a label and the sites concerned.
"""

from __future__ import annotations

import secrets
from typing import Self

from fedfr.core.errors import FedfrError
from fedfr.privacy.secure_sum.canonical import Label, canonical
from fedfr.privacy.secure_sum.library import (
    HKDF,
    SHA256,
    Ed25519PrivateKey,
    Ed25519PublicKey,
    InvalidSignature,
    X25519PrivateKey,
    X25519PublicKey,
)

__all__ = [
    "SECRET_BYTES",
    "SIGNATURE_BYTES",
    "Identity",
    "agree",
    "derive",
    "expand",
    "has_low_order",
    "is_signed",
    "new_secret",
    "public_key",
]

SECRET_BYTES = 32
SIGNATURE_BYTES = 64


class Identity:
    """Identity key of a site (Ed25519, RFC 8032). ``public`` is pinned in the agreement of every site."""

    def __init__(self, key: bytes) -> None:
        if len(key) != SECRET_BYTES:
            raise FedfrError(f"the identity key of a site has {len(key)} bytes; it must have {SECRET_BYTES}")
        self._key = Ed25519PrivateKey.from_private_bytes(key)
        self.public: bytes = self._key.public_key().public_bytes_raw()

    @classmethod
    def new(cls) -> Self:
        """Create a random key."""
        return cls(new_secret())

    def secret(self) -> bytes:
        """Return the key, to be stored where only the site can read it."""
        return self._key.private_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a canonical encoding."""
        return self._key.sign(message)


def is_signed(message: bytes, signature: bytes, public: bytes) -> bool:
    """Return whether ``signature`` is that of ``message`` by the holder of the identity key ``public``."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def new_secret() -> bytes:
    """Return a secret from the system's source of randomness; never from the seed of a run, which all sites know."""
    return secrets.token_bytes(SECRET_BYTES)


def public_key(secret: bytes) -> bytes:
    """Return the public key of an X25519 secret (RFC 7748)."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def agree(secret: bytes, public: bytes) -> bytes:
    """Return the value that two X25519 keys agree on; only to be given to :func:`derive`.

    Raises :class:`FedfrError` for a public key of low order, with which the value would be the same for every secret.
    """
    try:
        return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise FedfrError(
            "a key is of low order, which no honest site creates; the site that sent it is faulty"
        ) from error


def has_low_order(public: bytes) -> bool:
    """Return whether an X25519 public key agrees on zeros with every secret; a site that sends one is faulty."""
    try:
        agree(new_secret(), public)
    except FedfrError:
        return True
    return False


def derive(secret: bytes, stage: bytes, label: Label, *sites: str) -> bytes:
    """Return a key of 32 bytes for one purpose, one stage of one round, and the named sites in their order."""
    return expand(secret, stage, canonical(label, *sites))


def expand(secret: bytes, salt: bytes, info: bytes, length: int = SECRET_BYTES) -> bytes:
    """Return ``length`` bytes of HKDF-SHA256 (RFC 5869)."""
    return HKDF(SHA256(), length, salt, info).derive(secret)
