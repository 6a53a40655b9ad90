"""Encryption of a gallery: the site key, data keys of persons, and sealed records (AES-256-GCM)."""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import secrets
import unicodedata
from pathlib import Path
from typing import Any

from fedfr.core.errors import FedfrError
from fedfr.core.files import parse_json
from fedfr.core.secret_files import read_secret, write_secret

__all__ = ["NONCE", "Cipher", "DataKey", "SiteKey"]

KEY_BYTES = 32
NONCE = 12
_TAG = 16
_FORMAT = "fedfr-site-key/1"
# 128 MiB and a few tenths of a second for each guess of a passphrase.
_COST, _BLOCK, _PARALLEL = 1 << 17, 8, 1
_COSTS = tuple(1 << power for power in range(15, 19))
_SHORTEST = 8


@functools.cache
def _library() -> tuple[Any, type[Exception]]:
    """Return the class of AES-256-GCM and the exception for a wrong tag."""
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise FedfrError("galleries are encrypted, which needs cryptography; pip install 'fedfr[door]'") from error
    return AESGCM, InvalidTag


class Cipher:
    """Authenticated encryption with one key: AES-256-GCM with a random nonce for each record.

    A record is bound to its ``place``, a text that names its table, row, person and column: at another place it cannot
    be opened. ``where`` names the gallery in error messages.
    """

    def __init__(self, key: bytes, where: Path) -> None:
        aes_gcm, self._wrong_tag = _library()
        self._aead = aes_gcm(key)
        self._where = where

    def seal(self, content: bytes, place: str) -> bytes:
        """Encrypt ``content``; returns nonce, ciphertext and tag."""
        nonce = secrets.token_bytes(NONCE)
        sealed: bytes = self._aead.encrypt(nonce, content, place.encode())
        return nonce + sealed

    def open(self, sealed: object, place: str) -> bytes:
        """Decrypt a record of :meth:`seal`; raises :class:`FedfrError` that names the place if it is another's."""
        if isinstance(sealed, bytes) and len(sealed) >= NONCE + _TAG:
            try:
                content: bytes = self._aead.decrypt(sealed[:NONCE], sealed[NONCE:], place.encode())
            except self._wrong_tag:
                pass
            else:
                return content
        raise FedfrError(
            f"{self._where}: the record {place} was changed, moved or sealed with another key; restore the gallery "
            "from a copy"
        )

    def seal_json(self, content: Any, place: str) -> bytes:
        """Encrypt JSON values."""
        return self.seal(json.dumps(content, allow_nan=False, separators=(",", ":")).encode(), place)

    def open_json(self, sealed: object, place: str) -> Any:
        """Decrypt JSON values of :meth:`seal_json`."""
        return parse_json(self.open(sealed, place))


class DataKey(Cipher):
    """Key of one person, with which everything about the person is sealed."""

    def __init__(self, key: bytes, where: Path) -> None:
        super().__init__(key, where)
        self.key = key

    @classmethod
    def new(cls, where: Path) -> DataKey:
        """Create a random key."""
        return cls(secrets.token_bytes(KEY_BYTES), where)


class SiteKey:
    """Key of a gallery: it wraps the persons' data keys and gives the other keys of the gallery.

    It is 32 random bytes in a file that only its owner can read, or derived from a passphrase by scrypt; the file then
    holds the salt and the parameters. ``id`` identifies the key; the key cannot be derived from it.
    """

    def __init__(self, key: bytes, where: Path) -> None:
        self._key = key
        self._where = where
        self.id = self._derive("id").hex()[:32]
        self._wrap = Cipher(self._derive("wrap"), where)
        self._names = self._derive("names")

    @classmethod
    def create(cls, path: Path, passphrase: str | None = None) -> SiteKey:
        """Create a key in the new file ``path``, or derive it from a passphrase of at least 8 characters."""
        if passphrase is None:
            made = cls(secrets.token_bytes(KEY_BYTES), path.parent)
            write_secret(path, made._key)
            return made
        if len(passphrase) < _SHORTEST:
            raise FedfrError(
                f"the passphrase for {path.parent} has {len(passphrase)} characters; choose one of at least "
                f"{_SHORTEST}, better several random words"
            )
        salt = secrets.token_bytes(16)
        made = cls(_scrypt(passphrase, salt, _COST, _PARALLEL), path.parent)
        content = {"format": _FORMAT, "kdf": "scrypt", "n": _COST, "r": _BLOCK, "p": _PARALLEL}
        write_secret(path, json.dumps({**content, "salt": salt.hex(), "id": made.id}, indent=2).encode() + b"\n")
        return made

    @classmethod
    def open(cls, path: Path, passphrase: str | None = None) -> SiteKey:
        """Read the key from its file.

        Raises :class:`FedfrError` if the file is missing, damaged or readable by others, or the passphrase is wrong,
        missing, or given for a key that has none.
        """
        content = read_secret(path)
        if len(content) == KEY_BYTES:
            if passphrase is not None:
                raise FedfrError(f"{path} is a key without passphrase, and one was given; leave it out")
            return cls(content, path.parent)
        cost, parallel, salt, expected = _parameters(path, content)
        if passphrase is None:
            raise FedfrError(f"the gallery {path.parent} needs its passphrase; give it")
        made = cls(_scrypt(passphrase, salt, cost, parallel), path.parent)
        if not hmac.compare_digest(made.id, expected):
            raise FedfrError(f"wrong passphrase for the gallery {path.parent}; check it, upper and lower case count")
        return made

    @staticmethod
    def read_id(path: Path) -> str:
        """Return the id of the key in a file without knowing its passphrase; raises as :meth:`open` does."""
        content = read_secret(path)
        if len(content) == KEY_BYTES:
            return SiteKey(content, path.parent).id
        return _parameters(path, content)[3]

    @staticmethod
    def has_passphrase(path: Path) -> bool:
        """Return whether the key in a file is derived from a passphrase."""
        return len(read_secret(path)) != KEY_BYTES

    def wrap(self, key: DataKey, place: str) -> bytes:
        """Seal the data key of a person."""
        return self._wrap.seal(key.key, place)

    def unwrap(self, wrapped: object, place: str) -> DataKey:
        """Open the data key of a person; raises :class:`FedfrError` if it was changed or moved."""
        return DataKey(self._wrap.open(wrapped, place), self._where)

    def cipher(self, purpose: str) -> Cipher:
        """Return the cipher for records of no person: ``rows``, ``state`` or ``journal``."""
        return Cipher(self._derive(purpose), self._where)

    def mac_key(self, purpose: str) -> bytes:
        """Return the key of a keyed hash."""
        return self._derive(f"mac {purpose}")

    def name_tag(self, normalized: str) -> bytes:
        """Return the keyed hash of a normalized name, by which a person is found."""
        return hmac.digest(self._names, normalized.encode("utf-8", "surrogatepass"), "sha256")

    def _derive(self, purpose: str) -> bytes:
        # The key is uniformly random, or the result of scrypt, so that one HMAC is a key derivation.
        return hmac.digest(self._key, f"fedfr gallery 1: {purpose}".encode(), "sha256")


def _scrypt(passphrase: str, salt: bytes, cost: int, parallel: int) -> bytes:
    # Composed, so that the same passphrase typed on another system is the same.
    secret = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
    most = 128 * _BLOCK * (cost + parallel + 2) + (1 << 20)
    return hashlib.scrypt(secret, salt=salt, n=cost, r=_BLOCK, p=parallel, maxmem=most, dklen=KEY_BYTES)


def _parameters(path: Path, content: bytes) -> tuple[int, int, bytes, str]:
    """Return cost, parallelism, salt and id from a key file with a passphrase."""
    try:
        values = parse_json(content, names_once=True)
        cost, parallel, salt, expected = values["n"], values["p"], bytes.fromhex(values["salt"]), values["id"]
        known = (values["format"], values["kdf"], values["r"]) == (_FORMAT, "scrypt", _BLOCK)
        whole = known and cost in _COSTS and parallel in range(1, 5) and len(salt) == 16
        if not whole or not (isinstance(expected, str) and expected.isascii() and len(expected) == 32):
            raise ValueError("a value is not allowed")
        return int(cost), int(parallel), salt, expected
    except (ValueError, LookupError, TypeError) as error:
        raise FedfrError(
            f"{path} is not the key of a gallery ({len(content)} bytes; a key has {KEY_BYTES}, or is a JSON file with "
            "the parameters of a passphrase); restore it from a copy"
        ) from error
