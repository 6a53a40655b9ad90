"""Shares of a secret of 32 bytes, of which a threshold recovers it (Shamir, CACM 1979).

The library shares 16 bytes over GF(2¹²⁸), so the two halves are shared with polynomials of their own. Fewer shares than
the threshold say nothing about the secret. The arithmetic of the library is not constant in time; it runs on the
owner's machine, and the coordinator knows what it recovers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fedfr.privacy.secure_sum.agreement import SumLostError
from fedfr.privacy.secure_sum.keys import SECRET_BYTES
from fedfr.privacy.secure_sum.library import Shamir

__all__ = ["SHARE_BYTES", "combine", "recover", "split"]

_HALF = SECRET_BYTES // 2
SHARE_BYTES = SECRET_BYTES


def split(secret: bytes, threshold: int, count: int) -> list[bytes]:
    """Return ``count`` shares, for the positions 1, 2, …, of which ``threshold`` recover the secret."""
    halves = [Shamir.split(threshold, count, half, ssss=False) for half in (secret[:_HALF], secret[_HALF:])]
    return [first + second for (_, first), (_, second) in zip(*halves, strict=True)]


def combine(shares: Mapping[int, bytes]) -> bytes:
    """Return the secret from exactly as many shares as the threshold, by position.

    A wrong share gives a wrong secret: the caller checks it.
    """
    parts = (slice(_HALF), slice(_HALF, SHARE_BYTES))
    return b"".join(
        Shamir.combine([(at, share[part]) for at, share in sorted(shares.items())], ssss=False) for part in parts
    )


def recover(shares: Mapping[int, bytes], threshold: int, is_secret: Callable[[bytes], bool], whose: str) -> bytes:
    """Return the secret that passes the check ``is_secret``, from at least ``threshold`` shares.

    If a site gave a wrong share, neighbouring ones are tried, as many times as there are shares. Raises
    :class:`SumLostError` if none of them gives the secret.
    """
    positions = sorted(shares)
    for start in range(len(positions) if len(positions) > threshold else 1):
        chosen = [positions[(start + step) % len(positions)] for step in range(threshold)]
        secret = combine({at: shares[at] for at in chosen})
        if is_secret(secret):
            return secret
    raise SumLostError(
        f"the {len(positions)} shares of {whose} do not give what it published; it dealt wrong shares, or a site sent "
        "a wrong one; the round is lost"
    )
