"""The rule by which a face is accepted, rejected or not decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedfr.recognition.calibration.calibration_record import Calibration
from fedfr.recognition.decision import ACCEPT, NO_DECISION, REJECT, Decision
from fedfr.recognition.matcher import Matcher

__all__ = ["Enrolled", "concealed", "identify", "undecided", "verify"]

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Enrolled:
    """Everything about the enrolled people that a decision needs, of one generation of the gallery.

    ``ids`` are the persons of the matcher's rows, ``name_of`` returns the name of a person. ``problem`` is the reason
    code why nothing can be decided at present, empty otherwise; only then there is a calibration.
    """

    space: str
    ids: tuple[str, ...]
    name_of: Callable[[str], str]
    matcher: Matcher
    calibration: Calibration | None
    problem: str = ""

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """Row of every person with a template."""
        return {person: row for row, person in enumerate(self.ids)}


def undecided(enrolled: Enrolled, reasons: tuple[str, ...], box: Box | None = None) -> Decision:
    """Return that nothing can be decided, for these reasons."""
    return Decision(NO_DECISION, reasons=reasons, box=box, space=enrolled.space)


def identify(enrolled: Enrolled, feature: NDArray[np.float32], box: Box | None = None) -> Decision:
    """Decide whose face a unit feature (D,) is.

    The most similar person is accepted if the score is above the threshold of the gallery. If the second person is
    above it, too, and the scores differ by no more than the calibration's margin, nothing is decided (``ambiguous``).
    A rejected face's most similar person is not named.
    """
    calibration = enrolled.calibration
    if enrolled.problem or calibration is None:
        return undecided(enrolled, (enrolled.problem or "not-calibrated",), box)
    (match,) = enrolled.matcher.search(feature[None])
    common = Decision(
        REJECT,
        score=match.score,
        threshold=calibration.identify.value,
        strangers_passing=calibration.strangers_passing(),
        llr=None if calibration.llr is None else calibration.llr(match.score),
        margin=match.margin,
        box=box,
        space=enrolled.space,
        calibration=calibration.id,
    )
    return _decided(common, enrolled, enrolled.ids[match.row], calibration.ambiguous(match.score, match.second_score))


def verify(enrolled: Enrolled, person: str, feature: NDArray[np.float32], box: Box | None = None) -> Decision:
    """Decide whether a unit feature (D,) is the face of the person with this id, by the person's own threshold."""
    calibration, row = enrolled.calibration, enrolled.rows.get(person)
    if enrolled.problem or calibration is None:
        return undecided(enrolled, (enrolled.problem or "not-calibrated",), box)
    if row is None:
        return undecided(enrolled, ("needs-photo",), box)
    score = enrolled.matcher.score(row, feature)
    common = Decision(
        REJECT,
        score=score,
        threshold=calibration.verification(person).value,
        strangers_passing=calibration.strangers_passing(person),
        llr=None if calibration.llr_verify is None else calibration.llr_verify(score),
        box=box,
        space=enrolled.space,
        calibration=calibration.id,
    )
    return _decided(common, enrolled, person, ambiguous=False)


def concealed(enrolled: Enrolled, person: str | None, feature: NDArray[np.float32], box: Box | None = None) -> Decision:
    """Decide as :func:`verify` does, without saying whether the person is enrolled unless the face is accepted.

    A rejected face has no numbers, and the face is rejected if nobody has this id, or the person needs a photo. The
    same is computed then.
    """
    if enrolled.problem or enrolled.calibration is None:
        return undecided(enrolled, (enrolled.problem or "not-calibrated",), box)
    known = person if person in enrolled.rows else None
    decision = verify(enrolled, known or enrolled.ids[0], feature, box)
    if decision.accepted and known is not None:
        return decision
    return Decision(
        REJECT, reasons=("below-threshold",), box=box, space=enrolled.space, calibration=enrolled.calibration.id
    )


def _decided(common: Decision, enrolled: Enrolled, person: str, ambiguous: bool) -> Decision:
    assert common.score is not None
    assert common.threshold is not None
    if common.score <= common.threshold:
        return replace(common, reasons=("below-threshold",))
    if ambiguous:
        return replace(common, outcome=NO_DECISION, reasons=("ambiguous",))
    return replace(common, outcome=ACCEPT, person=enrolled.name_of(person), person_id=person)
