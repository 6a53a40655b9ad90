"""1:N search in a gallery of templates, open set: TPIR at fixed FPIR in both conventions, and rank-1."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.evaluation.metrics import MINIMUM_IMPOSTORS, Metric, expected, rate_label, refusable
from fedfr.evaluation.scores import Block, operating_points
from fedfr.evaluation.unit_features import check_labels, normalize

__all__ = [
    "NON_MATED",
    "Search",
    "best_scores",
    "gallery_templates",
    "open_set_identification",
    "probe_labels",
    "released_identification",
]

NON_MATED = -1
BLOCK = 1 << 22

Floats = NDArray[np.floating[Any]]
Labels = NDArray[np.int64]


def gallery_templates(features: Floats, labels: NDArray[Any]) -> tuple[NDArray[np.float32], Labels]:
    """One template per identity, the mean of its normalized features (K, D), and the identities' labels, ascending.

    A template's length is at most one; :func:`open_set_identification` normalizes it, the released convention does not.
    """
    labels = check_labels(labels, len(features), "gallery labels")
    if len(labels) == 0:
        raise FedfrError("found a gallery without images; give at least one image of every enrolled identity")
    identities, rows = np.unique(labels, return_inverse=True)
    normalized = normalize(features, "gallery features")
    sums = np.zeros((len(identities), features.shape[1]))
    np.add.at(sums, rows, normalized)
    return (sums / np.bincount(rows)[:, None]).astype(np.float32), identities


def probe_labels(labels: NDArray[Any], identities: Labels) -> Labels:
    """For every probe the row of its identity in the gallery, ``NON_MATED`` where it is not enrolled."""
    if len(identities) == 0:
        return np.full(len(labels), NON_MATED, np.int64)
    places = np.minimum(np.searchsorted(identities, labels), len(identities) - 1)
    return np.where(identities[places] == labels, places, NON_MATED)


def open_set_identification(
    templates: Floats,
    probes: Floats,
    labels: NDArray[Any],
    fpirs: Sequence[float],
    *,
    minimum_impostors: int = MINIMUM_IMPOSTORS,
) -> list[Metric]:
    """TPIR at every FPIR in the standard convention (ISO/IEC 19795-1), then rank-1, by cosine.

    FPIR: share of non-mated probes with any gallery score strictly above the threshold, which is the ⌊FPIR·N⌋-th (from
    0) highest of their N best scores. TPIR: share of mated probes whose own template scores strictly above it *and*
    above every other template; a tie for the first place is no hit. ``templates`` (K, D), ``probes`` (P, D),
    ``labels`` (P,) rows of the gallery or ``NON_MATED``.
    """
    own, best_other, mated = best_scores(templates, probes, labels)
    hit = mated & (own > best_other)
    impostors = np.sort(best_other[~mated])[::-1]
    genuine = int(mated.sum())
    measurements = []
    for fpir in fpirs:
        measured = refusable(f"TPIR@FPIR={rate_label(fpir)}", fpir, genuine, len(impostors), minimum_impostors)
        if not measured.refused:
            threshold = impostors[math.floor(expected(fpir, len(impostors)))]
            accepted = int((hit & (own > threshold)).sum())
            measured = replace(measured, value=accepted / genuine, threshold=float(threshold))
        measurements.append(measured)
    return [*measurements, _rank_one(int(hit.sum()), genuine, len(templates))]


def best_scores(
    templates: Floats, probes: Floats, labels: NDArray[Any]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Per probe the cosine with its own template, the best of the others (-inf where there is none), whether mated."""
    search = Search(normalize(templates, "templates"), normalize(probes, "probes"), labels)
    return *search.best(), search.labels != NON_MATED


def released_identification(
    templates: Floats,
    probes: Floats,
    labels: NDArray[Any],
    fpirs: Sequence[float],
    *,
    minimum_impostors: int = MINIMUM_IMPOSTORS,
) -> list[Metric]:
    """TPIR at every FPIR as the FedFR authors' released code counts it; templates keep their length.

    The threshold is the ⌈FPIR·P⌉-th highest score over all probes × templates, each mated probe's own identity left
    out; a mated probe is found iff its own template scores strictly above it, whatever the other templates score.
    FPIR here divides by all P probes, so that P·FPIR scores stand behind a metric. Shapes as in
    :func:`open_set_identification`.
    """
    search = Search(_finite(templates), normalize(probes, "probes"), labels)
    genuine = int((search.labels != NON_MATED).sum())
    count, scores = len(probes), len(probes) * len(templates) - genuine
    measurements = []
    for fpir in fpirs:
        metric = f"TPIR(released)@FPIR={rate_label(fpir)}"
        measured = refusable(metric, fpir, genuine, count - genuine, minimum_impostors, of=count)
        measurements.append(measured)
    given = [index for index, measured in enumerate(measurements) if not measured.refused]
    ranks = [min(math.ceil(expected(fpirs[index], count)), scores) - 1 for index in given]
    for index, point in zip(given, operating_points(search.blocks, ranks), strict=True):
        measurements[index] = replace(measurements[index], value=point.accepted / genuine, threshold=point.threshold)
    return measurements


@dataclass(frozen=True)
class Search:
    """Every probe against every template, in blocks of probes."""

    templates: NDArray[np.float32]
    probes: NDArray[np.float32]
    labels: Labels

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", check_labels(self.labels, len(self.probes), "probe labels"))
        if len(self.templates) == 0 or self.templates.shape[1] != self.probes.shape[1]:
            raise FedfrError(
                f"found templates {self.templates.shape} for probes {self.probes.shape}; both need the same dimension, "
                "and the gallery at least one template"
            )
        if len(self.labels) and not NON_MATED <= self.labels.min() <= self.labels.max() < len(self.templates):
            raise FedfrError(f"probe labels lie outside -1 … {len(self.templates) - 1}, the rows of the gallery")

    @property
    def _step(self) -> int:
        return max(1, BLOCK // len(self.templates))

    def blocks(self) -> Iterator[Block]:
        """Scores of every probe; genuine are the mated probes' own."""
        for start in range(0, len(self.probes), self._step):
            scores = self.probes[start : start + self._step] @ self.templates.T
            labels = self.labels[start : start + self._step]
            rows = np.flatnonzero(labels != NON_MATED)
            own = scores[rows, labels[rows]]
            yield Block(scores, own, own)

    def best(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Per probe the score of its own template and the best of the others, -inf where there is none."""
        own = np.full(len(self.probes), -np.inf, np.float32)
        other = np.full(len(self.probes), -np.inf, np.float32)
        start = 0
        for block in self.blocks():
            rows = slice(start, start + len(block.scores))
            labels = self.labels[rows]
            mated = np.flatnonzero(labels != NON_MATED)
            own[rows][mated] = block.genuine
            block.scores[mated, labels[mated]] = -np.inf
            other[rows] = block.scores.max(axis=1)
            start = rows.stop
        return own, other

    def ranks(self) -> Labels:
        """The rank of each mated probe's own template, from 1, in order; a tie is lost: equal scores rank before it."""
        found = [np.empty(0, np.int64)]
        for start, block in zip(range(0, len(self.probes), self._step), self.blocks(), strict=True):
            mated = self.labels[start : start + self._step] != NON_MATED
            found.append((block.scores[mated] >= block.genuine[:, None]).sum(axis=1))
        return np.concatenate(found)


def _rank_one(hits: int, mated: int, enrolled: int) -> Metric:
    if mated == 0 or enrolled < 2:
        reason = "no mated probes" if mated == 0 else "only one identity is enrolled"
        return Metric("rank-1", None, mated, 0, 0.0, reason)
    return Metric("rank-1", hits / mated, mated, 0, 0.0)


def _finite(templates: Floats) -> NDArray[np.float32]:
    normalize(templates, "templates")
    return templates.astype(np.float32)
