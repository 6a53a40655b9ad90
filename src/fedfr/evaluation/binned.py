"""TAR from 2 001 score bins with interpolation, as the method's released code computes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedfr.evaluation.scores import ScoreStream

__all__ = ["binned_tar"]

BINS = 2001
PER_UNIT = 1000


def binned_tar(stream: ScoreStream, fars: Sequence[float]) -> list[float]:
    """TAR at every FAR: scores in bins of 0.001 from -1 up, both rates per bin edge, linear between edges.

    Agrees with the exact figure to about 1e-3; kept to compare with numbers published by that code.
    """
    impostor, genuine = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    for block in stream():
        impostor += _histogram(block.scores) - _histogram(block.removed)
        genuine += _histogram(block.genuine)
    far, tar = (np.cumsum(counts[::-1])[::-1] / counts.sum() for counts in (impostor, genuine))
    # A stable order keeps, of edges with equal FAR, the lowest first: linear steps then end at the highest TAR.
    order = np.argsort(far, kind="stable")
    return [float(value) for value in np.interp(fars, far[order], tar[order])]


def _histogram(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    positions = (scores.reshape(-1) + np.float32(1)) * np.float32(PER_UNIT)
    counts: NDArray[np.int64] = np.bincount(np.clip(positions.astype(np.int64), 0, BINS - 1), minlength=BINS)
    return counts
