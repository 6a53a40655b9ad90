"""Calibration of a gallery: thresholds that keep a promised rate of strangers, and what they cost the enrolled people.

A threshold belongs to one gallery in one embedding space: the more people are enrolled, the more strangers resemble one
of them. So it is computed from the best scores of strangers in this very gallery, again after every change.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedfr.core.errors import FedfrError
from fedfr.evaluation.identification import Search
from fedfr.evaluation.score_normalization import CohortStatistics, cohort_statistics
from fedfr.evaluation.unit_features import normalize
from fedfr.recognition.calibration.calibration_record import Attraction, Calibration, Normalization
from fedfr.recognition.calibration.genuine import GenuineProbes, GenuineRate, genuine_rate
from fedfr.recognition.calibration.likelihood import Likelihood, fit_likelihood
from fedfr.recognition.calibration.provable_rates import CONFIDENCE, needed_rank, threshold_for
from fedfr.recognition.calibration.stranger_scores import Compared, StrangerScores, compare, template_digests, update

__all__ = ["Attraction", "Calibration", "Normalization", "calibrate"]

Floats = NDArray[np.float32]
# Own images are compared with all people to find those who are taken for another; so many comparisons are enough.
MOST_COMPARISONS, FEWEST_PROBES, MOST_PROBES = 20_000_000, 200, 2_000
# Share of strangers whose two most similar people differ by less than the margin.
MARGIN_SHARE = 0.95
SAME_IMAGE = 0.9999


def calibrate(
    templates: ArrayLike,
    persons: Sequence[str],
    strangers: ArrayLike,
    *,
    fpir: float,
    genuine: GenuineProbes | None = None,
    cohort: ArrayLike | None = None,
    space: str = "",
    confidence: float = CONFIDENCE,
    previous: Calibration | None = None,
    created: str | None = None,
) -> Calibration:
    """Return the calibration of a gallery of ``templates`` (K, D), one per id of ``persons``.

    ``strangers`` (S, D) hold one image per person, of people on whom nobody trained and who are not enrolled;
    ``genuine`` are own images that are in no template. With ``cohort`` (C, D), images of further people, scores are
    normalized (AS-norm). ``previous`` is an earlier calibration: what has not changed since is not computed again.
    Raises :class:`FedfrError` where nobody is enrolled, where too few strangers prove ``fpir``, and if one is there
    twice.

    >>> import numpy as np
    >>> from fedfr.recognition import calibrate
    >>> draw = np.random.default_rng(0).standard_normal
    >>> found = calibrate(draw((15, 64)), [f"person {row}" for row in range(15)], draw((500, 64)), fpir=0.01)
    >>> found.strangers_passing().text
    'at most 0.95 % of strangers pass (95 % confidence; 0.20 % of 500 strangers did, with 15 people enrolled)'
    """
    gallery = _gallery(normalize(templates, "templates"), tuple(persons))
    faces = normalize(strangers, "strangers' features")
    rank = needed_rank(len(faces), fpir, confidence)
    _check_dimension(faces, gallery.templates, "strangers")
    _check_different(faces)
    others = None if cohort is None else normalize(cohort, "cohort features")
    if others is not None:
        _check_dimension(others, gallery.templates, "a cohort")
    norms = None if others is None else _norms(gallery.templates, faces, others)
    given = Compared(gallery.templates, faces, norms)
    hashed = _digest(faces, others)
    usable = previous is not None and (previous.strangers, previous.fpir, previous.confidence) == (
        hashed,
        fpir,
        confidence,
    )
    scores = gallery.update(given, rank, previous) if previous is not None and usable else compare(given, rank)
    identify = threshold_for(scores.best[0], fpir, confidence)
    margin = _margin(scores)
    own = None if genuine is None else _own_scores(gallery, genuine, norms, others, scores, (identify.value, margin))
    pairs = np.arange(len(faces)) % len(gallery.persons)
    return Calibration(
        persons=gallery.persons,
        identify=identify,
        confidence=confidence,
        genuine=None if own is None else own.rate(own.missed),
        genuine_verify=None if own is None else own.rate(own.missed_verify),
        llr=None if own is None else own.likelihood(scores.best[0]),
        llr_verify=None if own is None else own.likelihood(_paired(given, pairs)),
        margin=margin,
        normalization="none" if others is None else "as-norm",
        space=space,
        created=created or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        strangers=hashed,
        templates=gallery.digests,
        scores=scores,
        own=np.empty(0, np.float32) if own is None else own.scores,
        own_rows=np.empty(0, np.int64) if own is None else own.rows,
    )


@dataclass(frozen=True)
class _Gallery:
    templates: Floats
    persons: tuple[str, ...]
    digests: tuple[str, ...]

    def update(self, given: Compared, rank: int, previous: Calibration) -> StrangerScores:
        """Compare only what has changed since ``previous``."""
        before = {pair: row for row, pair in enumerate(zip(previous.persons, previous.templates, strict=True))}
        places = [before.get(pair, -1) for pair in zip(self.persons, self.digests, strict=True)]
        return update(given, rank, previous.scores, np.array(places, np.int64))


@dataclass(frozen=True)
class _Own:
    scores: Floats
    rows: NDArray[np.int64]
    missed: NDArray[np.bool_]
    missed_verify: NDArray[np.bool_]
    probes: GenuineProbes

    def rate(self, missed: NDArray[np.bool_]) -> GenuineRate | None:
        return genuine_rate(missed, self.probes.people, self.probes.source)

    def likelihood(self, strangers: Floats) -> Likelihood | None:
        return fit_likelihood(self.scores, strangers, len(set(self.probes.people))) if len(self.scores) else None


def _gallery(templates: Floats, persons: tuple[str, ...]) -> _Gallery:
    if len(persons) != len(templates) or len(set(persons)) != len(persons):
        raise FedfrError(
            f"found {len(templates)} templates for {len(set(persons))} different of {len(persons)} persons; give one "
            "template per person"
        )
    if not persons:
        raise FedfrError("nobody is enrolled; enrol people, then calibrate")
    return _Gallery(templates, persons, tuple(template_digests(templates)))


def _norms(templates: Floats, strangers: Floats, cohort: Floats) -> tuple[CohortStatistics, CohortStatistics]:
    """Return the statistics of both sides; a stranger in the cohort would be normalized as no probe is."""
    for start in range(0, len(strangers), 4096):
        found = (strangers[start : start + 4096] @ cohort.T).max(axis=1, initial=-1) >= SAME_IMAGE
        if found.any():
            raise FedfrError(
                f"stranger {start + int(np.argmax(found))} is in the cohort as well; give a cohort of other people"
            )
    return cohort_statistics(templates, cohort), cohort_statistics(strangers, cohort)


def _check_dimension(features: Floats, templates: Floats, what: str) -> None:
    if features.shape[1] != templates.shape[1]:
        raise FedfrError(
            f"found {what} of {features.shape[1]} dimensions for templates of {templates.shape[1]}; both must come "
            "from the same model"
        )


def _check_different(strangers: Floats) -> None:
    """Raise :class:`FedfrError` if an image is there twice: it would count as two people."""
    seen: dict[bytes, int] = {}
    for row, feature in enumerate(strangers):
        before = seen.setdefault(feature.tobytes(), row)
        if before != row:
            raise FedfrError(f"strangers {before} and {row} are the same image; give one image of each person")


def _own_scores(
    gallery: _Gallery,
    genuine: GenuineProbes,
    norms: tuple[CohortStatistics, CohortStatistics] | None,
    cohort: Floats | None,
    strangers: StrangerScores,
    rule: tuple[float, float],
) -> _Own:
    """Compare own images with their own person's template and with all others'; ``rule``: threshold and margin."""
    _check_dimension(genuine.features, gallery.templates, "genuine probes")
    most = min(MOST_PROBES, max(FEWEST_PROBES, MOST_COMPARISONS // len(gallery.persons)))
    if len(genuine.people) > most:
        genuine = genuine.take(np.linspace(0, len(genuine.people) - 1, most).astype(np.int64))
    places = {person: row for row, person in enumerate(gallery.persons)}
    unknown = next((person for person in genuine.people if person not in places), None)
    if unknown is not None:
        raise FedfrError(f"genuine probes are of person {unknown!r}, who is not enrolled; give own images only")
    rows = np.array([places[person] for person in genuine.people], np.int64)
    statistics = None if cohort is None else cohort_statistics(genuine.features, cohort)
    both = None if norms is None or statistics is None else (statistics, norms[0])
    own, other = Search(gallery.templates, genuine.features, rows, both).best()
    if genuine.templates is not None:
        own = _left_out(genuine.features, genuine.templates, statistics, cohort)
    threshold, margin = rule
    ambiguous = (other > threshold) & (own - other <= margin)
    missed = (own <= threshold) | (own < other) | ambiguous
    return _Own(own, rows, missed, own <= strangers.verify[rows], genuine)


def _left_out(
    features: Floats, templates: Floats, statistics: CohortStatistics | None, cohort: Floats | None
) -> Floats:
    """Return the score of every image with the template that lacks it."""
    own: Floats = np.einsum("gd,gd->g", features, templates)
    if statistics is None or cohort is None:
        return own
    return _normalized(own, statistics, cohort_statistics(templates, cohort))


def _paired(given: Compared, rows: NDArray[np.int64]) -> Floats:
    """Return every stranger's score with one person, so that each counts once."""
    scores: Floats = np.einsum("sd,sd->s", given.strangers, given.templates[rows])
    return scores if given.norms is None else _normalized(scores, given.norms[1], given.norms[0][rows])


def _normalized(scores: Floats, one: CohortStatistics, other: CohortStatistics) -> Floats:
    found: Floats = np.float32(0.5) * ((scores - one.mean) * one.inverse + (scores - other.mean) * other.inverse)
    return found


def _margin(scores: StrangerScores) -> float:
    """Return the difference of a stranger's two most similar people that few strangers exceed; 0 for one person."""
    if not np.isfinite(scores.best[1]).all():
        return 0.0
    return round(float(np.quantile(scores.best[0] - scores.best[1], MARGIN_SHARE)), 5)


def _digest(strangers: Floats, cohort: Floats | None) -> str:
    found = hashlib.sha256(strangers.tobytes())
    if cohort is not None:
        found.update(b"cohort")
        found.update(cohort.tobytes())
    return found.hexdigest()[:16]
