"""Recognizer: enrolment, decisions and thresholds of a gallery with a random network and generated faces."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.doors import FPIR, Door, make_door, save_tiny_model
from tests.support.tiny_experiment import tiny_faces

from fedfr.core.errors import FedfrError
from fedfr.recognition.calibration.calibrate import calibrate
from fedfr.recognition.decision import ACCEPT, NO_DECISION, REJECT
from fedfr.recognition.recognizer import Recognizer


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return make_door(tmp_path)


def enrol(recognizer: Recognizer, door: Door, *people: int) -> None:
    for person in people:
        assert recognizer.enrol(f"person {person}", door.photos(person, 0, 3), aligned=True).accepted == 3


def check_thresholds(recognizer: Recognizer) -> None:
    """The calibration in use is that of the present gallery, computed anew."""
    gallery = recognizer.gallery
    templates, strangers = gallery.templates(), gallery.strangers()
    found = recognizer.calibration()
    if not templates.ids:
        assert found is None
        return
    assert strangers is not None
    assert found is not None
    fresh = calibrate(templates.matrix, templates.ids, strangers.features, fpir=gallery.settings.fpir)
    assert found.persons == fresh.persons
    assert found.identify == fresh.identify
    np.testing.assert_allclose(found.scores.verify, fresh.scores.verify, atol=2e-5)


def test_own_people_are_accepted_and_strangers_are_nobody(door: Door) -> None:
    with door.open() as recognizer:
        enrol(recognizer, door, 0, 1, 2)
        for person in range(3):
            decision = recognizer.identify(door.photos(person)[5], aligned=True)
            assert (decision.outcome, decision.person) == (ACCEPT, f"person {person}")
            assert decision.strangers_passing is not None
            assert decision.strangers_passing.enrolled == 3
            assert recognizer.verify(f"person {person}", door.photos(person)[4], aligned=True).accepted
        for person in (3, 4, 5):
            decision = recognizer.identify(door.photos(person)[0], aligned=True)
            assert (decision.outcome, decision.reasons) == (REJECT, ("below-threshold",))
            claimed = recognizer.verify("person 0", door.photos(person)[0], aligned=True)
            assert claimed.outcome == REJECT
            for made in (decision, claimed):
                text = json.dumps(made.to_json())
                assert not any(one.name in text or one.id in text for one in recognizer.persons())
        with pytest.raises(FedfrError, match="nobody called 'person 5' is enrolled"):
            recognizer.verify("person 5", door.photos(5)[0], aligned=True)


def test_a_removed_person_is_a_stranger(door: Door) -> None:
    with door.open() as recognizer:
        enrol(recognizer, door, 0, 1)
        removal = recognizer.remove("person 0")
        assert (removal.photos, removal.cleared) == (3, True)
        assert recognizer.identify(door.photos(0)[5], aligned=True).outcome == REJECT
        assert recognizer.identify(door.photos(1)[5], aligned=True).person == "person 1"
        recognizer.remove("person 1")
        decision = recognizer.identify(door.photos(1)[5], aligned=True)
        assert (decision.outcome, decision.reasons) == (NO_DECISION, ("nobody-enrolled",))
        with pytest.raises(FedfrError, match="nobody called 'person 1'"):
            recognizer.remove("person 1")


def test_each_photo_is_judged_by_itself(door: Door, tmp_path: Path) -> None:
    """Partial success: a damaged file, a duplicate and a photo of somebody else are named, the others enrolled."""
    own, other = door.photos(0), door.photos(1)
    files = {"1.png": own[0], "2.png": own[1], "copy of 1.png": own[0], "somebody.png": other[0], "3.png": own[2]}
    for name, image in files.items():
        assert cv2.imwrite(str(tmp_path / name), image[:, :, ::-1])
    (tmp_path / "damaged.png").write_bytes((tmp_path / "1.png").read_bytes()[:-500])
    given = [tmp_path / name for name in (*files, "damaged.png")]
    with door.open() as recognizer:
        result = recognizer.enrol("ada", given, aligned=True)
        reasons = {Path(photo.photo).name: photo.reasons for photo in result.photos}
        assert reasons == {
            **dict.fromkeys(files, ()),
            "copy of 1.png": ("duplicate-image",),
            "somebody.png": ("outlier",),
            "damaged.png": ("unreadable",),
        }
        assert [photo.accepted for photo in result.photos] == [True, True, False, False, True, False]
        assert (result.accepted, result.total, result.new, result.enrolled) == (3, 3, True, True)
        again = recognizer.enrol("ADA", np.stack([own[1], own[3], other[1]]), aligned=True)
        assert [photo.reasons for photo in again.photos] == [("duplicate-image",), (), ("outlier",)]
        assert (again.person, again.new, again.total) == ("ada", False, 4)
        nothing = recognizer.enrol("ben", [b"no image", np.zeros((50, 60, 3), np.uint8)], aligned=True)
        assert not nothing.enrolled
        assert len(recognizer.persons()) == 1
        assert any("damaged.png: unreadable" in line for line in result.lines())
        outcomes = [entry.outcome for entry in recognizer.journal() if entry.kind == "enrol"]
        assert outcomes == ["refused", "partial", "partial"]
        with pytest.raises(FedfrError, match="no photo of 'ben'"):
            recognizer.enrol("ben", [])
        with pytest.raises(FedfrError, match="nobody can be called 'Unknown'"):
            recognizer.enrol("Unknown", other)
        # Otherwise who asks for ada by id would get this person.
        with pytest.raises(FedfrError, match="it is the id of somebody else"):
            recognizer.enrol(recognizer.persons()[0].id.upper(), other, aligned=True)


def test_held_out_photos_are_in_no_template_and_measure_the_own_side(door: Door) -> None:
    with door.open() as recognizer:
        enrol(recognizer, door, 0)
        before = recognizer.gallery.templates().matrix
        assert (
            recognizer.enrol("person 0", door.photos(0, 3, 4), held_out=door.photos(0, 4, 6), aligned=True).total == 6
        )
        found = recognizer.calibration()
        assert found is not None
        assert found.genuine is not None
        assert (found.genuine.source, found.genuine.images) == ("held-out", 2)
        assert not np.array_equal(before, recognizer.gallery.templates().matrix)
        features = recognizer.gallery.features().matrix[:4].mean(axis=0)
        np.testing.assert_allclose(
            recognizer.gallery.templates().matrix[0], features / np.linalg.norm(features), atol=1e-6
        )


def test_held_out_photos_are_kept_however_unlike_and_do_not_suffice(door: Door) -> None:
    with door.open() as recognizer:
        enrol(recognizer, door, 0, 1)
        # Among photos for the template, the last one is an outlier.
        photos = [*door.photos(2, 0, 4), *door.photos(1, 5, 6)]
        found = recognizer.enrol("template", photos, aligned=True)
        assert [photo.reasons for photo in found.photos] == [(), (), (), (), ("outlier",)]
        recognizer.remove("template")
        found = recognizer.enrol("held-out", photos[:4], held_out=[*door.photos(2, 4, 5), *photos[4:]], aligned=True)
        assert found.accepted == 6
        calibration = recognizer.calibration()
        assert calibration is not None
        assert calibration.genuine is not None
        assert (calibration.genuine.rate, calibration.genuine.images) == (0.5, 2)
        blurred = np.zeros((90, 90, 3), np.uint8)
        assert not recognizer.enrol("nobody", [blurred], held_out=door.photos(3, 0, 2), aligned=True).enrolled
        assert "nobody" not in [person.name for person in recognizer.persons()]


def test_a_second_enrolment_is_noticed_and_two_equal_persons_are_ambiguous(door: Door) -> None:
    with door.open() as recognizer:
        enrol(recognizer, door, 0, 1)
        result = recognizer.enrol("ada", door.photos(0, 3, 5), aligned=True)
        assert not result.enrolled
        assert [photo.reasons for photo in result.photos] == [("similar-person",)] * 2
        (similar,) = result.similar
        assert similar.person == "person 0"
        assert (similar.as_similar.estimate, similar.as_similar.strangers) == (0.0, 40)
        assert len(recognizer.persons()) == 2
        allowed = recognizer.enrol("ada", door.photos(0, 3, 5), aligned=True, allow_similar=True)
        assert allowed.enrolled
        assert [one.person for one in allowed.similar] == ["person 0"]
        decision = recognizer.identify(door.photos(0)[5], aligned=True)
        assert (decision.outcome, decision.reasons, decision.person) == (NO_DECISION, ("ambiguous",), None)
        assert recognizer.identify(door.photos(1)[5], aligned=True).person == "person 1"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Door, Recognizer, Recognizer]:
    """A gallery that two recognizers have open, as two processes would."""
    door = make_door(tmp_path_factory.mktemp("shared"))
    return door, door.open(), door.open()


STEPS = st.tuples(st.sampled_from(["enrol", "more", "remove", "calibrate"]), st.integers(0, 3), st.booleans())


@given(st.lists(STEPS, min_size=2, max_size=6))
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_threshold_belongs_to_the_present_gallery(
    shared: tuple[Door, Recognizer, Recognizer], steps: list[tuple[str, int, bool]]
) -> None:
    """After every step, made by either of two recognizers, both decide alike with the threshold of this gallery."""
    door, one, other = shared
    for person in one.persons():
        one.remove(person.name)
    for kind, number, swapped in steps:
        recognizer = other if swapped else one
        name = f"person {number}"
        if kind in ("enrol", "more"):
            given = door.photos(number, 0, 2) if kind == "enrol" else door.photos(number, 2, 4)
            recognizer.enrol(name, given, aligned=True)
        elif kind == "calibrate":
            recognizer.calibrate(FPIR + 0.02 * number)
        elif any(person.name == name for person in recognizer.persons()):
            recognizer.remove(name)
        check_thresholds(one)
        check_thresholds(other)
        enrolled = {person.name for person in one.persons()}
        for probe in (number, 5):
            decision, same = (each.identify(door.photos(probe)[5], aligned=True) for each in (one, other))
            assert decision == same
            assert decision.person in (enrolled if probe != 5 else set()) | {None}


def test_a_rate_that_the_strangers_cannot_prove_changes_nothing(door: Door) -> None:
    with door.open() as recognizer:
        enrol(recognizer, door, 0)
        before = recognizer.calibration()
        with pytest.raises(FedfrError, match=r"found 40 strangers; .* the best rate they prove is 0\.07"):
            recognizer.calibrate(0.05)
        assert recognizer.calibration() == before
        assert recognizer.gallery.settings.fpir == FPIR
        assert recognizer.calibrate(0.05, strangers=tiny_faces(60, 1, seed=3)) is not None
        check_thresholds(recognizer)
        assert recognizer.status().strangers == 60


def test_nothing_is_created_with_too_few_strangers_or_a_bad_model(tmp_path: Path) -> None:
    model, few = save_tiny_model(tmp_path / "model.safetensors"), tiny_faces(20, 1)
    (tmp_path / "text.safetensors").write_text("no model", encoding="utf-8")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    enough: dict[str, Any] = {"model": model, "strangers": few, "quality": "off", "fpir": 0.2}
    for folder, change, message in (
        ("door", {"fpir": 0.1}, "found 20 strangers"),
        ("door", {"fpir": 1.5}, "fpir"),
        ("door", {"model": tmp_path / "none.safetensors"}, "does not exist"),
        ("door", {"model": tmp_path / "text.safetensors"}, "text.safetensors"),
        ("door", {"strangers": tmp_path / "nobody"}, "nobody"),
        ("door", {"quality": "good"}, "quality"),
        ("door", {"detector": model}, "not a known detector"),
        ("door", {"liveness": "no_such_module:check"}, "no_such_module"),
        ("door", {"passphrase": "short"}, "passphrase"),
        ("full", {}, "not empty"),
    ):
        with pytest.raises(FedfrError, match=message):
            Recognizer.create(tmp_path / folder, **{**enough, **change})
        assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "model.safetensors", "text.safetensors"]


def test_scores_can_be_normalized_with_a_cohort(tmp_path: Path) -> None:
    door = make_door(tmp_path, cohort=True)
    with door.open() as recognizer:
        enrol(recognizer, door, 0, 1)
        found = recognizer.calibration()
        assert found is not None
        assert found.normalization == "as-norm"
        decision = recognizer.identify(door.photos(1)[5], aligned=True)
        assert (decision.outcome, decision.person) == (ACCEPT, "person 1")
        assert decision.score is not None
        assert decision.score > 1, "not a cosine"
        assert recognizer.verify("person 0", door.photos(0)[5], aligned=True).accepted
        assert recognizer.identify(door.photos(4)[5], aligned=True).outcome == REJECT


def test_threads_decide_while_people_come_and_go(door: Door) -> None:
    """People who stay are always accepted and strangers never, during changes by other threads."""
    wrong: list[object] = []
    with door.open() as recognizer, door.open() as other:
        enrol(recognizer, door, 0)
        stop = threading.Event()

        def decide(person: int, expected: set[str | None]) -> None:
            while not stop.is_set():
                decision = recognizer.identify(door.photos(person)[5], aligned=True)
                if decision.person not in expected:
                    wrong.append(decision)

        threads = [
            threading.Thread(target=decide, args=(person, expected))
            for person, expected in ((0, {"person 0"}), (1, {"person 1", None}), (5, {None}))
        ]
        for thread in threads:
            thread.start()
        for _ in range(2):
            enrol(other, door, 1)
            enrol(recognizer, door, 2)
            recognizer.remove("person 1")
            other.remove("person 2")
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
