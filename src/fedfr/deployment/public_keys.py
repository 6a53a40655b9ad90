"""Public keys that sites send to the coordinator."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from fedfr.core.errors import FedfrError
from fedfr.deployment.sum_keys import sum_key_line

__all__ = ["key_fingerprint", "read_public_keys", "read_sum_key"]

_GIVE = "give the .pub file that `fedfr site init` created"


def read_public_keys(path: Path) -> tuple[str, str | None]:
    """Return the keys in a file as lines of OpenSSH: of the node, and for secure sums if there is a second line.

    Raises :class:`FedfrError` for anything else. Flower accepts node keys of NIST curves only.
    """
    try:
        first, *more = path.read_text("ascii").rstrip().split("\n")
        key = load_ssh_public_key(first.encode())
    except OSError as error:
        raise FedfrError(f"cannot read the key {path}: {error.strerror or error}; check the path") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise FedfrError(f"{path} is not a public key; {_GIVE}") from error
    if not isinstance(key, EllipticCurvePublicKey) or len(more) > 1:
        raise FedfrError(f"{path} is not one public key of a NIST curve, with one for secure sums; {_GIVE}")
    try:
        return first.strip(), sum_key_line(more[0]) if more else None
    except FedfrError as error:
        raise FedfrError(f"the second line of {path} is not a key for secure sums; {_GIVE}") from error


def read_sum_key(path: Path) -> str:
    """Return the key for secure sums in a registration; raises :class:`FedfrError` if the file holds anything else."""
    try:
        return sum_key_line(path.read_text("ascii").rstrip())
    except (OSError, ValueError, FedfrError) as error:
        raise FedfrError(f"{path} is not a key for secure sums; unregister the site, and register it again") from error


def key_fingerprint(line: str) -> str:
    """Return the fingerprint of a public key, as ``ssh-keygen -l`` shows it."""
    blob = base64.b64decode(line.split()[1])
    return f"SHA256:{base64.b64encode(hashlib.sha256(blob).digest()).decode('ascii').rstrip('=')}"
