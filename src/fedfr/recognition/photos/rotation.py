"""Faces that lie on their side or upside down, which a detector takes for upright ones with wrong landmarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from fedfr.faces.alignment.detection import Face

__all__ = ["quarter_turns"]

Find = Callable[[NDArray[np.uint8]], Sequence[Face]]

# YuNet's score is 0.89 or less for faces of LFW turned by 90 or 180 degrees; 99 % of the upright ones have more.
_DOUBTFUL = 0.9
_MARGIN = 0.02
_SIDE = 160


def quarter_turns(image: NDArray[np.uint8], face: Face, find: Find) -> int:
    """Return by how many degrees a face is turned clockwise: 0, 90, 180 or -90.

    A face with a doubtful score is detected again, with its surroundings turned; it is turned if the detector is surer
    of it then. ``find`` returns the faces of an image.
    """
    if face.score is None or face.score >= _DOUBTFUL or face.box is None:
        return 0
    region = _surroundings(image, face.box)
    scores = [_middle_score(find(np.ascontiguousarray(np.rot90(region, turns))), region) for turns in range(4)]
    best = int(np.argmax(scores))
    # np.rot90 turns counter-clockwise: what is upright after it was turned clockwise by as much.
    return (0, 90, 180, -90)[best] if scores[best] > scores[0] + _MARGIN else 0


def _surroundings(image: NDArray[np.uint8], box: tuple[float, float, float, float]) -> NDArray[np.uint8]:
    """Return a square of twice the box around its centre, of at most 160 pixels, black outside the image."""
    x, y, width, height = box
    half = min(max(1, round(max(width, height))), max(image.shape))
    left, top = round(x + width / 2) - half, round(y + height / 2) - half
    part = image[max(0, top) : max(0, top + 2 * half), max(0, left) : max(0, left + 2 * half)]
    if not part.size:
        return np.zeros((_SIDE, _SIDE, 3), np.uint8)
    before = max(0, -top), max(0, -left)
    after = (2 * half - before[0] - part.shape[0], 2 * half - before[1] - part.shape[1])
    square = cv2.copyMakeBorder(part, before[0], after[0], before[1], after[1], cv2.BORDER_CONSTANT)
    side = min(_SIDE, 2 * half)
    return np.asarray(cv2.resize(square, (side, side), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _middle_score(faces: Sequence[Face], region: NDArray[np.uint8]) -> float:
    """Return the best score of a face whose box contains the middle of the region; 0 if there is none."""
    middle = len(region) / 2
    scores = [0.0]
    for face in faces:
        x, y, width, height = face.box or (0.0, 0.0, 0.0, 0.0)
        if x <= middle <= x + width and y <= middle <= y + height:
            scores.append(face.score or 0.0)
    return max(scores)
