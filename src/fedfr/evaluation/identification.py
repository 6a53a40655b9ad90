"""1:N identification in a gallery of templates, open set: TPIR at fixed FPIR in two conventions, and rank-1."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedfr.core.errors import FedfrError
from fedfr.evaluation.array_inputs import as_array, as_features, as_labels, as_rates
from fedfr.evaluation.metrics import MINIMUM_IMPOSTORS, Metric, empty_metric, exact_product, rate_label
from fedfr.evaluation.score_normalization import CohortStatistics, cohort_statistics
from fedfr.evaluation.scores import ScoreBlock, operating_points
from fedfr.evaluation.unit_features import normalize

__all__ = [
    "NON_MATED",
    "Search",
    "best_scores",
    "gallery_rows",
    "gallery_templates",
    "identify",
    "open_set_identification",
    "released_identification",
]

NON_MATED = -1
"""The gallery row of a probe whose identity is not enrolled."""
BLOCK = 1 << 22

Labels = NDArray[np.int64]


def identify(
    gallery_features: ArrayLike,
    gallery_labels: ArrayLike,
    probe_features: ArrayLike,
    probe_labels: ArrayLike,
    fpirs: Sequence[float],
    *,
    minimum_impostors: int = MINIMUM_IMPOSTORS,
    cohort: ArrayLike | None = None,
) -> list[Metric]:
    """Search probes in a gallery, open set: return TPIR at every FPIR (ISO/IEC 19795-1), then rank-1.

    ``gallery_features`` (G, D) become one mean template per identity of ``gallery_labels`` (G,); ``probe_features``
    (P, D) whose label is not among them are non-mated probes. Features need not be normalized; arrays, lists and torch
    tensors are accepted. Definitions and refusals are those of :func:`open_set_identification`. Raises
    :class:`FedfrError` for an empty gallery, NaN, infinity, other shapes, and rates outside 0 … 1.

    >>> import numpy as np
    >>> from fedfr.evaluation import identify
    >>> labels = np.repeat(np.arange(20), 6)
    >>> features = np.eye(20)[labels] + np.random.default_rng(0).normal(0, 0.3, (120, 20))
    >>> enrolled = (labels < 10) & (np.arange(120) % 2 == 0)
    >>> found = identify(features[enrolled], labels[enrolled], features[~enrolled], labels[~enrolled], fpirs=[0.2])
    >>> for metric in found:
    ...     print(f"{metric.name} {metric.value:.3f} of {metric.genuine} mated, {metric.impostor} non-mated probes")
    TPIR@FPIR=2e-1 0.733 of 30 mated, 60 non-mated probes
    rank-1 0.867 of 30 mated, 0 non-mated probes
    """
    templates, identities = gallery_templates(gallery_features, gallery_labels)
    probes = normalize(probe_features, "probe features")
    rows = gallery_rows(as_labels(probe_labels, len(probes), "probe labels"), identities)
    return open_set_identification(templates, probes, rows, fpirs, minimum_impostors=minimum_impostors, cohort=cohort)


def gallery_templates(features: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float32], Labels]:
    """Return one template per identity, the mean of its normalized features (K, D), and the sorted labels (K,).

    A template is at most of length one; :func:`open_set_identification` normalizes it, the released convention does
    not. Raises :class:`FedfrError` for an empty gallery.

    >>> from fedfr.evaluation import gallery_templates
    >>> templates, identities = gallery_templates([[3, 0], [0, 2], [1, 0]], [8, 5, 8])
    >>> templates.tolist(), identities.tolist()
    ([[0.0, 1.0], [1.0, 0.0]], [5, 8])
    """
    normalized = normalize(features, "gallery features")
    numbers = as_labels(labels, len(normalized), "gallery labels")
    if len(numbers) == 0:
        raise FedfrError("found a gallery without images; give at least one image of every enrolled identity")
    identities, rows = np.unique(numbers, return_inverse=True)
    sums = np.zeros((len(identities), normalized.shape[1]))
    np.add.at(sums, rows, normalized)
    return (sums / np.bincount(rows)[:, None]).astype(np.float32), identities


def gallery_rows(labels: ArrayLike, identities: ArrayLike) -> Labels:
    """Return for every probe the gallery row of its identity, or ``NON_MATED`` if it is not enrolled.

    ``labels`` (P,) are the probes' identities, ``identities`` (K,) the gallery's as :func:`gallery_templates` returns
    them, ascending.

    >>> from fedfr.evaluation import gallery_rows
    >>> gallery_rows([9, 4, 1], [4, 9]).tolist()
    [1, 0, -1]
    """
    probes, enrolled = as_array(labels, "labels"), as_array(identities, "identities")
    probes = as_labels(probes, probes.size, "labels")
    enrolled = as_labels(enrolled, enrolled.size, "identities")
    if (enrolled[1:] <= enrolled[:-1]).any():
        raise FedfrError("identities are not in ascending order; give those that gallery_templates returns")
    if len(enrolled) == 0:
        return np.full(len(probes), NON_MATED, np.int64)
    places = np.minimum(np.searchsorted(enrolled, probes), len(enrolled) - 1)
    return np.where(enrolled[places] == probes, places, NON_MATED)


def open_set_identification(
    templates: ArrayLike,
    probes: ArrayLike,
    labels: ArrayLike,
    fpirs: Sequence[float],
    *,
    minimum_impostors: int = MINIMUM_IMPOSTORS,
    cohort: ArrayLike | None = None,
) -> list[Metric]:
    """Return TPIR at every FPIR in the standard convention (ISO/IEC 19795-1), then rank-1, scored by the cosine.

    FPIR: share of non-mated probes with any gallery score strictly above the threshold, which is the ⌊FPIR·N⌋-th (from
    0) highest of their N best scores. TPIR: share of mated probes whose own template scores strictly above it *and*
    above every other template; ties for the first place count as misses. ``templates`` (K, D), ``probes`` (P, D),
    ``labels`` (P,): the gallery row of each probe, or ``NON_MATED``. ``cohort`` normalizes the scores, as in
    :func:`~fedfr.evaluation.verify`.

    >>> from fedfr.evaluation import open_set_identification
    >>> templates = [[1, 0], [0, 1]]
    >>> probes = [[0.9, 0.1], [0.2, 0.8], [0.5, 0.6], [1, 0.9]]
    >>> tpir, rank_one = open_set_identification(templates, probes, [0, 1, -1, -1], [0.5], minimum_impostors=1)
    >>> tpir
    Metric(name='TPIR@FPIR=5e-1', value=1, genuine=2, impostor=2, impostors_above=1, threshold=0.7433)
    >>> rank_one.value
    1.0
    """
    rates = as_rates(fpirs, "fpirs")
    own, best_other, mated = best_scores(templates, probes, labels, cohort)
    hit = mated & (own > best_other)
    impostors = np.sort(best_other[~mated])[::-1]
    genuine = int(mated.sum())
    measurements = []
    for fpir in rates:
        measured = empty_metric(f"TPIR@FPIR={rate_label(fpir)}", fpir, genuine, len(impostors), minimum_impostors)
        if not measured.refused:
            threshold = impostors[math.floor(exact_product(fpir, len(impostors)))]
            accepted = int((hit & (own > threshold)).sum())
            measured = replace(measured, value=accepted / genuine, threshold=float(threshold))
        measurements.append(measured)
    return [*measurements, _rank_one(int(hit.sum()), genuine, len(as_array(templates, "templates")))]


def best_scores(
    templates: ArrayLike, probes: ArrayLike, labels: ArrayLike, cohort: ArrayLike | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Return per probe the cosine with its own template, the best of the others, and whether it is mated.

    A score that does not exist is -inf.
    """
    search = Search(normalize(templates, "templates"), normalize(probes, "probes"), as_array(labels, "probe labels"))
    if cohort is not None:
        norms = cohort_statistics(search.probes, cohort), cohort_statistics(search.templates, cohort)
        search = replace(search, norms=norms)
    return *search.best(), search.labels != NON_MATED


def released_identification(
    templates: ArrayLike,
    probes: ArrayLike,
    labels: ArrayLike,
    fpirs: Sequence[float],
    *,
    minimum_impostors: int = MINIMUM_IMPOSTORS,
) -> list[Metric]:
    """Return TPIR at every FPIR as the FedFR authors' released code counts it; templates keep their length.

    The threshold is the ⌈FPIR·P⌉-th highest score over all probes × templates without each mated probe's own template;
    a mated probe is found if its own template scores strictly above it, whatever the other templates score. FPIR is
    here a share of all P probes, so that P·FPIR scores are expected above the threshold. Shapes as in
    :func:`open_set_identification`.

    >>> from fedfr.evaluation import released_identification
    >>> templates, probes = [[1, 0], [0, 1]], [[0.9, 0.1], [0.2, 0.8], [0.5, 0.6], [1, 0.9]]
    >>> released_identification(templates, probes, [0, 1, -1, -1], [0.5], minimum_impostors=1)
    [Metric(name='TPIR(released)@FPIR=5e-1', value=1, genuine=2, impostor=2, impostors_above=2, threshold=0.7433)]
    """
    rates = as_rates(fpirs, "fpirs")
    normalize(templates, "templates")  # checks them
    search = Search(
        as_features(templates, "templates").astype(np.float32),
        normalize(probes, "probes"),
        as_array(labels, "probe labels"),
    )
    genuine = int((search.labels != NON_MATED).sum())
    count, scores = len(search.probes), len(search.probes) * len(search.templates) - genuine
    measurements = []
    for fpir in rates:
        metric = f"TPIR(released)@FPIR={rate_label(fpir)}"
        measured = empty_metric(metric, fpir, genuine, count - genuine, minimum_impostors, of=count)
        measurements.append(measured)
    given = [index for index, measured in enumerate(measurements) if not measured.refused]
    ranks = [min(math.ceil(exact_product(rates[index], count)), scores) - 1 for index in given]
    for index, point in zip(given, operating_points(search.blocks, ranks), strict=True):
        measurements[index] = replace(measurements[index], value=point.accepted / genuine, threshold=point.threshold)
    return measurements


@dataclass(frozen=True)
class Search:
    """All probes (P, D) compared with all templates (K, D), in blocks of probes.

    ``labels`` (P,) are the gallery rows of the probes or ``NON_MATED``; ``norms`` the statistics of probes and of
    templates by which scores are normalized.
    """

    templates: NDArray[np.float32]
    probes: NDArray[np.float32]
    labels: Labels
    norms: tuple[CohortStatistics, CohortStatistics] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", as_labels(self.labels, len(self.probes), "probe labels"))
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

    def blocks(self) -> Iterator[ScoreBlock]:
        """Yield the scores of all probes; the genuine ones are those of mated probes with their own template."""
        for start in range(0, len(self.probes), self._step):
            scores = self.probes[start : start + self._step] @ self.templates.T
            if self.norms is not None:
                self.norms[0][start : start + self._step].apply(self.norms[1], scores)
            labels = self.labels[start : start + self._step]
            rows = np.flatnonzero(labels != NON_MATED)
            own = scores[rows, labels[rows]]
            yield ScoreBlock(scores, own, own)

    def best(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return per probe the score of its own template and the best of the others, -inf where there is none."""
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
        """Return the rank of each mated probe's own template, from 1, in order; ties count against it."""
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
