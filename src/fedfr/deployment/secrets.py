"""Private keys, and files that only their owner can read."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from fedfr.core.errors import FedfrError
from fedfr.core.files import write_atomically

__all__ = [
    "load_key",
    "make_node_key",
    "public_line",
    "refuse_existing",
    "save_key",
    "write_new",
    "write_secret",
]

READABLE_BY_OTHERS = 0o077


def refuse_existing(path: Path) -> None:
    """Raise :class:`FedfrError` if ``path`` exists."""
    if path.exists():
        raise FedfrError(f"{path} exists already and is not replaced; remove it, or choose another name")


def write_new(path: Path, content: bytes) -> None:
    """Write a new file; raises :class:`FedfrError` if it exists."""
    refuse_existing(path)
    write_atomically(path, content)


def write_secret(path: Path, content: bytes) -> None:
    """Write a new file that only its owner can read (mode 600); raises :class:`FedfrError` if it exists."""
    refuse_existing(path)

    def write(temporary: Path) -> None:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)

    write_atomically(path, write)


def make_node_key() -> EllipticCurvePrivateKey:
    """Create a site's private key, by which the SuperLink authenticates its node: NIST P-384, as Flower recommends."""
    return generate_private_key(SECP384R1())


def save_key(path: Path, key: EllipticCurvePrivateKey) -> None:
    """Write a private key in OpenSSH format without passphrase, and the public key beside it as ``.pub``.

    Raises :class:`FedfrError` if one of the files exists.
    """
    public = path.with_name(f"{path.name}.pub")
    refuse_existing(public)
    write_secret(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    write_new(public, (public_line(key) + "\n").encode())


def public_line(key: EllipticCurvePrivateKey) -> str:
    """Return the public key of a private key as one line, in the format of ``ssh-keygen``."""
    line: bytes = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return line.decode("ascii")


def load_key(path: Path) -> EllipticCurvePrivateKey:
    """Load a key written by :func:`save_key`; raises :class:`FedfrError` if missing, damaged or readable by others."""
    try:
        open_to = path.stat().st_mode & READABLE_BY_OTHERS
        content = path.read_bytes()
    except OSError as error:
        raise FedfrError(f"cannot read the key {path}: {error.strerror or error}; check the path") from error
    if open_to:
        raise FedfrError(f"the key {path} is readable by other users; chmod 600 it, or create a new one")
    try:
        key = load_ssh_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise FedfrError(
            f"{path} is not an OpenSSH private key without passphrase ({error}); give a key that fedfr created"
        ) from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise FedfrError(f"{path} holds a {type(key).__name__}; give a key that fedfr created")
    return key
