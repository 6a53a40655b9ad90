"""Face sets and image files that the fuzz targets damage."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from fedfr.faces import FaceSet

__all__ = ["KINDS", "NOISE", "encoded", "faces", "identity_folders"]


NOISE = cv2.resize(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8), (112, 112))


KINDS = (".jpg", ".png", ".pgm", ".bmp", ".gif", ".webp", ".tiff", ".ppm")


def faces(people: int = 3, images: int = 2) -> FaceSet:
    """Flat faces of people who are not."""
    values = np.arange(people * images, dtype=np.uint8)
    pixels = np.broadcast_to(values[:, None, None, None], (people * images, 112, 112, 3)).copy()
    labels = np.repeat(np.arange(people), images)
    names = tuple(f"p{label}/{row}.png" for row, label in enumerate(labels.tolist()))
    return FaceSet(pixels, labels, tuple(f"p{label}" for label in range(people)), names)


def encoded(suffix: str) -> bytes:
    image = NOISE[:, :, 0] if suffix == ".pgm" else NOISE
    return cv2.imencode(suffix, image)[1].tobytes()


def identity_folders(folder: Path) -> None:
    for name in ("anna", "bo"):
        (folder / name).mkdir()
        (folder / name / "1.png").write_bytes(encoded(".png"))
