"""Content area of aligned faces: black corners of warped images, and their effect on duplicate checks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.drawn_faces import draw_faces, encoded

from fedfr.audit import Finding, audit_images
from fedfr.audit.content_area import content_mask
from fedfr.audit.measures import measure_images
from fedfr.audit.near_duplicates import near_duplicate_groups
from fedfr.faces import FaceSet

Image = NDArray[np.uint8]


def cut(image: Image, turn: float, colour: int = 0) -> Image:
    """Return a face of which a rotated, smaller photograph covers only a part."""
    mask = np.zeros((112, 112), np.uint8)
    box = cv2.boxPoints(((56, 66), (64, 76), turn))
    cv2.fillPoly(mask, [box.astype(np.int32)], 255)
    return np.where(mask[:, :, None] > 0, image, np.uint8(colour))


@pytest.mark.parametrize("colour", [0, 7, 128, 255])
@pytest.mark.parametrize("quality", [None, 75])
def test_the_content_area_is_found(colour: int, quality: int | None) -> None:
    face = draw_faces(1, 1).images([0])[0]
    image = cut(face, 14, colour)
    content = content_mask(image if quality is None else encoded(image, quality), 16)
    truth = cv2.resize(
        (cut(np.full_like(face, 1), 14)[:, :, 0]).astype(np.float32), (16, 16), interpolation=cv2.INTER_AREA
    )
    assert not content[truth == 0].any()
    assert content[truth == 1].mean() > 0.75
    assert content_mask(face, 16).mean() > 0.9


def people(turned: list[float]) -> FaceSet:
    faces = draw_faces(len(turned), 1)
    images = faces.images(range(len(turned)))
    # The same dark box around light faces of little contrast: what is outside decides.
    pixels = [
        cut((90 + 0.6 * image).clip(0, 255).astype(np.uint8), turn) for image, turn in zip(images, turned, strict=True)
    ]
    return FaceSet(np.stack(pixels), faces.labels, faces.identities, faces.names)


def of_two_people(findings: tuple[Finding, ...]) -> list[tuple[tuple[str, ...], float | None]]:
    return [(case.images, case.value) for each in findings if each.kind == "image-of-two-people" for case in each.cases]


def test_different_people_are_not_one_image() -> None:
    faces = people([12.0] * 8)
    thumbnails = measure_images(faces, np.zeros(8, np.int64), 1).thumbnails
    assert len(near_duplicate_groups(thumbnails)) == 1, "as a whole they are alike"
    assert of_two_people(audit_images(faces)) == []
    pixels = faces.images(range(8))
    pixels[5] = encoded(pixels[2], 98)
    ((images, value),) = of_two_people(audit_images(FaceSet(pixels, faces.labels, faces.identities, faces.names)))
    assert images == ("person-002#2", "person-005#5")
    assert value is not None
    assert 0.98 <= value < 1


def test_the_reported_correlation_is_that_of_the_link() -> None:
    """The reported correlation is that of the linked images, not that of two copies of one person's image."""
    faces = draw_faces(2, 3)
    pixels = faces.images(range(6))
    pixels[1] = encoded(pixels[0], 95)
    # Between two images: like the second, not like the first.
    moved = cv2.warpAffine(pixels[1], np.array([[1, 0, 1.6], [0, 1, 0.8]]), (112, 112), borderMode=cv2.BORDER_REPLICATE)
    pixels[4] = np.asarray(moved, np.uint8)
    findings = audit_images(FaceSet(pixels, faces.labels, faces.identities, faces.names))
    ((images, value),) = of_two_people(findings)
    assert value is not None
    assert faces.names[4] in images
    assert faces.names[2] not in images
    assert 0.98 <= value < 0.99, "the copies of one person are alike to 0.999"
