"""IJB 1:N identification: each gallery by itself, as the protocol defines it, or merged, as papers report it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.evaluation.identification import NON_MATED, Search, open_set_identification
from fedfr.evaluation.metrics import MINIMUM_IMPOSTORS, Metric, empty_metric, exact_product, rate_label
from fedfr.evaluation.scores import operating_points
from fedfr.evaluation.unit_features import normalize
from fedfr.faces.readers.ijb import Searches, SearchList

__all__ = ["RANKS", "gallery_by_gallery", "merged_galleries"]

RANKS = (1, 5, 10)

Floats = NDArray[np.float64]


def gallery_by_gallery(
    templates: Floats, searches: Searches, fpirs: Sequence[float], *, minimum_impostors: int = MINIMUM_IMPOSTORS
) -> list[Metric]:
    """Search all probes in each gallery, open set: return the means over galleries, then each gallery's metrics.

    Probes whose subject is enrolled in another gallery are non-mated. TPIR at FPIR is as in
    :func:`open_set_identification`; rank-1, -5 and -10 are of the mated probes. ``templates`` (T, D). Metrics of a
    single gallery carry its name.
    """
    own = []
    for gallery in searches.galleries:
        rows = _rows(searches.probes, gallery)
        enrolled, probes = templates[gallery.templates], templates[searches.probes.templates]
        measurements = open_set_identification(enrolled, probes, rows, fpirs, minimum_impostors=minimum_impostors)
        own.append([*measurements[:-1], *_ranks(Search(normalize(enrolled), normalize(probes), rows))])
    means = [_mean(measurements, searches.galleries) for measurements in zip(*own, strict=True)]
    named = [
        replace(measured, name=_labelled(measured.name, gallery.name))
        for gallery, measurements in zip(searches.galleries, own, strict=True)
        for measured in measurements
    ]
    return [*means, *named]


def merged_galleries(
    templates: Floats, searches: Searches, fpirs: Sequence[float], *, minimum_impostors: int = MINIMUM_IMPOSTORS
) -> list[Metric]:
    """Search all probes in one gallery merged from both, as InsightFace's ijb_1n.py does and papers report.

    Every probe is enrolled, so this is not an open set, and "FPIR" is not a rate of non-mated searches: the threshold
    is the ⌈FPIR·Q⌉-th highest of all scores of Q probes with templates of other subjects, and TPIR is the share of
    probes whose own template scores strictly above it, whatever the others score. Raises :class:`FedfrError` for a
    probe that is not enrolled.
    """
    gallery = SearchList(
        "merged",
        np.concatenate([each.templates for each in searches.galleries]),
        np.concatenate([each.subjects for each in searches.galleries]),
    )
    rows = _rows(searches.probes, gallery)
    if (rows == NON_MATED).any():
        subject = searches.probes.subjects[int(np.argmin(rows))]
        raise FedfrError(
            f"subject {subject} is a probe but in no gallery; the merged search needs every probe enrolled"
        )
    enrolled, probes = templates[gallery.templates], templates[searches.probes.templates]
    search = Search(normalize(enrolled), normalize(probes), rows)
    count, scores = len(rows), len(rows) * (len(gallery) - 1)
    measurements = []
    for fpir in fpirs:
        measured = empty_metric(f"TPIR@FPIR={rate_label(fpir)}", fpir, count, scores, minimum_impostors, of=count)
        # Counts of a 1:N metric are probes, and none is non-mated.
        measurements.append(replace(measured, impostor=0))
    given = [index for index, measured in enumerate(measurements) if not measured.refused]
    ranks = [min(math.ceil(exact_product(fpirs[index], count)), scores) - 1 for index in given]
    for index, point in zip(given, operating_points(search.blocks, ranks), strict=True):
        measurements[index] = replace(measurements[index], value=point.accepted / count, threshold=point.threshold)
    return [replace(each, name=_labelled(each.name, gallery.name)) for each in [*measurements, *_ranks(search)]]


def _rows(probes: SearchList, gallery: SearchList) -> NDArray[np.int64]:
    """Return for every probe the row of its subject in the gallery, or ``NON_MATED``."""
    row_of = {subject: row for row, subject in enumerate(gallery.subjects.tolist())}
    return np.array([row_of.get(subject, NON_MATED) for subject in probes.subjects.tolist()], np.int64)


def _ranks(search: Search) -> list[Metric]:
    ranks = search.ranks()
    measurements = []
    for rank in RANKS:
        measured = Metric(f"rank-{rank}", None, len(ranks), 0, 0.0)
        if len(ranks) == 0:
            measured = replace(measured, refused="no mated probes")
        elif len(search.templates) <= rank:
            measured = replace(measured, refused=f"only {len(search.templates)} identities are enrolled")
        else:
            measured = replace(measured, value=float((ranks <= rank).mean()))
        measurements.append(measured)
    return measurements


def _mean(measurements: Sequence[Metric], galleries: Sequence[SearchList]) -> Metric:
    """Return the mean of one metric over galleries; refused if it is refused for any of them."""
    metric = measurements[0].name
    genuine, impostor = sum(each.genuine for each in measurements), sum(each.impostor for each in measurements)
    above = min(each.impostors_above for each in measurements)
    pairs = zip(galleries, measurements, strict=True)
    refused = [f"gallery {gallery.name}: {each.refused}" for gallery, each in pairs if each.refused]
    values = [each.value for each in measurements if each.value is not None]
    value = None if refused else sum(values) / len(values)
    return Metric(metric, value, genuine, impostor, above, "; ".join(refused))


def _labelled(metric: str, label: str) -> str:
    name, at, rate = metric.partition("@")
    return f"{name}({label}){at}{rate}"
