"""Drawn people before a camera: images, and the video that a browser takes for its camera."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tests.support.drawn_faces import draw_faces

__all__ = ["ADA", "BEN", "SIZE", "STRANGER", "empty_room", "photo_files", "visitor", "write_video"]

Image = NDArray[np.uint8]
SIZE = 640, 480
ADA, BEN, STRANGER = 0, 1, 4
"""Numbers of visitors who are enrolled by tests under these names, and of one who is not."""


@cache
def _face(person: int) -> Image:
    return np.asarray(draw_faces(person + 1, 1, seed=3).images([person])[0], np.uint8)


def empty_room() -> Image:
    """Return an image without a face."""
    return np.full((SIZE[1], SIZE[0], 3), 120, np.uint8)


def visitor(person: int, moment: int = 0) -> Image:
    """Return a generated person, always with the same face, at another place and size each moment."""
    generator = np.random.default_rng((person, moment))
    image = np.full((SIZE[1], SIZE[0], 3), generator.integers(90, 180, 3), np.uint8)
    scale = generator.uniform(2.2, 2.6)
    face = np.asarray(cv2.resize(_face(person), None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)
    side = len(face)
    top = (SIZE[1] - side) // 2 + int(generator.integers(-20, 20))
    left = (SIZE[0] - side) // 2 + int(generator.integers(-60, 60))
    image[top : top + side, left : left + side] = face
    noisy = image.astype(np.int64) + generator.integers(-4, 5, image.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def photo_files(folder: Path, person: int, moments: range) -> list[Path]:
    """Write photos of a visitor; returns the files."""
    files = []
    for moment in moments:
        files.append(folder / f"photo-{person}-{moment}.png")
        cv2.imwrite(str(files[-1]), visitor(person, moment)[:, :, ::-1])
    return files


def write_video(path: Path, images: Sequence[Image]) -> None:
    """Write a video (Y4M, two images a second) that a browser shows from the next start of its camera on."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(f"YUV4MPEG2 W{SIZE[0]} H{SIZE[1]} F2:1 Ip A1:1 C420jpeg\n".encode())
        for image in images:
            file.write(b"FRAME\n")
            file.write(cv2.cvtColor(image, cv2.COLOR_RGB2YUV_I420).tobytes())
    part.replace(path)
