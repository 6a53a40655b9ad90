"""A small set of public faces, and its fingerprint."""

from __future__ import annotations

from tests.support.tiny_experiment import tiny_faces

__all__ = ["FACES", "FINGERPRINT"]

FACES = tiny_faces(5, 4)
FINGERPRINT = FACES.fingerprint()
