"""Genuine scores of enrolled people, and the share of own images that are rejected, with its interval.

The share is the FNIR of ISO/IEC 19795-1 in identification and the FNMR in verification.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from fedfr.core.errors import FedfrError
from fedfr.evaluation.unit_features import normalize
from fedfr.recognition.calibration.provable_rates import exact_interval

__all__ = ["HELD_OUT", "LEAVE_ONE_OUT", "GenuineProbes", "GenuineRate", "Source", "genuine_rate", "leave_one_out"]

Source: TypeAlias = Literal["held-out", "leave-one-out"]
HELD_OUT: Source = "held-out"
LEAVE_ONE_OUT: Source = "leave-one-out"
# Below this number of people with a rejected image the agreement of a person's images cannot be estimated.
FEWEST_WITH_MISSES = 5


@dataclass(frozen=True)
class GenuineProbes:
    """Images of enrolled people that are in no template they are compared with.

    ``features`` (G, D) belong to ``people``, one id per row. From held-out images (``templates`` is None) they are
    compared with the gallery's templates; in leave-one-out ``templates`` (G, D) are those of the same person without
    the image. Nobody may have trained on them.
    """

    features: NDArray[np.float32]
    people: tuple[str, ...]
    source: Source = HELD_OUT
    templates: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", normalize(self.features, "genuine probes"))
        if len(self.people) != len(self.features):
            raise FedfrError(f"found {len(self.people)} people for {len(self.features)} genuine probes; give one each")
        if self.templates is not None:
            object.__setattr__(self, "templates", normalize(self.templates, "left-out templates"))
            if self.templates.shape != self.features.shape:
                raise FedfrError(
                    f"found left-out templates {self.templates.shape} for genuine probes {self.features.shape}; "
                    "give one template per probe"
                )

    def take(self, rows: NDArray[np.int64]) -> GenuineProbes:
        """Return some of the probes."""
        templates = None if self.templates is None else self.templates[rows]
        return GenuineProbes(self.features[rows], tuple(self.people[row] for row in rows), self.source, templates)


def leave_one_out(features: ArrayLike, people: Sequence[str]) -> GenuineProbes | None:
    """Return each image of ``features`` (N, D) as a probe for the template of the person's other images.

    Templates are means of unit features, as in a gallery. People with one image are left out; None if all have one.
    Templates of one image less are slightly worse, which raises the rate of rejected images; that photos which were
    refused at enrolment are not among them lowers it.
    """
    units = normalize(features, "photo features")
    rows: list[int] = []
    templates: list[NDArray[np.float64]] = []
    order = np.array(people)
    if len(order) != len(units):
        raise FedfrError(f"found {len(order)} people for {len(units)} photo features; give one each")
    for person in dict.fromkeys(people):
        own = np.flatnonzero(order == person)
        if len(own) < 2:
            continue
        total = units[own].sum(axis=0, dtype=np.float64)
        rows += own.tolist()
        templates += [total - units[row] for row in own]
    if not rows:
        return None
    chosen = tuple(people[row] for row in rows)
    return GenuineProbes(units[rows], chosen, LEAVE_ONE_OUT, np.stack(templates).astype(np.float32))


@dataclass(frozen=True)
class GenuineRate:
    """Share of own images that are rejected, the mean over people, with its 95 % interval over people.

    FNIR in identification, where an image is also rejected if another person is as similar; FNMR in verification.
    """

    rate: float
    low: float
    high: float
    images: int
    people: int
    source: Source

    @property
    def text(self) -> str:
        """One sentence for people."""
        people = "person" if self.people == 1 else "people"
        return (
            f"{100 * self.rate:.1f} % of own images are rejected ({100 * self.low:.1f} to {100 * self.high:.1f} % with "
            f"95 % confidence; {self.images} {self.source} images of {self.people} {people})"
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "text": self.text}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> GenuineRate:
        """Return the rate that :meth:`to_json` gave."""
        return cls(
            float(content["rate"]),
            float(content["low"]),
            float(content["high"]),
            int(content["images"]),
            int(content["people"]),
            LEAVE_ONE_OUT if content["source"] == LEAVE_ONE_OUT else HELD_OUT,
        )


def genuine_rate(missed: ArrayLike, people: Sequence[str], source: Source = HELD_OUT) -> GenuineRate | None:
    """Return the rate of rejected own images, None without any.

    ``missed`` (G,) says of each image whether it is rejected. Images of one person agree with each other, so the
    interval is the exact one for an effective number of images (Korn and Graubard 1998): that for which the binomial
    variance is the variance observed between people, at least the number of people and at most that of images. With
    fewer than five people with a rejected image it is the number of people.

    >>> from fedfr.recognition.calibration.genuine import genuine_rate
    >>> genuine_rate([False] * 10, ["a", "b", "c", "d", "e"] * 2).text
    '0.0 % of own images are rejected (0.0 to 52.2 % with 95 % confidence; 10 held-out images of 5 people)'
    """
    misses = np.asarray(missed, dtype=np.float64)
    if len(misses) != len(people):
        raise FedfrError(f"found {len(people)} people for {len(misses)} genuine probes; give one each")
    if len(misses) == 0:
        return None
    _, index = np.unique(np.array(people), return_inverse=True)
    images = np.bincount(index)
    shares = np.bincount(index, misses) / images
    count, rate = len(shares), float(shares.mean())
    effective = float(count)
    if (shares > 0).sum() >= FEWEST_WITH_MISSES:
        variance = shares.var(ddof=1) / count
        if variance > 0:
            degrees = float((stdtrit(len(misses) - 1, 0.975) / stdtrit(count - 1, 0.975)) ** 2)
            effective = min(max(rate * (1 - rate) / variance * degrees, count), len(misses))
    low, high = exact_interval(rate * effective, effective)
    return GenuineRate(rate, low, high, len(misses), count, source)
