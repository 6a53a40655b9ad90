"""Decisions from several frames of a camera: faces are followed, and a decision needs frames that agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fedfr.core.errors import FedfrError
from fedfr.recognition.decision import ACCEPT, NO_DECISION, REJECT, Decision

__all__ = ["Seen", "Voting", "trimmed_mean"]

Box = tuple[float, float, float, float]

_OVERLAP = 0.3
"""Smallest intersection over union of a face's boxes in two frames that count as one visit."""
_WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
"""Box of a face that is the whole image."""
_TRIMMED = 0.2
"""Share of the scores that is left out at either end."""


def trimmed_mean(scores: Sequence[float]) -> float:
    """Return the mean of ``scores`` without the lowest and the highest fifth.

    >>> from fedfr.recognition.camera.voting import trimmed_mean
    >>> round(trimmed_mean([0.1, 0.5, 0.5, 0.6, 1.0]), 3)
    0.533
    """
    ordered, cut = np.sort(np.asarray(scores, np.float64)), int(_TRIMMED * len(scores))
    return float(ordered[cut : len(ordered) - cut].mean())


@dataclass(frozen=True)
class Seen:
    """A face in one frame, and what is decided about its visit.

    ``outcome`` is the decision that stands, None before there is one; ``new`` says whether this frame brought it.
    ``counted`` are the frames of the vote so far, ending with this one; empty if this frame does not count.
    """

    outcome: Decision | None
    new: bool = False
    counted: tuple[Decision, ...] = ()


@dataclass
class _Visit:
    """One face in consecutive frames; ``judged`` is the time of the last frame that counted, or of the first."""

    box: Box
    seen: float
    judged: float
    frames: list[Decision] = field(default_factory=list)
    outcome: Decision | None = None
    final: bool = False


class Voting:
    """Votes over the frames of a camera: each visit of a face has one decision.

    A face is followed from frame to frame by the overlap of its boxes; an aligned crop has no box, and counts as one at
    the same place. Of its first ``2 * votes - 1`` judged frames, ``votes`` must agree: it is accepted once they
    accepted the same person, none accepted another, and the trimmed mean of all scores is above the threshold, and
    rejected once it cannot be accepted any more; ``ambiguous`` if they accepted different people. A rejection stands
    until the face is out of view for ``window`` seconds, so that a stranger who stays is not tried again and again.
    An acceptance stands until a vote of the frames after the last one that confirmed it decides otherwise: another
    person has come to the same place. Frames without a decision do not count; if there are no others
    for ``window`` seconds, that is the outcome, with the reasons of the last, until there are others.

    Whatever the frames of a visit have in common, no more than (2 * votes - 1) / votes times as many strangers pass in
    a visit as with one image; ``strangers_passing`` of an outcome says so.

    >>> from fedfr.recognition import Decision
    >>> from fedfr.recognition.camera.voting import Voting
    >>> voting, box = Voting(votes=2), (10.0, 10.0, 50.0, 50.0)
    >>> frame = Decision("accept", person="ada", person_id="01", score=0.7, threshold=0.4, box=box)
    >>> voting.add(0.0, [frame]), voting.add(0.1, [frame])[0].person, voting.add(0.2, [frame])
    ([], 'ada', [])
    """

    def __init__(self, votes: int = 3, window: float = 2.0) -> None:
        if votes < 1:
            raise FedfrError(f"the number of votes is {votes}; give 1 or more")
        if not 0 < window < float("inf"):
            raise FedfrError(f"the window is {window} seconds; give a number above 0")
        self.votes, self.window = votes, window
        self._visits: list[_Visit] = []

    def add(self, moment: float, decisions: Sequence[Decision]) -> list[Decision]:
        """Add the decisions about all faces of one frame, taken at ``moment`` in seconds; return new outcomes."""
        return [seen.outcome for seen in self.follow(moment, decisions) if seen.new and seen.outcome is not None]

    def follow(self, moment: float, decisions: Sequence[Decision]) -> list[Seen]:
        """Add decisions as :meth:`add` does; return what is decided about the visit of each face."""
        self._visits = [visit for visit in self._visits if 0 <= moment - visit.seen <= self.window]
        free = list(self._visits)
        found = []
        for decision in decisions:
            box = decision.box or (_WHOLE if decision.score is not None else None)
            if box is not None:
                found.append(self._count(self._visit(free, box, moment), decision))
        return found

    def _visit(self, free: list[_Visit], box: Box, moment: float) -> _Visit:
        """Return the visit that the box continues, which is no longer free, or a new one."""
        best = max(free, key=lambda visit: _overlap(visit.box, box), default=None)
        if best is None or _overlap(best.box, box) < _OVERLAP:
            best = _Visit(box, moment, moment)
            self._visits.append(best)
        else:
            free.remove(best)
        best.box, best.seen = box, moment
        return best

    def _count(self, visit: _Visit, decision: Decision) -> Seen:
        """Add a frame to its visit."""
        if decision.outcome == NO_DECISION or decision.score is None:
            new = visit.outcome is None and visit.seen - visit.judged >= self.window
            visit.outcome = decision if new else visit.outcome
            return Seen(visit.outcome, new)
        visit.judged = visit.seen
        last = visit.frames[-1] if visit.frames else visit.outcome
        if last is not None and last.calibration not in {"", decision.calibration}:
            visit.frames, visit.outcome, visit.final = [], None, False  # people or thresholds have changed
        if visit.final and visit.outcome is not None:
            if visit.outcome.outcome != ACCEPT:
                return Seen(visit.outcome)
            if decision.person_id == visit.outcome.person_id:
                visit.frames = []
                return Seen(visit.outcome)
        visit.frames.append(decision)
        counted, outcome = tuple(visit.frames), self._outcome(visit.frames)
        if outcome is None:
            return Seen(visit.outcome, False, counted)
        passing = outcome.strangers_passing
        visit.outcome = replace(outcome, strangers_passing=None if passing is None else passing.in_visit(self.votes))
        visit.frames, visit.final = [], True
        return Seen(visit.outcome, True, counted)

    def _outcome(self, frames: list[Decision]) -> Decision | None:
        accepted = [frame for frame in frames if frame.outcome == ACCEPT]
        rejected = [frame for frame in frames if frame.outcome == REJECT]
        people = Counter(frame.person_id for frame in accepted)
        if len(people) == 1 and len(accepted) >= self.votes:
            score = trimmed_mean([frame.score for frame in frames if frame.score is not None])
            latest = accepted[-1]
            if latest.threshold is not None and score > latest.threshold:
                return replace(latest, score=score)
        if len(rejected) >= self.votes:
            return rejected[-1]
        if len(frames) < 2 * self.votes - 1:
            return None
        if len(people) > 1:
            return replace(accepted[-1], outcome=NO_DECISION, person=None, person_id=None, reasons=("ambiguous",))
        return rejected[-1]


def _overlap(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes (x, y, width, height)."""
    sides = [min(one[at] + one[at + 2], other[at] + other[at + 2]) - max(one[at], other[at]) for at in (0, 1)]
    both = max(0.0, sides[0]) * max(0.0, sides[1])
    whole = one[2] * one[3] + other[2] * other[3] - both
    return both / whole if whole > 0 else 0.0
