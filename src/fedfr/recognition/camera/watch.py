"""Decisions about the faces before a camera."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from fedfr.recognition.camera.frames import Frame
from fedfr.recognition.camera.voting import Voting
from fedfr.recognition.decision import Decision
from fedfr.recognition.recognizer import Recognizer

__all__ = ["Sighting", "watch"]


@dataclass(frozen=True)
class Sighting:
    """Decision about a face before a camera, and when it was made, in seconds since the first frame."""

    seconds: float
    decision: Decision

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"seconds": round(self.seconds, 3), **self.decision.to_json()}


def watch(recognizer: Recognizer, frames: Iterable[Frame], voting: Voting) -> Iterator[Sighting]:
    """Decide about the faces in ``frames``; each outcome on which enough frames agree is yielded once.

    Outcomes are in the journal, the decisions about single frames are not. What is promised for a visit is in
    :class:`~fedfr.recognition.camera.voting.Voting`.
    """
    for frame in frames:
        for decision in voting.add(frame.seconds, recognizer.decide_all(frame.image)):
            yield Sighting(frame.seconds, recognizer.note(decision))
