"""Calibration of a gallery against its definition, after changes, and with planted people."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.support.drawn_people import People, names, unit

from fedfr import FedfrError
from fedfr.evaluation.score_normalization import cohort_statistics
from fedfr.recognition import Calibration, GenuineProbes, calibrate, leave_one_out
from fedfr.recognition.calibration.provable_rates import rank_for

RATE, STRANGERS = 0.02, 300
RANK = rank_for(STRANGERS, RATE)


def scores_by_definition(
    probes: NDArray[np.float32], templates: NDArray[np.float32], cohort: object
) -> NDArray[np.float32]:
    found: NDArray[np.float32] = probes @ templates.T
    if cohort is not None:
        cohort_statistics(probes, cohort).apply(cohort_statistics(templates, cohort), found)  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize("normalized", [False, True])
def test_thresholds_are_the_order_statistics_of_the_strangers_in_this_gallery(normalized: bool) -> None:
    people = People(1)
    templates, strangers = people.templates(people.centres(12)), people.images(people.centres(STRANGERS))
    cohort = people.images(people.centres(60)) if normalized else None
    found = calibrate(templates, names(12), strangers, fpir=RATE, cohort=cohort, space="s")
    scores = scores_by_definition(strangers, templates, cohort)
    ordered = np.sort(scores, axis=0)[-RANK]
    assert found.identify.value == pytest.approx(np.sort(scores.max(axis=1))[-RANK], abs=2e-5)
    assert [found.verify[person].value for person in names(12)] == pytest.approx(ordered.tolist(), abs=2e-5)
    # The strangers of the calibration, seen again one by one, pass as often as it says.
    alone = np.array([scores_by_definition(face[None], templates, cohort).max() for face in strangers])
    assert (alone > found.identify.value).sum() == found.identify.passing == RANK - 1
    assert {threshold.passing for threshold in found.verify.values()} == {RANK - 1}
    assert found.strangers_passing().to_json()["enrolled"] == 12
    assert found.strangers_passing(names(1)[0]).enrolled == 1
    assert (found.normalization, found.space, found.genuine, found.llr) == (
        "as-norm" if normalized else "none",
        "s",
        None,
        None,
    )


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "change"]), st.integers(0, 99)), min_size=1, max_size=4))
def test_update_after_changes_equals_a_new_calibration(changes: list[tuple[str, int]]) -> None:
    people = People(2)
    strangers = people.images(people.centres(STRANGERS))
    gallery = dict(zip(names(6), people.templates(people.centres(6)), strict=True))
    previous: Calibration | None = None
    for step, (kind, place) in enumerate([("none", 0), *changes]):
        person = list(gallery)[place % len(gallery)]
        if kind == "remove" and len(gallery) > 1:
            del gallery[person]
        elif kind in {"add", "change"}:
            gallery[f"new {step}" if kind == "add" else person] = people.templates(people.centres(1))[0]
        given_now = (np.stack(list(gallery.values())), list(gallery), strangers)
        fresh = calibrate(*given_now, fpir=RATE, created="now")
        updated = calibrate(*given_now, fpir=RATE, created="now", previous=previous)
        assert updated.identify.value == pytest.approx(fresh.identify.value, abs=2e-5)
        assert np.allclose(updated.scores.verify, fresh.scores.verify, atol=2e-5)
        assert np.allclose(updated.scores.best, fresh.scores.best, atol=1e-6)
        assert (updated.scores.rows == fresh.scores.rows).all()
        assert (updated.persons, updated.templates) == (fresh.persons, fresh.templates)
        assert updated.margin == pytest.approx(fresh.margin, abs=1e-5)
        previous = updated


def test_other_strangers_or_another_rate_are_not_taken_from_an_earlier_calibration() -> None:
    people = People(3)
    templates = people.templates(people.centres(5))
    first = calibrate(templates, names(5), people.images(people.centres(STRANGERS)), fpir=RATE)
    others = people.images(people.centres(400))
    for rate in (RATE, 0.1):
        expected = calibrate(templates, names(5), others, fpir=rate, created="now")
        assert calibrate(templates, names(5), others, fpir=rate, created="now", previous=first).id == expected.id


@pytest.mark.parametrize("enrolled", [1, 7])
def test_json_gives_the_same_calibration_and_damage_is_refused(enrolled: int) -> None:
    people = People(4)
    centres = people.centres(enrolled)
    probes = GenuineProbes(people.images(centres, 2), tuple(np.repeat(names(enrolled), 2).tolist()))
    found = calibrate(
        people.templates(centres), names(enrolled), people.images(people.centres(STRANGERS)), fpir=RATE, genuine=probes
    )
    stored = json.loads(json.dumps(found.to_json(), allow_nan=False))
    again = Calibration.from_json(stored)
    assert again.to_json() == stored
    assert (again.id, again.identify, again.genuine, again.llr) == (found.id, found.identify, found.genuine, found.llr)
    assert again.verify == found.verify
    assert again.summary() == json.loads(json.dumps(found.summary(), allow_nan=False))
    histograms = again.histograms
    assert len(histograms["edges"]) == 61
    assert (sum(histograms["strangers"]), sum(histograms["own"])) == (STRANGERS, 2 * enrolled)
    limit = int(np.argmin(np.abs(np.subtract(histograms["edges"], found.identify.value))))
    assert sum(histograms["strangers"][limit:]) == found.identify.passing, "no bin is on both sides of the threshold"
    for key in stored:
        with pytest.raises(FedfrError, match=r"stored calibration .*; calibrate again"):
            Calibration.from_json({name: value for name, value in stored.items() if name != key})
    changed = {**stored, "identify": {**stored["identify"], "value": 0.01}}
    with pytest.raises(FedfrError, match="does not match its hash"):
        Calibration.from_json(changed)


def test_own_images_are_judged_at_both_thresholds_and_taken_for_nobody_else() -> None:
    people = People(5)
    centres = people.centres(4)
    templates = people.templates(centres)
    good, far = people.images(centres[:2], 3), people.images(people.centres(1), 3)
    swapped = templates[[3]]  # An image of the third person that looks exactly like the fourth.
    probes = GenuineProbes(np.concatenate([good, far, swapped]), tuple(np.repeat(names(3), [3, 3, 4]).tolist()))
    found = calibrate(templates, names(4), people.images(people.centres(STRANGERS)), fpir=RATE, genuine=probes)
    assert found.genuine is not None
    assert found.llr is not None
    assert (found.genuine.images, found.genuine.people, found.genuine.source) == (10, 3, "held-out")
    assert found.genuine.rate == pytest.approx(1 / 3)
    assert found.genuine.low < 1 / 3 < found.genuine.high
    assert found.llr(0.99) > 0 > found.llr(-0.5)


def test_leave_one_out_never_compares_an_image_with_its_own_template() -> None:
    people = People(6, noise=3.0)
    centres = people.centres(8)
    photos, owners = people.images(centres, 3), np.repeat(names(8), 3).tolist()
    lone = people.images(people.centres(1))
    probes = leave_one_out(np.concatenate([photos, lone]), [*owners, "lone"])
    assert probes is not None
    assert probes.templates is not None
    assert probes.people == tuple(owners)
    expected = unit(photos[1:3].mean(axis=0, keepdims=True))[0]
    assert probes.templates[0] == pytest.approx(expected, abs=1e-6)
    means = unit(photos.reshape(8, 3, -1).mean(axis=1))
    strangers = people.images(people.centres(STRANGERS))
    honest = calibrate(means, names(8), strangers, fpir=RATE, genuine=probes)
    flattering = calibrate(means, names(8), strangers, fpir=RATE, genuine=GenuineProbes(photos, tuple(owners)))
    assert honest.genuine is not None
    assert flattering.genuine is not None
    assert honest.genuine.source == "leave-one-out"
    assert honest.genuine.rate > flattering.genuine.rate + 0.3
    assert leave_one_out(lone, ["lone"]) is None


def test_somebody_whom_strangers_resemble_is_named_and_twins_are_ambiguous() -> None:
    people = People(7)
    strangers = people.images(people.centres(STRANGERS))
    templates = people.templates(people.centres(9))
    templates[4] = unit(strangers[:3].mean(axis=0, keepdims=True))[0]
    templates[6] = unit(templates[[5]] + 0.1 * people.centres(1))[0]
    found = calibrate(templates, names(9), strangers, fpir=RATE)
    assert found.attracting[0].person == names(9)[4]
    assert found.attracting[0].passing == found.identify.passing
    scores = templates @ templates[5]
    assert found.ambiguous(scores[5], scores[6])
    assert not found.ambiguous(scores[5], np.sort(scores)[-3])
    assert not found.ambiguous(scores[5], None)
    # Their own images are not accepted, so they count as rejected; as one given person both are verified.
    probes = GenuineProbes(
        np.concatenate([templates[:4], templates[5:7]]), tuple(names(9)[row] for row in (0, 1, 2, 3, 5, 6))
    )
    judged = calibrate(templates, names(9), strangers, fpir=RATE, genuine=probes)
    assert judged.genuine is not None
    assert judged.genuine_verify is not None
    assert judged.genuine.rate == pytest.approx(2 / 6)
    assert judged.genuine_verify.rate == 0


def test_what_cannot_be_calibrated_is_refused() -> None:
    people = People(8)
    templates, strangers = people.templates(people.centres(3)), people.images(people.centres(STRANGERS))
    bad = strangers.copy()
    bad[7, 0] = np.nan
    probe = GenuineProbes(templates[:1], ("nobody",))
    for change, message in (
        ({"templates": templates[:0], "persons": []}, "nobody is enrolled"),
        ({"persons": ["a", "a", "b"]}, "3 templates for 2 different of 3 persons"),
        ({"strangers": strangers[:, :9]}, "strangers of 9 dimensions for templates of 48"),
        ({"strangers": strangers[:50]}, r"found 50 strangers; the rate 0.02 with 95 % confidence needs 149"),
        ({"strangers": bad}, "strangers' features row 7 holds NaN"),
        ({"strangers": np.concatenate([strangers, strangers[9:10]])}, "strangers 9 and 300 are the same image"),
        ({"cohort": strangers[:, :9]}, "a cohort of 9 dimensions for templates of 48"),
        ({"cohort": strangers[5:90]}, "stranger 5 is in the cohort as well"),
        ({"genuine": probe}, "genuine probes are of person 'nobody', who is not enrolled"),
        ({"fpir": 0}, "fpir = 0"),
    ):
        with pytest.raises(FedfrError, match=message):
            calibrate(**{"templates": templates, "persons": names(3), "strangers": strangers, "fpir": RATE, **change})  # type: ignore[arg-type]
    found = calibrate(templates, names(3), strangers, fpir=RATE)
    with pytest.raises(FedfrError, match="person 'x' is not among the 3 of this calibration"):
        found.verification("x")
    with pytest.raises(FedfrError, match="give one template per probe"):
        replace(probe, templates=templates)
