"""Change of the gallery to another model, at the request of a client and in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from fedfr.core.errors import FedfrError
from fedfr.recognition.service.errors import ApiError, without_paths

if TYPE_CHECKING:
    from fedfr.recognition.enrolment.enrolment import Progress
    from fedfr.recognition.rebuild import Rebuild
    from fedfr.recognition.recognizer import Recognizer

__all__ = ["RebuildJob", "RebuildWork"]

_log = logging.getLogger("fedfr.service")


RebuildWork: TypeAlias = "Callable[[Recognizer, Progress], Rebuild]"
"""Function that rebuilds a gallery for the newest model, and reports the number of people done and of all people."""


class RebuildJob:
    """One rebuild at a time; the old model serves until it is done."""

    def __init__(self, folder: Path, work: RebuildWork | None) -> None:
        self._folder, self._work = folder, work
        self._lock = threading.Lock()
        self._state: dict[str, Any] = {"state": "idle", "done": 0, "total": 0, "result": None, "error": None}

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        with self._lock:
            return {**self._state, "possible": self._work is not None}

    def start(self, recognizer: Recognizer) -> dict[str, Any]:
        """Begin a rebuild; raises :class:`ApiError` if the service knows no other model, or while one is running."""
        if self._work is None:
            raise ApiError(
                409,
                "no-model",
                "the service was started without --site; use `fedfr gallery rebuild` on its machine",
            )
        with self._lock:
            if self._state["state"] == "running":
                raise ApiError(409, "running", "a rebuild is running already; GET /v1/rebuild shows its progress")
            self._state |= {"state": "running", "done": 0, "total": 0, "result": None, "error": None}
        threading.Thread(target=self._run, args=(recognizer, self._work), daemon=True).start()
        return self.to_json()

    def _run(self, recognizer: Recognizer, work: RebuildWork) -> None:
        try:
            result = work(recognizer, self._progress)
        except FedfrError as error:
            self._end("failed", error=without_paths(str(error), self._folder))
        except Exception:  # noqa: BLE001 - logged, and shown as failed
            _log.exception("the rebuild failed")
            self._end("failed", error="the rebuild failed; see the log of the service")
        else:
            self._end("done", result=result.to_json())

    def _progress(self, done: int, total: int) -> None:
        with self._lock:
            self._state |= {"done": done, "total": total}

    def _end(self, state: str, *, result: dict[str, Any] | None = None, error: str | None = None) -> None:
        with self._lock:
            self._state |= {"state": state, "result": result, "error": error}
