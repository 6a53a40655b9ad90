"""Generated faces at the position of the ArcFace template; they show no real people."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fedfr.faces import FaceSet

__all__ = ["draw_faces", "encoded", "with_pixels"]

Image = NDArray[np.uint8]


def _ellipse(image: Image, centre: tuple[float, float], axes: tuple[float, float], colour: NDArray[np.int64]) -> None:
    place, size = [tuple(round(16 * value) for value in pair) for pair in (centre, axes)]
    cv2.ellipse(image, place, size, 0, 0, 360, colour.tolist(), -1, cv2.LINE_AA, 4)


def _draw(person: np.random.Generator, moment: np.random.Generator, tone: NDArray[np.float64]) -> Image:
    """One image: the person decides the features, the moment background, pose, light and noise."""
    image = np.full((112, 112, 3), moment.integers(20, 200, 3), np.uint8)
    for _ in range(8):
        _ellipse(image, tuple(moment.uniform(0, 112, 2)), tuple(moment.uniform(8, 30, 2)), moment.integers(10, 230, 3))
    hair, dark = person.integers(10, 90, 3), person.integers(10, 60, 3)
    _ellipse(image, (56, 40), (50 + person.uniform(-4, 4), 62), hair)
    _ellipse(image, (56, 50), (39 + person.uniform(-6, 4), 66), tone.astype(np.int64))
    brow = person.uniform(41, 45)
    for x in (38.3, 73.5):
        _ellipse(image, (x, 50), (13, 9), (tone * person.uniform(0.62, 0.72)).astype(np.int64))
        _ellipse(image, (x, brow), (11, person.uniform(1.5, 3)), (dark + tone / 3).astype(np.int64))
        _ellipse(image, (x, 51.6), (8, person.uniform(2.5, 4)), dark + 20)
        _ellipse(image, (x, 51.6), (person.uniform(1, 2.5), 1), np.array([230, 230, 230]))
    _ellipse(image, (56, 60), (5, 16), (tone * 1.12).clip(0, 255).astype(np.int64))
    for x in (51, 61):
        _ellipse(image, (x, 73), (2.5, 1.8), dark + 20)
    _ellipse(image, (56, 92.3), (16, person.uniform(2.5, 5)), (tone * [0.95, 0.75, 0.75]).astype(np.int64))
    for _ in range(3):  # a hand, a collar, a hat: whatever comes before a face, beside it
        place = moment.choice([-4, 116]), moment.uniform(0, 112)
        _ellipse(image, place, tuple(moment.uniform(8, 32, 2)), moment.integers(10, 230, 3))
    pose = np.asarray(cv2.getRotationMatrix2D((56, 72), moment.uniform(-6, 6), moment.uniform(0.95, 1.05)), np.float64)
    pose[:, 2] += moment.uniform(-2, 2, 2)
    image = np.asarray(cv2.warpAffine(image, pose, (112, 112), borderMode=cv2.BORDER_REPLICATE), np.uint8)
    columns, rows = np.meshgrid(np.linspace(-1, 1, 112), np.linspace(-1, 1, 112))
    # Faces are lit from above and turn away from the viewer at the sides.
    light = 1.15 - 0.6 * columns**2 - 0.7 * (rows - 0.3).clip(0, 1)
    light += moment.uniform(-0.6, 0.6) * columns + moment.uniform(-0.3, 0.3) * rows
    noisy = image * light[:, :, None] + moment.normal(0, 6, image.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def draw_faces(identities: int, images: int, seed: int = 0) -> FaceSet:
    """Return ``images`` images of each generated person, with varying background and light."""
    pixels = []
    for person in range(identities):
        tone = np.random.default_rng((seed, person)).uniform(0.45, 1) * np.array([230, 170, 140])
        for sample in range(images):
            moment = np.random.default_rng((seed, person, sample))
            pixels.append(_draw(np.random.default_rng((seed, person, 1)), moment, tone))
    names = [f"person-{person:03d}" for person in range(identities)]
    return FaceSet(np.stack(pixels), np.repeat(np.arange(identities), images), names)


def with_pixels(faces: FaceSet, changes: dict[int, Image]) -> FaceSet:
    """The same set with other images at some indices."""
    pixels = faces.images(range(len(faces)))
    for index, image in changes.items():
        pixels[index] = image
    return FaceSet(pixels, faces.labels, faces.identities, faces.names)


def encoded(image: Image, quality: int) -> Image:
    """Through JPEG."""
    content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)
