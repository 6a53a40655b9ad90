"""Private keys and where they are kept: files that only their owner may read."""

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
    """Raises :class:`FedfrError` where something stands at ``path``."""
    if path.exists():
        raise FedfrError(f"{path} exists already and is not replaced; remove it, or choose another name")


def write_new(path: Path, content: bytes) -> None:
    """Write a file that does not exist yet; raises :class:`FedfrError` where it does."""
    refuse_existing(path)
    write_atomically(path, content)


def write_secret(path: Path, content: bytes) -> None:
    """As :func:`write_new`, for the eyes of the owner alone, from the first byte on."""
    refuse_existing(path)

    def write(temporary: Path) -> None:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)

    write_atomically(path, write)


def make_node_key() -> EllipticCurvePrivateKey:
    """A site's key, by which the SuperLink knows its node: NIST P-384, as Flower's documentation makes them."""
    return generate_private_key(SECP384R1())


def save_key(path: Path, key: EllipticCurvePrivateKey) -> None:
    """Write a private key as OpenSSH does, without passphrase, and its public one beside it as ``.pub``."""
    public = path.with_name(f"{path.name}.pub")
    refuse_existing(public)
    write_secret(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    write_new(public, (public_line(key) + "\n").encode())


def public_line(key: EllipticCurvePrivateKey) -> str:
    """The public key of a private one in a line, as ``ssh-keygen`` writes it."""
    line: bytes = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return line.decode("ascii")


def load_key(path: Path) -> EllipticCurvePrivateKey:
    """A private key that :func:`save_key` wrote; raises :class:`FedfrError` where it is missing, open or damaged."""
    try:
        open_to = path.stat().st_mode & READABLE_BY_OTHERS
        content = path.read_bytes()
    except OSError as error:
        raise FedfrError(f"cannot read the key {path}: {error.strerror or error}; check the path") from error
    if open_to:
        raise FedfrError(f"the key {path} can be read by others than its owner; chmod 600 it, or make a new one")
    try:
        key = load_ssh_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise FedfrError(
            f"{path} is no private key as OpenSSH writes it, without passphrase ({error}); give a key that fedfr made"
        ) from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise FedfrError(f"{path} holds a {type(key).__name__}; give a key that fedfr made")
    return key
