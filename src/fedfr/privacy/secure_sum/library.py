"""Cryptographic primitives of the libraries cryptography and pycryptodome; the only place that imports them.

Importing this module without them raises a :class:`FedfrError` that says what to install.
"""

from __future__ import annotations

from fedfr.core.errors import FedfrError

try:
    from Crypto.Protocol.SecretSharing import Shamir
    from cryptography.exceptions import InvalidSignature, InvalidTag
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    from cryptography.hazmat.primitives.ciphers.algorithms import AES
    from cryptography.hazmat.primitives.ciphers.modes import CTR
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ImportError as error:
    raise FedfrError(
        "secure sums need the packages cryptography and pycryptodome; pip install 'fedfr[privacy]'"
    ) from error

__all__ = [
    "AES",
    "CTR",
    "HKDF",
    "SHA256",
    "ChaCha20Poly1305",
    "Cipher",
    "Ed25519PrivateKey",
    "Ed25519PublicKey",
    "InvalidSignature",
    "InvalidTag",
    "Shamir",
    "X25519PrivateKey",
    "X25519PublicKey",
]
