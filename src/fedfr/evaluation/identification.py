"""Identification, 1:N open set: is the right person found first, while strangers find nobody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fedfr.evaluation.figures import Figure, figure_at_rate
from fedfr.evaluation.scores import Scores, highest, normalised

__all__ = ["gallery_templates", "open_set_identification"]

_BLOCK = 8192


def gallery_templates(
    features: NDArray[np.float32], labels: NDArray[np.int64]
) -> tuple[Scores, NDArray[np.int64]]:
    """One template per identity: the mean of its normalised features (method, section 5); and whose they are."""
    identities, position = np.unique(labels, return_inverse=True)
    sums = np.zeros((len(identities), features.shape[1]), np.float64)
    np.add.at(sums, position, normalised(features, "gallery features"))
    return (sums / np.bincount(position)[:, None]).astype(np.float32), identities


def open_set_identification(
    templates: Scores,
    identities: NDArray[np.int64],
    probes: NDArray[np.float32],
    probe_labels: NDArray[np.int64],
    fpirs: Sequence[float],
) -> list[Figure]:
    """TPIR at each FPIR in two conventions, and rank-1; a probe is mated when its identity is in the gallery.

    Standard (ISO/IEC 19795-1): FPIR is the share of non-mated probes with any gallery score above the threshold; a
    mated probe counts when its identity has rank 1 and scores above it. ``released``: the threshold is the
    ⌈FPIR · N_probes⌉-th highest of all non-mated scores (every probe against every template not its own); only the own
    score must lie above. Memory: one number per probe, and one block of scores.
    """
    scaled = torch.from_numpy(normalised(probes, "probe features"))
    gallery = torch.from_numpy(templates).T
    column = np.full(int(max(probe_labels.max(initial=0), identities.max(initial=0))) + 1, -1)
    column[identities] = np.arange(len(identities))
    own = np.where(probe_labels >= 0, column[probe_labels], -1)
    mated = own >= 0

    def blocks() -> Iterator[tuple[int, Scores]]:
        for start in range(0, len(scaled), _BLOCK):
            yield start, (scaled[start : start + _BLOCK] @ gallery).numpy()

    def strangers() -> Iterator[Scores]:
        for start, scores in blocks():
            other = np.ones(scores.shape, np.bool_)
            here = own[start : start + len(scores)]
            rows = np.flatnonzero(here >= 0)
            other[rows, here[rows]] = False
            yield scores[other]

    best, mine = np.empty(len(own), np.float32), np.full(len(own), -np.inf, np.float32)
    rank_one = np.zeros(len(own), np.bool_)
    for start, scores in blocks():
        span = slice(start, start + len(scores))
        best[span] = scores.max(axis=1)
        rows = np.flatnonzero(own[span] >= 0)
        mine[start + rows] = scores[rows, own[span][rows]]
        # A tie with another identity is no rank 1.
        reached = (scores[rows] >= mine[start + rows, None]).sum(axis=1)
        rank_one[start + rows] = reached == 1

    found, non_mated = int(mated.sum()), int((~mated).sum())
    comparisons = len(own) * len(identities) - found
    standard, released = [], []
    ceilings = np.sort(best[~mated])[::-1]
    ranks = [min(max(int(np.ceil(rate * len(own))) - 1, 0), comparisons - 1) for rate in fpirs]
    thresholds = highest(strangers, ranks) if comparisons else [float("nan")] * len(fpirs)
    for rate, rank, threshold in zip(fpirs, ranks, thresholds, strict=True):
        value = None
        if found and non_mated:
            limit = ceilings[min(int(np.floor(rate * non_mated)), non_mated - 1)]
            value = float((rank_one[mated] & (mine[mated] > limit)).mean())
        standard.append(figure_at_rate("TPIR@FPIR", rate, value, found, non_mated, rate * non_mated))
        looser = float((mine[mated] > np.float32(threshold)).mean()) if found else None
        released.append(figure_at_rate("TPIR(released)@FPIR", rate, looser, found, non_mated, float(rank + 1)))
    rank_figure = Figure("rank-1", float(rank_one[mated].mean()) if found else None, found, non_mated)
    return [*standard, *released, rank_figure]
