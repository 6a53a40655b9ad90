"""Record of a calibration: thresholds, promises, and all that decisions, drift and the page need of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.core.short_repr import Brief
from fedfr.recognition.calibration.genuine import GenuineRate
from fedfr.recognition.calibration.likelihood import Likelihood
from fedfr.recognition.calibration.provable_rates import Threshold
from fedfr.recognition.calibration.stranger_scores import StrangerScores
from fedfr.recognition.decision import StrangersPassing

__all__ = ["Attraction", "Calibration", "Normalization"]

Normalization: TypeAlias = Literal["none", "as-norm"]
FORMAT = 1
BINS = 60
MOST_ATTRACTING = 5


@dataclass(frozen=True)
class Attraction:
    """An enrolled person whom strangers resemble: share of strangers nearest to the person, and how many pass."""

    person: str
    nearest: float
    passing: int


@dataclass(frozen=True, repr=False)
class Calibration(Brief):
    """Calibration of one gallery in one embedding space; :func:`calibrate` makes it.

    ``identify`` is the threshold for the best score over all people. ``genuine`` and ``genuine_verify`` are the
    shares of own images that identification and verification do not accept as this person, ambiguous ones included;
    None where no own images were at hand. ``llr`` and ``llr_verify`` are the log-likelihood ratios of both,
    ``margin`` the distance to the second best person below which two people cannot be told apart. ``own`` (G,) are
    the genuine scores and ``own_rows`` (G,) whose they are, rows of ``persons``; ``scores`` are those of the
    strangers.
    """

    persons: tuple[str, ...]
    identify: Threshold
    confidence: float
    genuine: GenuineRate | None
    genuine_verify: GenuineRate | None
    llr: Likelihood | None
    llr_verify: Likelihood | None
    margin: float
    normalization: Normalization
    space: str
    created: str
    strangers: str
    """Hash of the strangers' features, and of the cohort's."""
    templates: tuple[str, ...]
    """Hash of every person's template."""
    scores: StrangerScores
    own: NDArray[np.float32]
    own_rows: NDArray[np.int64]

    @property
    def enrolled(self) -> int:
        """Number of enrolled people."""
        return len(self.persons)

    @property
    def fpir(self) -> float:
        """Promised rate: the largest share of strangers that may pass."""
        return self.identify.fpir

    @cached_property
    def id(self) -> str:
        """Short hash of the whole calibration."""
        text = json.dumps(self._content(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def verify(self) -> Mapping[str, Threshold]:
        """Threshold of every person for verification."""
        return {person: self.verification(person) for person in self.persons}

    def verification(self, person: str) -> Threshold:
        """Return the threshold of one person; raises :class:`FedfrError` for somebody who was not calibrated."""
        place = self._places.get(person)
        if place is None:
            raise FedfrError(f"person {person!r} is not among the {self.enrolled} of this calibration; calibrate again")
        passing = int(self.scores.passing[place])
        # All people share the rank of the threshold, and so the bound.
        return Threshold(
            float(self.scores.verify[place]),
            self.fpir,
            self.identify.strangers,
            passing,
            self.identify.upper95,
        )

    def strangers_passing(self, person: str | None = None) -> StrangersPassing:
        """Return how many strangers pass: in identification, or in the verification of ``person``."""
        found = self.identify if person is None else self.verification(person)
        enrolled = self.enrolled if person is None else 1
        return StrangersPassing(found.estimate, found.upper95, found.strangers, enrolled)

    def ambiguous(self, best: float, second: float | None) -> bool:
        """Whether an accepted face could be either of two people: both are above the threshold and hardly differ."""
        return second is not None and second > self.identify.value and best - second <= self.margin

    @property
    def attracting(self) -> tuple[Attraction, ...]:
        """The people whom most strangers pass as or resemble, at most five."""
        nearest = np.bincount(self.scores.rows[0], minlength=self.enrolled)
        passed = np.bincount(self.scores.rows[0][self.scores.best[0] > self.identify.value], minlength=self.enrolled)
        order = np.lexsort((-nearest, -passed))[:MOST_ATTRACTING]
        return tuple(
            Attraction(self.persons[row], float(nearest[row] / self.identify.strangers), int(passed[row]))
            for row in order.tolist()
            if nearest[row]
        )

    @property
    def histograms(self) -> dict[str, list[float] | list[int]]:
        """Counts of the strangers' best scores and of own scores in the same bins, for a figure.

        The threshold is at an edge, so that no bin has accepted and rejected scores.
        """
        both = np.concatenate([self.scores.best[0], self.own]).astype(np.float64)
        low, threshold = both.min(), self.identify.value
        width = float(np.ptp(both)) / (BINS - 2) or 1 / BINS
        edges = threshold + width * (np.arange(BINS + 1) - np.ceil((threshold - low) / width + 1e-6))
        return {
            "edges": [round(float(edge), 5) for edge in edges],
            "strangers": np.histogram(self.scores.best[0], edges)[0].tolist(),
            "own": np.histogram(self.own, edges)[0].tolist(),
        }

    def summary(self) -> dict[str, Any]:
        """Return JSON values for people and programs that need no score of a single stranger."""
        return {
            "id": self.id,
            "space": self.space,
            "created": self.created,
            "enrolled": self.enrolled,
            "fpir": self.fpir,
            "confidence": self.confidence,
            "normalization": self.normalization,
            "identify": self.identify.to_json(),
            "strangers_passing": self.strangers_passing().to_json(),
            "verify": {person: float(value) for person, value in zip(self.persons, self.scores.verify, strict=True)},
            "genuine": None if self.genuine is None else self.genuine.to_json(),
            "genuine_verify": None if self.genuine_verify is None else self.genuine_verify.to_json(),
            "llr": None if self.llr is None else self.llr.to_json(),
            "margin": self.margin,
            "attracting": [vars(one) for one in self.attracting],
            "histograms": self.histograms,
        }

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, from which :meth:`from_json` makes the same calibration."""
        return {**self._content(), "id": self.id}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Calibration:
        """Return the calibration that :meth:`to_json` gave; raises :class:`FedfrError` if it is damaged."""
        try:
            found = cls._read(content)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise FedfrError(f"the stored calibration is damaged ({error!r}); calibrate again") from error
        if found.id != content.get("id"):
            raise FedfrError("the stored calibration does not match its hash; calibrate again")
        return found

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {person: place for place, person in enumerate(self.persons)}

    def _content(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "persons": list(self.persons),
            "identify": self.identify.to_json(),
            "confidence": self.confidence,
            "genuine": None if self.genuine is None else self.genuine.to_json(),
            "genuine_verify": None if self.genuine_verify is None else self.genuine_verify.to_json(),
            "llr": None if self.llr is None else self.llr.to_json(),
            "llr_verify": None if self.llr_verify is None else self.llr_verify.to_json(),
            "margin": self.margin,
            "normalization": self.normalization,
            "space": self.space,
            "created": self.created,
            "strangers": self.strangers,
            "templates": list(self.templates),
            "verify": self.scores.verify.tolist(),
            "passing": self.scores.passing.tolist(),
            # A stranger has no second best score where one person is enrolled.
            "best": [[None if value == -np.inf else value for value in row] for row in self.scores.best.tolist()],
            "rows": self.scores.rows.tolist(),
            "own": self.own.tolist(),
            "own_rows": self.own_rows.tolist(),
        }

    @classmethod
    def _read(cls, content: Mapping[str, Any]) -> Calibration:
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, known is {FORMAT}")
        best = [[-np.inf if value is None else value for value in row] for row in content["best"]]
        scores = StrangerScores(
            np.array(best, np.float32),
            np.array(content["rows"], np.int64),
            np.array(content["verify"], np.float64),
            np.array(content["passing"], np.int64),
        )
        return cls(
            persons=tuple(content["persons"]),
            identify=Threshold.from_json(content["identify"]),
            confidence=float(content["confidence"]),
            genuine=_optional(GenuineRate.from_json, content["genuine"]),
            genuine_verify=_optional(GenuineRate.from_json, content["genuine_verify"]),
            llr=_optional(Likelihood.from_json, content["llr"]),
            llr_verify=_optional(Likelihood.from_json, content["llr_verify"]),
            margin=float(content["margin"]),
            normalization="as-norm" if content["normalization"] == "as-norm" else "none",
            space=str(content["space"]),
            created=str(content["created"]),
            strangers=str(content["strangers"]),
            templates=tuple(content["templates"]),
            scores=scores,
            own=np.array(content["own"], np.float32),
            own_rows=np.array(content["own_rows"], np.int64),
        )


def _optional(read: Any, content: Any) -> Any:
    return None if content is None else read(content)
