"""Decision about one face, with the promise that it rests on and the reasons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from fedfr.core.errors import FedfrError

__all__ = [
    "ACCEPT",
    "NO_DECISION",
    "REASONS",
    "REJECT",
    "Decision",
    "Outcome",
    "Reason",
    "StrangersPassing",
    "reasons_to_json",
]

Outcome: TypeAlias = Literal["accept", "reject", "no-decision"]
ACCEPT: Outcome = "accept"
REJECT: Outcome = "reject"
NO_DECISION: Outcome = "no-decision"


@dataclass(frozen=True)
class Reason:
    """Meaning of a reason code, and what to do about it."""

    text: str
    advice: str


REASONS: Mapping[str, Reason] = {
    "unreadable": Reason("the file is not an image of a supported format, or damaged", "send a JPEG, PNG or WebP"),
    "too-large": Reason("the image has too many pixels or bytes", "send a smaller image"),
    "no-face": Reason("no face was found", "face the camera, with light from the front"),
    "low-score": Reason("the detector is not sure that this is a face", "uncover the face, with light from the front"),
    "several-faces": Reason("another face is at least a quarter as large", "let one person stand before the camera"),
    "too-small": Reason("the face has too few pixels", "come closer, or take a larger image"),
    "too-blurred": Reason("the face is not sharp enough", "hold still, clean the lens, add light"),
    "pose": Reason("the face is turned away", "look straight into the camera"),
    "rotated": Reason("the face is tilted, on its side or upside down", "turn the camera or the image upright"),
    "too-dark": Reason("the face is too dark", "add light from the front"),
    "too-bright": Reason("the face is too bright or washed out", "avoid direct sun and lamps behind the camera"),
    "low-contrast": Reason("the face has hardly any contrast", "add light from the front, clean the lens"),
    "at-border": Reason("the face is cut off by the border of the image", "move into the middle of the image"),
    "outlier": Reason("the face does not resemble the person's other images", "check that it shows the same person"),
    "duplicate-image": Reason("this image is enrolled already", "take another one"),
    "similar-person": Reason("the face resembles an enrolled person", "check for twins or a second enrolment"),
    "below-threshold": Reason("no enrolled person is similar enough", "try again with better light and pose"),
    "ambiguous": Reason("two enrolled persons are equally similar", "check for twins or a second enrolment"),
    "nobody-enrolled": Reason("nobody is enrolled", "enrol people first"),
    "not-calibrated": Reason("there is no threshold for this gallery yet", "calibrate the gallery with strangers"),
    "settings-changed": Reason(
        "the settings were changed by hand and are not in force", "calibrate the gallery and confirm them"
    ),
    "space-changed": Reason("the templates are of another model", "rebuild the gallery"),
    "needs-photo": Reason("the person has no template of this model", "enrol the person again with a new photo"),
    "liveness": Reason("the liveness check refused the face", "show a living face"),
    "locked-out": Reason("too many attempts were rejected", "wait, and try again"),
}
"""Every reason code."""


def reasons_to_json(codes: Iterable[str]) -> list[dict[str, str]]:
    """Return reason codes as JSON values, each with its explanation and advice."""
    return [{"code": code, "text": REASONS[code].text, "advice": REASONS[code].advice} for code in codes]


@dataclass(frozen=True)
class StrangersPassing:
    """Share of strangers whom the threshold lets pass, and its proof.

    ``estimate`` and ``upper95`` are shares (0 … 1): of the ``strangers`` people with whom the gallery was calibrated,
    and the upper 95 % confidence bound. ``enrolled`` is the number of people they were compared with; it is 1 for a
    verification. ``images`` is the number of images on which a decision rests at most: 1, or those of a visit before a
    camera, for which the bound is then.

    >>> from fedfr.recognition import StrangersPassing
    >>> StrangersPassing(0.004, 0.0098, 1000, 15).text
    'at most 0.98 % of strangers pass (95 % confidence; 0.40 % of 1000 strangers did, with 15 people enrolled)'
    """

    estimate: float
    upper95: float
    strangers: int
    enrolled: int
    images: int = 1

    def in_visit(self, votes: int) -> StrangersPassing:
        """Return the bound for decisions that need ``votes`` of ``2 * votes - 1`` images to agree.

        If a share *r* of images passes, ``votes`` of them pass in at most *r* (2 ``votes`` - 1) / ``votes`` of visits,
        whatever the images of a visit have in common (Markov's inequality).
        """
        images = 2 * votes - 1
        return replace(self, upper95=min(1.0, self.upper95 * images / votes), images=images)

    @property
    def text(self) -> str:
        """One sentence for people."""
        people = "person" if self.enrolled == 1 else "people"
        visit, image = ("", "") if self.images == 1 else (" in a visit", " with one image")
        return (
            f"at most {_percent(self.upper95)} of strangers pass{visit} (95 % confidence; {_percent(self.estimate)} of "
            f"{self.strangers} strangers did{image}, with {self.enrolled} {people} enrolled)"
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "estimate": self.estimate,
            "upper95": self.upper95,
            "strangers": self.strangers,
            "enrolled": self.enrolled,
            "images": self.images,
            "text": self.text,
        }


@dataclass(frozen=True)
class Decision:
    """Outcome for one face: accept, reject, or no decision.

    ``person`` and ``person_id`` are set only if the face is accepted: a rejected face's nearest name is not revealed.
    ``score`` and ``threshold`` are cosines, or normalized scores; ``margin`` is the distance to the second best person.
    ``llr`` is the natural logarithm of the likelihood ratio, genuine against stranger. Values that do not exist are
    None. ``reasons`` are keys of :data:`REASONS`. ``box`` is (x, y, width, height) in pixels of the image. ``space``
    and ``calibration`` name the embedding space and the calibration that were used.

    >>> from fedfr.recognition import Decision
    >>> decision = Decision("reject", score=0.21, threshold=0.38, reasons=("below-threshold",))
    >>> decision.accepted, decision.exit_code
    (False, 1)
    """

    outcome: Outcome
    person: str | None = None
    person_id: str | None = None
    score: float | None = None
    threshold: float | None = None
    strangers_passing: StrangersPassing | None = None
    llr: float | None = None
    margin: float | None = None
    reasons: tuple[str, ...] = ()
    box: tuple[float, float, float, float] | None = None
    space: str = ""
    calibration: str = ""

    def __post_init__(self) -> None:
        if self.outcome != ACCEPT and (self.person is not None or self.person_id is not None):
            raise FedfrError(f"a decision {self.outcome!r} names a person; only an accepted face has a name")
        unknown = [reason for reason in self.reasons if reason not in REASONS]
        if unknown:
            raise FedfrError(f"a decision has the reason {unknown[0]!r}; allowed are {', '.join(REASONS)}")

    @property
    def accepted(self) -> bool:
        """Whether the face is that of an enrolled person."""
        return self.outcome == ACCEPT

    @property
    def exit_code(self) -> int:
        """Exit code of a command: 0 for an accepted face, 1 otherwise."""
        return 0 if self.accepted else 1

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, with the explanation of every reason."""
        return {
            "decision": self.outcome,
            "person": self.person,
            "person_id": self.person_id,
            "score": self.score,
            "threshold": self.threshold,
            "strangers_passing": None if self.strangers_passing is None else self.strangers_passing.to_json(),
            "llr": self.llr,
            "margin": self.margin,
            "reasons": reasons_to_json(self.reasons),
            "box": None if self.box is None else list(self.box),
            "space": self.space,
            "calibration": self.calibration,
        }


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
