"""Cameras of the service's clients: votes over the frames of each, and one entry in the journal for each visit."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from fedfr.recognition.camera.voting import Seen, Voting
from fedfr.recognition.decision import Decision

__all__ = ["Cameras"]

VOTES = 3
WINDOW = 5.0
"""Seconds out of view that end the visit of a face; frames have to come more often."""


@dataclass
class _Camera:
    voting: Voting = field(default_factory=lambda: Voting(VOTES, WINDOW))
    lock: threading.Lock = field(default_factory=threading.Lock)


class Cameras:
    """Votes over the frames of cameras; of each client the ``each`` latest are remembered, of all ``most``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, each: int = 8, most: int = 1000) -> None:
        self._clock, self._each, self._most = clock, each, most
        self._lock = threading.Lock()
        self._cameras: OrderedDict[tuple[str, str], _Camera] = OrderedDict()

    def add(self, client: str, name: str, decision: Decision, note: Callable[[Decision], object]) -> Seen:
        """Add the decision about the main face of a frame; ``note`` is called with each new outcome.

        If that fails, the frames of the camera are forgotten: an outcome that is not in the journal does not stand.
        """
        camera = self._of(client, name)
        with camera.lock:
            (seen,) = camera.voting.follow(self._clock(), [decision]) or (Seen(None),)
            if seen.new and seen.outcome is not None:
                try:
                    note(seen.outcome)
                except BaseException:
                    camera.voting = Voting(VOTES, WINDOW)
                    raise
        return seen

    def _of(self, client: str, name: str) -> _Camera:
        with self._lock:
            camera = self._cameras.pop((client, name), None) or _Camera()
            own = [key for key in self._cameras if key[0] == client]
            for key in own[: max(0, len(own) + 1 - self._each)]:
                del self._cameras[key]
            while len(self._cameras) >= self._most:
                self._cameras.popitem(last=False)
            self._cameras[client, name] = camera
            return camera
