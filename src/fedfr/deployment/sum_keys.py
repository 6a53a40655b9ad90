"""Keys with which sites sign their part in secure sums (Ed25519), in the formats of OpenSSH."""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
    load_ssh_public_key,
)

from fedfr.core.errors import FedfrError
from fedfr.core.secret_files import read_secret, write_secret

__all__ = ["SUM_KEY", "load_sum_key", "make_sum_key", "sum_key_bytes", "sum_key_line"]

SUM_KEY = "sum.key"
"""Name of the private key in a site's folder."""


def make_sum_key(folder: Path) -> str:
    """Create a site's key (mode 600) unless it has one; return its public key as a line."""
    path = folder / SUM_KEY
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        write_secret(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return _line(load_sum_key(folder).public_key())


def load_sum_key(folder: Path) -> Ed25519PrivateKey:
    """Load a site's key; raises :class:`FedfrError` if it is missing, damaged or readable by others."""
    path = folder / SUM_KEY
    if not path.exists():
        raise FedfrError(
            f"the site has no key for secure sums; create it with `fedfr site key {folder}`, and register it",
            shareable="the site has no key for secure sums",
        )
    try:
        key = load_ssh_private_key(read_secret(path), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise FedfrError(f"{path} is not an OpenSSH private key ({error}); restore the site's own key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise FedfrError(f"{path} holds a {type(key).__name__}; restore the site's own key")
    return key


def sum_key_line(text: str) -> str:
    """Return a public key as a line without comment; raises :class:`FedfrError` if the text is no such key."""
    try:
        key = load_ssh_public_key(text.encode("ascii"))
    except (ValueError, UnsupportedAlgorithm, UnicodeEncodeError) as error:
        raise FedfrError(f"{text[:40]!r} is not a public key of ssh-ed25519; give the site's own") from error
    if not isinstance(key, Ed25519PublicKey):
        raise FedfrError(f"{text[:40]!r} is not a public key of ssh-ed25519; give the site's own")
    return _line(key)


def sum_key_bytes(line: str) -> bytes:
    """Return the 32 bytes of a public key; raises as :func:`sum_key_line` does."""
    key = load_ssh_public_key(sum_key_line(line).encode("ascii"))
    assert isinstance(key, Ed25519PublicKey)
    return key.public_bytes_raw()


def _line(key: Ed25519PublicKey) -> str:
    line: bytes = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return line.decode("ascii")
