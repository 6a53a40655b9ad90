"""Private keys by which sites authenticate themselves."""

from __future__ import annotations

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
from fedfr.core.secret_files import read_secret, refuse_existing, write_new, write_secret

__all__ = ["load_key", "make_node_key", "public_line", "save_key"]


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
    content = read_secret(path)
    try:
        key = load_ssh_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise FedfrError(
            f"{path} is not an OpenSSH private key without passphrase ({error}); give a key that fedfr created"
        ) from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise FedfrError(f"{path} holds a {type(key).__name__}; give a key that fedfr created")
    return key
