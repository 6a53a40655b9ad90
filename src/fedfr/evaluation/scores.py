"""Exact order statistics of scores that are too many to keep: streamed twice, never sorted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fedfr.errors import FedfrError

__all__ = ["Scores", "highest", "normalised", "pair_scores"]

Scores = NDArray[np.float32]


def normalised(features: NDArray[np.float32], what: str = "features") -> Scores:
    """Rows scaled to length 1; raises :class:`FedfrError` naming the first row that is not finite or has no length."""
    features = np.ascontiguousarray(features, np.float32)
    if features.ndim != 2:
        raise FedfrError(f"{what} have shape {features.shape}; they must be (images, dimensions)")
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0))
    if bad.size:
        raise FedfrError(f"{what}: row {bad[0]} is zero or holds NaN or infinity; the model cannot be evaluated")
    return (features / lengths).astype(np.float32)


def pair_scores(
    features: Scores, labels: NDArray[np.int64], own: NDArray[np.bool_], block: int = 2048
) -> Iterator[tuple[Scores, Scores]]:
    """Cosine scores of all pairs i < j of which at least one is ``own``, block by block: (genuine, impostor).

    ``features`` are normalised (N, D). Memory: a few times ``block``² scores, whatever N.
    """
    rows, others = np.flatnonzero(own), np.flatnonzero(~own)
    order = np.concatenate([rows, others])
    matrix, names = torch.from_numpy(features[order]), labels[order]
    for top in range(0, len(rows), block):
        bottom = min(top + block, len(rows))
        # Columns left of the block's first row were paired with it when they were rows.
        for left in range(top, len(order), block):
            right = min(left + block, len(order))
            scores = (matrix[top:bottom] @ matrix[left:right].T).numpy()
            same = names[top:bottom, None] == names[None, left:right]
            if left < bottom:
                later = np.arange(left, right)[None, :] > np.arange(top, bottom)[:, None]
                yield scores[later & same], scores[later & ~same]
            else:
                yield scores[same], scores[~same]


def highest(stream: Callable[[], Iterable[Scores]], ranks: Sequence[int]) -> list[float]:
    """The scores at these 0-based ranks from the top; ``stream`` yields all scores in parts and is called twice.

    Exact, by radix selection on the bits of float32: first the upper 16, then the lower 16 where a rank fell. Memory is
    65 536 counters per rank, whatever the number of scores or ties.
    """
    coarse = np.zeros(1 << 16, np.int64)
    for scores in stream():
        coarse += np.bincount(_ordered(scores) >> 16, minlength=1 << 16)
    total = int(coarse.sum())
    if any(not 0 <= rank < total for rank in ranks):
        raise ValueError(f"ranks {list(ranks)} of {total} scores")
    # Number of scores in bins above each bin.
    above = np.concatenate([np.cumsum(coarse[::-1])[::-1][1:], [0]])
    bins = [int(np.flatnonzero(above <= rank)[0]) for rank in ranks]
    fine = {number: np.zeros(1 << 16, np.int64) for number in bins}
    for scores in stream():
        keys = _ordered(scores)
        upper = keys >> 16
        for number, counts in fine.items():
            counts += np.bincount(keys[upper == number] & 0xFFFF, minlength=1 << 16)
    found = []
    for rank, number in zip(ranks, bins, strict=True):
        within = np.cumsum(fine[number][::-1])
        lower = 0xFFFF - int(np.searchsorted(within, rank - above[number], side="right"))
        found.append(_value((number << 16) | lower))
    return found


def _ordered(scores: Scores) -> NDArray[np.int64]:
    """Keys 0…2³²−1 in the order of the scores."""
    # Adding zero turns −0 into 0, which must share a key.
    bits = np.ascontiguousarray(scores + np.float32(0)).view(np.uint32).astype(np.int64)
    return np.where(bits >> 31 == 1, 0xFFFFFFFF - bits, bits | 0x80000000)


def _value(key: int) -> float:
    bits = key & 0x7FFFFFFF if key >> 31 else 0xFFFFFFFF - key
    return float(np.array([bits], np.uint32).view(np.float32)[0])
