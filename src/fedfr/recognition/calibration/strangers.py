"""Checks of the strangers with whom a gallery is calibrated: none of them may be enrolled.

A stranger whose image is also that of an enrolled person is no stranger and is refused. A stranger who only resembles
an enrolled person is reported and stays: to leave out those with high scores would lower the threshold and break the
promise. An operator who knows that this person is enrolled names the row to be left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.recognition.calibration.calibration_record import Calibration
from fedfr.recognition.gallery.gallery_types import StrangerFeatures

__all__ = ["leave_out", "refuse_enrolled", "resembling", "same_images", "stranger_notices"]

# Features of one image that were computed in different batches differ by rounding.
SAME_DISTANCE = 1e-4
CANDIDATE = 0.9999
ROWS = 4096
MOST_NAMED = 5

Floats = NDArray[np.float32]


def same_images(strangers: Floats, photos: Floats) -> tuple[int, ...]:
    """Return the rows of ``strangers`` (S, D) that are the features of an image among ``photos`` (N, D)."""
    found: set[int] = set()
    for start in range(0, len(photos), ROWS):
        part = photos[start : start + ROWS]
        rows, columns = np.nonzero(strangers @ part.T >= CANDIDATE)
        distances = np.linalg.norm(strangers[rows].astype(np.float64) - part[columns], axis=1)
        found.update(rows[distances <= SAME_DISTANCE].tolist())
    return tuple(sorted(found))


def refuse_enrolled(strangers: Floats, photos: Floats) -> None:
    """Raise :class:`FedfrError` if an image of an enrolled person is among the strangers."""
    rows = same_images(strangers, photos)
    if rows:
        raise FedfrError(
            f"{_strangers(rows)} {'is an image' if len(rows) == 1 else 'are images'} of an enrolled person, so no "
            f"stranger; leave {'it' if len(rows) == 1 else 'them'} out with `fedfr calibrate` and "
            f"{' '.join(f'--leave-out {row}' for row in rows[:MOST_NAMED])}"
        )


def resembling(calibration: Calibration) -> tuple[int, ...]:
    """Return the rows of the strangers whose best score is at least the median of the genuine scores.

    Some are alike by chance; others are enrolled people. Empty without genuine scores.
    """
    if not len(calibration.own):
        return ()
    rows = np.flatnonzero(calibration.scores.best[0] >= np.median(calibration.own))
    return tuple(rows.tolist())


def stranger_notices(calibration: Calibration) -> list[str]:
    """Return sentences about strangers who seem to be enrolled people, by row number."""
    rows = resembling(calibration)
    if not rows:
        return []
    verb = "resembles" if len(rows) == 1 else "resemble"
    advice = "if it is the same person, leave the row out with `fedfr calibrate --leave-out`, and otherwise not"
    return [f"{_strangers(rows)} {verb} an enrolled person as much as own photos do; {advice}"]


def leave_out(strangers: StrangerFeatures, rows: Collection[int]) -> StrangerFeatures:
    """Return the strangers without some rows; raises :class:`FedfrError` for a row that there is not."""
    unknown = sorted(row for row in rows if not 0 <= row < len(strangers.features))
    if unknown:
        raise FedfrError(
            f"there is no stranger {unknown[0]}; the rows of the {len(strangers.features)} strangers are 0 to "
            f"{len(strangers.features) - 1}"
        )
    left = sorted(set(rows))
    digest = hashlib.sha256(f"{strangers.digest} without {left}".encode()).hexdigest()
    return StrangerFeatures(np.delete(strangers.features, left, axis=0), digest)


def _strangers(rows: Collection[int]) -> str:
    named = ", ".join(map(str, sorted(rows)[:MOST_NAMED])) + (", …" if len(rows) > MOST_NAMED else "")
    return f"stranger {named}" if len(rows) == 1 else f"{len(rows)} strangers ({named})"
