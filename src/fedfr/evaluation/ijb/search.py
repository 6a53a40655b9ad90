"""1:N of IJB: both galleries made one, as published figures have it, or each by itself, as the protocol asks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.evaluation.identification import NON_MATED, Search, open_set_identification
from fedfr.evaluation.metrics import MINIMUM_IMPOSTORS, Figure, expected, rate_label, refusable
from fedfr.evaluation.scores import operating_points
from fedfr.evaluation.unit_features import normalize
from fedfr.faces.readers.ijb import Searches, SearchList

__all__ = ["RANKS", "gallery_by_gallery", "merged_galleries"]

RANKS = (1, 5, 10)

Floats = NDArray[np.float64]


def gallery_by_gallery(
    templates: Floats, searches: Searches, fpirs: Sequence[float], *, minimum_impostors: int = MINIMUM_IMPOSTORS
) -> list[Figure]:
    """Open set: all probes against each gallery, where subjects enrolled in another are the non-mated; then the means.

    TPIR at FPIR as :func:`open_set_identification` defines it and rank-1, -5, -10 of the mated probes, of ``templates``
    (T, D). Figures named by a gallery are its own, those without a name the mean over galleries.
    """
    own = []
    for gallery in searches.galleries:
        rows = _rows(searches.probes, gallery)
        enrolled, probes = templates[gallery.templates], templates[searches.probes.templates]
        figures = open_set_identification(enrolled, probes, rows, fpirs, minimum_impostors=minimum_impostors)
        own.append([*figures[:-1], *_ranks(Search(normalize(enrolled), normalize(probes), rows))])
    means = [_mean(figures, searches.galleries) for figures in zip(*own, strict=True)]
    named = [
        replace(figure, metric=_labelled(figure.metric, gallery.name))
        for gallery, figures in zip(searches.galleries, own, strict=True)
        for figure in figures
    ]
    return [*means, *named]


def merged_galleries(
    templates: Floats, searches: Searches, fpirs: Sequence[float], *, minimum_impostors: int = MINIMUM_IMPOSTORS
) -> list[Figure]:
    """What InsightFace's ijb_1n.py computes and papers quote: one gallery of both, in which every probe is enrolled.

    No search is non-mated, so this is no open set, and its "FPIR" is none: the threshold is the ⌈FPIR·Q⌉-th highest of
    all scores of Q probes with templates of others, and TPIR counts the probes whose own template scores strictly
    above it, whatever the others score. Raises :class:`FedfrError` for a probe that is not enrolled.
    """
    gallery = SearchList(
        "merged",
        np.concatenate([each.templates for each in searches.galleries]),
        np.concatenate([each.subjects for each in searches.galleries]),
    )
    rows = _rows(searches.probes, gallery)
    if (rows == NON_MATED).any():
        subject = searches.probes.subjects[int(np.argmin(rows))]
        raise FedfrError(f"subject {subject} is a probe and in no gallery; the merged computation needs all enrolled")
    enrolled, probes = templates[gallery.templates], templates[searches.probes.templates]
    search = Search(normalize(enrolled), normalize(probes), rows)
    count, scores = len(rows), len(rows) * (len(gallery) - 1)
    figures = []
    for fpir in fpirs:
        figure = refusable(f"TPIR@FPIR={rate_label(fpir)}", fpir, count, scores, minimum_impostors, of=count)
        # The figure counts probes: there is no non-mated one.
        figures.append(replace(figure, impostor=0))
    given = [index for index, figure in enumerate(figures) if not figure.refused]
    ranks = [min(math.ceil(expected(fpirs[index], count)), scores) - 1 for index in given]
    for index, point in zip(given, operating_points(search.blocks, ranks), strict=True):
        figures[index] = replace(figures[index], value=point.accepted / count, threshold=point.threshold)
    return [replace(each, metric=_labelled(each.metric, gallery.name)) for each in [*figures, *_ranks(search)]]


def _rows(probes: SearchList, gallery: SearchList) -> NDArray[np.int64]:
    """For every probe the row of its subject in the gallery, or ``NON_MATED``."""
    row_of = {subject: row for row, subject in enumerate(gallery.subjects.tolist())}
    return np.array([row_of.get(subject, NON_MATED) for subject in probes.subjects.tolist()], np.int64)


def _ranks(search: Search) -> list[Figure]:
    ranks = search.ranks()
    figures = []
    for rank in RANKS:
        figure = Figure(f"rank-{rank}", None, len(ranks), 0, 0.0)
        if len(ranks) == 0:
            figure = replace(figure, refused="no mated probes")
        elif len(search.templates) <= rank:
            figure = replace(figure, refused=f"only {len(search.templates)} identities are enrolled")
        else:
            figure = replace(figure, value=float((ranks <= rank).mean()))
        figures.append(figure)
    return figures


def _mean(figures: Sequence[Figure], galleries: Sequence[SearchList]) -> Figure:
    """The mean of one figure over galleries; refused where it is refused for any."""
    metric = figures[0].metric
    genuine, impostor = sum(each.genuine for each in figures), sum(each.impostor for each in figures)
    behind = min(each.behind for each in figures)
    pairs = zip(galleries, figures, strict=True)
    refused = [f"gallery {gallery.name}: {each.refused}" for gallery, each in pairs if each.refused]
    values = [each.value for each in figures if each.value is not None]
    value = None if refused else sum(values) / len(values)
    return Figure(metric, value, genuine, impostor, behind, "; ".join(refused))


def _labelled(metric: str, label: str) -> str:
    name, at, rate = metric.partition("@")
    return f"{name}({label}){at}{rate}"
