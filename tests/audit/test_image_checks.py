"""Audit checks of images on generated faces: every injected fault is found, and no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.drawn_faces import draw_faces, encoded, with_pixels

from fedfr.audit import FINDING_KINDS, SEVERITIES, Finding, audit_images
from fedfr.core.errors import FedfrError
from fedfr.faces import ClientFaces, FaceSet, Split

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    """30 people, four images each: 0-3 are of person-000, 4-7 of person-001, …"""
    return draw_faces(30, 4)


def split_of(faces: FaceSet) -> Split:
    """Persons 0-9 public, 10-14 and 15-19 clients with the last image as test, the others unseen."""
    clients = {}
    for number, start in ((1, 40), (2, 60)):
        mine = range(start, start + 20)
        train, test = tuple(i for i in mine if i % 4 != 3), tuple(i for i in mine if i % 4 == 3)
        clients[f"client-{number:02d}"] = ClientFaces(train, test)
    return Split("mine", 0, faces.fingerprint(), tuple(range(40)), clients, tuple(range(80, 120)), ())


def found(findings: Sequence[Finding]) -> dict[str, list[tuple[str, ...]]]:
    """Images, or else identities, of every case by kind."""
    return {each.kind: [case.images or case.identities for case in each.cases] for each in findings}


def every(faces: FaceSet, change: Callable[[Image], Image], where: Sequence[int] | None = None) -> FaceSet:
    """Return the set with the images at ``where``, by default all, changed."""
    indices = range(len(faces)) if where is None else where
    images = faces.images(list(indices))
    return with_pixels(faces, {index: change(image) for index, image in zip(indices, images, strict=True)})


def warped(right: float, down: float, size: float) -> Callable[[Image], Image]:
    matrix = np.asarray(cv2.getRotationMatrix2D((56, 72), 0, size), np.float64)
    matrix[:, 2] += (right, down)
    return lambda image: np.asarray(
        cv2.warpAffine(image, matrix, (112, 112), borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


@pytest.mark.parametrize(("people", "samples", "seed"), [(30, 2, 2), (2, 2, 5)])
def test_a_clean_set_has_no_findings(faces: FaceSet, people: int, samples: int, seed: int) -> None:
    assert audit_images(faces) == ()
    assert audit_images(draw_faces(people, samples, seed)) == ()


def test_a_clean_split_has_no_findings(faces: FaceSet) -> None:
    assert audit_images(faces, split_of(faces)) == ()


def test_no_faces_no_findings(faces: FaceSet) -> None:
    assert audit_images(faces.subset([])) == ()


def test_exact_copies(faces: FaceSet) -> None:
    images = faces.images([0, 5])
    assert found(audit_images(with_pixels(faces, {2: images[0], 3: images[0], 6: images[1]}))) == {
        "exact-duplicates": [
            ("person-000#0", "person-000#2", "person-000#3"),
            ("person-001#5", "person-001#6"),
        ]
    }


COPIES: dict[str, Callable[[Image], Image]] = {
    "encoded anew": lambda image: encoded(image, 40),
    "brighter": lambda image: (image.astype(np.int64) + 15).clip(0, 255).astype(np.uint8),
    "darker": lambda image: (image * 0.8).astype(np.uint8),
    "mirrored": lambda image: image[:, ::-1].copy(),
    "mirrored and encoded": lambda image: encoded(image[:, ::-1].copy(), 60),
    "smaller once": lambda image: np.asarray(cv2.resize(cv2.resize(image, (64, 64)), (112, 112)), np.uint8),
}


@pytest.mark.parametrize("name", COPIES)
def test_near_copies_of_one_and_of_two_people(faces: FaceSet, name: str) -> None:
    images = faces.images([0, 50])
    changed = with_pixels(faces, {2: COPIES[name](images[0]), 83: COPIES[name](images[1])})
    findings = audit_images(changed)
    assert found(findings) == {
        "image-of-two-people": [("person-012#50", "person-020#83")],
        "near-duplicates": [("person-000#0", "person-000#2")],
    }
    assert [each.severity for each in findings] == ["error", "warning"]
    assert findings[0].cases[0].identities == ("person-012", "person-020")
    assert all(0.98 <= case.value <= 1 for each in findings for case in each.cases if case.value is not None)


def test_an_exact_and_a_near_copy_are_one_group(faces: FaceSet) -> None:
    image = faces.images([0])[0]
    changed = with_pixels(faces, {1: image, 2: encoded(image, 50)})
    assert found(audit_images(changed)) == {"near-duplicates": [("person-000#0", "person-000#1", "person-000#2")]}


@pytest.mark.parametrize(
    ("first", "second", "parts"),
    [
        (40, 43, ("client-01 test", "client-01 train")),
        (41, 61, ("client-01 train", "client-02 train")),
        (3, 63, ("client-02 test", "public")),
        (44, 100, ("client-01 train", "generic or distractors")),
    ],
)
def test_copies_in_two_parts_are_named_not_raised(
    faces: FaceSet, first: int, second: int, parts: tuple[str, ...]
) -> None:
    """Copies in two parts, which `Split.check` refuses, are reported as findings."""
    copied = with_pixels(faces, {second: faces.images([first])[0]})
    findings = audit_images(copied, split_of(copied))
    assert findings[0].kind == "image-in-two-parts"
    assert findings[0].severity == "error"
    assert [(case.images, case.parts) for case in findings[0].cases] == [
        ((copied.names[first], copied.names[second]), parts)
    ]


def test_blank_black_white_and_blurred_images(faces: FaceSet) -> None:
    black, white, one = (np.full((112, 112, 3), colour, np.uint8) for colour in ((3, 2, 4), (255,) * 3, (180, 90, 30)))
    blur = np.asarray(cv2.GaussianBlur(faces.images([40])[0], (0, 0), 5), np.uint8)
    findings = audit_images(with_pixels(faces, {1: black, 5: white, 9: one, 40: blur}))
    # Three blank images are like nothing, not like each other.
    assert found(findings) == {
        "blank": [("person-000#1",), ("person-001#5",), ("person-002#9",)],
        "blurred": [("person-010#40",)],
    }


def test_colours_in_the_wrong_order(faces: FaceSet) -> None:
    (finding,) = audit_images(every(faces, lambda image: image[:, :, ::-1].copy()))
    assert finding.kind == "colour-order"
    assert [(case.images, case.value, case.detail) for case in finding.cases] == [((), 1.0, "120 of 120 faces")]
    some = [0, 17, 50, 99]
    (finding,) = audit_images(every(faces, lambda image: image[:, :, ::-1].copy(), some))
    assert finding.kind == "colour-order"
    assert sorted(case.images[0] for case in finding.cases) == sorted(faces.names[index] for index in some)


def test_one_blue_face_is_not_reported(faces: FaceSet) -> None:
    assert audit_images(every(faces, lambda image: image[:, :, ::-1].copy(), [7])) == ()


def test_one_clients_colours_in_the_wrong_order(faces: FaceSet) -> None:
    """Reported even if few of all faces are affected, because each site prepares its own faces."""
    changed = every(faces, lambda image: image[:, :, ::-1].copy(), range(60, 80))
    (finding,) = audit_images(changed, split_of(changed))
    assert finding.kind == "colour-order"
    assert [(case.parts, case.value) for case in finding.cases] == [(("client-02",), 1.0)]


@pytest.mark.parametrize(
    ("right", "down", "size", "offset"),
    [(0, 6, 1, 6), (-7, 0, 1, 7), (0, 0, 0.75, 6.1), (0, 0, 1.25, 6.1)],
)
def test_another_crop(faces: FaceSet, right: float, down: float, size: float, offset: float) -> None:
    """The offset of the landmarks is what was planted, within the pixel by which drawn faces are not LFW's mean."""
    (finding,) = audit_images(every(faces, warped(right, down, size)))
    assert finding.kind == "crop"
    assert finding.cases[0].value == pytest.approx(offset, abs=1.3)
    assert "times the size" in finding.cases[0].detail


def test_scattered_faces(faces: FaceSet) -> None:
    draw = np.random.default_rng(3)

    def elsewhere(image: Image) -> Image:
        right, down = draw.normal(0, 5, 2).tolist()
        return warped(right, down, 1)(image)

    (finding,) = audit_images(every(faces, elsewhere))
    assert finding.kind == "crop"
    assert finding.cases[0].detail.startswith("scattered")


def test_images_without_faces_have_no_mean_face() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 14, 14, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    findings = audit_images(FaceSet(noise, np.arange(60) // 2, [str(number) for number in range(30)]))
    assert findings[-1].kind == "crop"
    assert findings[-1].cases[0].detail.startswith("no mean face")


def test_grey_images_and_grey_sets(faces: FaceSet) -> None:
    def grey(image: Image) -> Image:
        return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)

    assert found(audit_images(every(faces, grey, [3, 9]))) == {"grey": [("person-000#3",), ("person-002#9",)]}
    (finding,) = audit_images(every(faces, grey))
    assert (finding.kind, finding.severity, finding.cases[0].detail) == ("grey-set", "note", "120 images")


def test_identities_with_too_few_images(faces: FaceSet) -> None:
    alone = faces.subset([index for index in range(len(faces)) if index not in (5, 6, 7)])
    assert found(audit_images(alone)) == {"single-image": [("person-001",)]}
    split = split_of(faces)
    first = ClientFaces(tuple(i for i in range(40, 60) if i not in (41, 42, 47)), (47,))
    findings = audit_images(faces, replace(split, clients={**split.clients, "client-01": first}))
    assert findings[0].kind == "few-images"
    assert {(case.identities[0], case.parts[0], case.value) for case in findings[0].cases} == {
        (f"person-{number:03d}", "client-01 test", 0.0) for number in (10, 12, 13, 14)
    }
    once = ClientFaces(tuple(range(40, 57)), (59,))
    findings = audit_images(faces, replace(split, clients={**split.clients, "client-01": once}))
    assert ("person-014", "client-01 train", 1.0) in {
        (case.identities[0], case.parts[0], case.value) for case in findings[0].cases
    }


def test_pixels_changed_after_saving(faces: FaceSet, tmp_path: Path) -> None:
    faces.save(tmp_path / "set")
    assert audit_images(FaceSet.load(tmp_path / "set")) == ()
    pixels = np.lib.format.open_memmap(tmp_path / "set" / "pixels.npy", mode="r+")
    pixels[3, 50, 50, 0] ^= 255
    pixels.flush()
    (finding,) = audit_images(FaceSet.load(tmp_path / "set"))
    assert (finding.kind, finding.severity) == ("altered-pixels", "error")


def test_the_order_of_the_images_does_not_matter(faces: FaceSet) -> None:
    image = faces.images([0])[0]
    blank = np.full((112, 112, 3), 9, np.uint8)
    faulty = with_pixels(faces, {1: image, 2: encoded(image, 50), 90: encoded(image, 70), 60: blank})
    faulty = every(faulty, lambda sample: sample[:, :, ::-1].copy(), range(20, 30))
    faulty = faulty.subset([index for index in range(len(faces)) if index not in (101, 102, 103)])
    expected = audit_images(faulty)
    assert {each.kind for each in expected} == {"image-of-two-people", "blank", "colour-order", "single-image"}
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(faulty))
        assert audit_images(faulty.subset(order)) == expected


def test_a_split_of_other_faces_is_refused(faces: FaceSet) -> None:
    with pytest.raises(FedfrError, match="was made for faces"):
        audit_images(faces.subset(range(100)), split_of(faces))


def test_progress_ends_at_the_number_of_images(faces: FaceSet) -> None:
    told: list[tuple[int, int]] = []
    audit_images(faces, None, lambda done, total: told.append((done, total)))
    assert told[-1] == (120, 120)


def test_every_kind_says_what_to_do() -> None:
    for entry in FINDING_KINDS:
        kind = FINDING_KINDS[entry.name]
        assert kind.severity in SEVERITIES
        assert len(kind.advice) > 10
