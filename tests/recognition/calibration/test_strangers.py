"""Strangers who are enrolled people: refused by image, reported by resemblance, left out only by name of the row."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.support.doors import make_door
from tests.support.drawn_people import People, names

from fedfr import FaceSet, FedfrError
from fedfr.faces.readers.image_reading import FacesWarning
from fedfr.recognition import GenuineProbes, calibrate, read_photo
from fedfr.recognition.calibration.strangers import leave_out, resembling, same_images, stranger_notices
from fedfr.recognition.gallery.gallery_types import StrangerFeatures
from fedfr.recognition.photos.photo_files import PHOTO_SUFFIXES


def test_the_same_image_is_found_and_a_similar_one_is_not() -> None:
    people = People(1)
    photos = people.images(people.centres(5000))
    strangers = people.images(people.centres(20))
    strangers[7] = photos[4321] + np.float32(1e-7)
    strangers[9] = photos[12] + np.float32(1e-3)
    assert same_images(strangers, photos) == (7,)


def test_an_enrolled_person_among_the_strangers_is_refused_and_can_be_left_out(tmp_path: Path) -> None:
    door = make_door(tmp_path)
    photos = door.photos(0, 0, 3)
    pixels = door.strangers.images(range(len(door.strangers)))
    pixels[17] = photos[1]
    mixed = FaceSet(pixels, door.strangers.labels, door.strangers.identities)
    with door.open() as recognizer:
        recognizer.enrol("ada", photos, aligned=True)
        before = recognizer.calibration()
        assert before is not None
        with pytest.raises(FedfrError, match=r"stranger 17 is an image of an enrolled person.*--leave-out 17"):
            recognizer.calibrate(strangers=mixed)
        kept = recognizer.calibration()
        assert kept is not None
        assert kept.id == before.id
        after = recognizer.calibrate(strangers=mixed, leave_out=[17])
        assert after is not None
        assert after.identify.strangers == len(mixed) - 1
        # It stays left out at the next change.
        recognizer.enrol("ben", door.photos(1, 0, 3), aligned=True)
        found = recognizer.calibration()
        assert found is not None
        assert found.identify.strangers == len(mixed) - 1


def test_people_with_one_image_count_once(tmp_path: Path) -> None:
    """Ten are there twice: the same image, mirrored, brighter, or as a JPEG."""
    door = make_door(tmp_path)
    pixels = door.strangers.images(range(len(door.strangers)))
    for row, copy in enumerate((pixels[0], pixels[1][:, ::-1], pixels[2] // 4 * 3 + 40), 30):
        pixels[row] = copy
    for row in range(33, 40):
        encoded = cv2.imencode(".jpg", pixels[row - 30][:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
        pixels[row] = read_photo(encoded.tobytes())
    twice = FaceSet(pixels, door.strangers.labels, door.strangers.identities)
    with door.open() as recognizer:
        recognizer.enrol("ada", door.photos(0, 0, 3), aligned=True)
        with pytest.warns(FacesWarning, match="10 of 40 strangers have the image of another and are left out"):
            found = recognizer.calibrate(strangers=twice)
        assert found is not None
        assert found.identify.strangers == 30
        pixels[1:] = pixels[0]
        one = FaceSet(pixels, door.strangers.labels, door.strangers.identities)
        with (
            pytest.warns(FacesWarning, match="39 of 40 strangers"),
            pytest.raises(FedfrError, match=r"found 1 strangers; the rate 0.1 .* needs 29"),
        ):
            recognizer.calibrate(strangers=one)


def test_strangers_are_not_in_the_cohort(tmp_path: Path) -> None:
    """Copies of their images: a network's features of them differ more than those of one image."""
    door = make_door(tmp_path)
    pixels = door.strangers.images(range(len(door.strangers))) // 4 * 3 + 40
    copies = FaceSet(pixels, door.strangers.labels, door.strangers.identities)
    with door.open() as recognizer:
        with pytest.raises(FedfrError, match="all 40 people of the cohort are in the other set as well"):
            recognizer.calibrate(strangers=door.strangers, cohort=copies)
        assert recognizer.gallery.settings.normalization == "none"


def test_an_enrolment_with_an_image_of_a_stranger_changes_nothing(tmp_path: Path) -> None:
    door = make_door(tmp_path)
    stranger = door.strangers.images([3])[0]
    with door.open() as recognizer:
        with pytest.raises(FedfrError, match="stranger 3 is an image of an enrolled person"):
            recognizer.enrol("ada", [stranger], aligned=True)
        assert recognizer.persons() == []
        assert recognizer.drift().level == "recalibrate"
        assert "no calibration" in recognizer.drift().text


def test_a_stranger_who_resembles_somebody_is_reported_and_counts() -> None:
    people = People(2, noise=0.5)
    centres = people.centres(5)
    probes = GenuineProbes(people.images(centres, 3), tuple(np.repeat(names(5), 3).tolist()))
    strangers = people.images(people.centres(300))
    templates = people.templates(centres)
    assert resembling(calibrate(templates, names(5), strangers, fpir=0.02, genuine=probes)) == ()
    strangers[11] = templates[2]
    found = calibrate(templates, names(5), strangers, fpir=0.02, genuine=probes)
    assert resembling(found) == (11,)
    assert stranger_notices(found)[0].startswith("stranger 11 resembles an enrolled person as much as own photos do")
    assert found.identify.strangers == 300
    assert resembling(calibrate(templates, names(5), strangers, fpir=0.02)) == ()


def test_only_rows_that_exist_can_be_left_out() -> None:
    given = StrangerFeatures(np.eye(4, dtype=np.float32), "digest")
    left = leave_out(given, [1, 1, 3])
    assert left.features.tolist() == np.eye(4)[[0, 2]].tolist()
    assert left.digest != given.digest
    for row in (4, -1):
        with pytest.raises(FedfrError, match=f"there is no stranger {row}; the rows of the 4 strangers are 0 to 3"):
            leave_out(given, [0, row])


def test_every_type_of_photo_can_be_a_stranger(tmp_path: Path) -> None:
    door = make_door(tmp_path)
    for person, (image, suffix) in enumerate(
        zip(door.strangers.images(range(len(door.strangers))), [*PHOTO_SUFFIXES] * 7, strict=False)
    ):
        file = tmp_path / "others" / f"person {person}" / f"one{suffix}"
        file.parent.mkdir(parents=True)
        written = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if suffix == ".pgm" else image[:, :, ::-1]
        assert cv2.imwrite(str(file), written)
    with door.open() as recognizer:
        recognizer.calibrate(strangers=tmp_path / "others")
        assert recognizer.status().strangers == len(door.strangers)
