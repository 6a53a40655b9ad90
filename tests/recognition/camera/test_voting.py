"""Votes over frames: one lucky frame is not enough, and two faces are not mixed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedfr.core.errors import FedfrError
from fedfr.recognition.camera.voting import Voting, trimmed_mean
from fedfr.recognition.decision import ACCEPT, NO_DECISION, REJECT, Decision, StrangersPassing

LEFT, RIGHT = (0.0, 0.0, 40.0, 40.0), (100.0, 0.0, 40.0, 40.0)
ADA = Decision(ACCEPT, person="ada", person_id="01", score=0.6, threshold=0.4, box=LEFT)
BEN = replace(ADA, person="ben", person_id="02")
NOBODY = Decision(REJECT, score=0.1, threshold=0.4, reasons=("below-threshold",), box=LEFT)
BLURRED = Decision(NO_DECISION, reasons=("too-blurred",), box=LEFT)


def outcomes(*frames: Decision, voting: Voting | None = None, step: float = 0.1) -> list[tuple[str, str | None]]:
    voting = voting or Voting(votes=3)
    given = [voting.add(step * number, [frame]) for number, frame in enumerate(frames)]
    return [(outcome.outcome, outcome.person) for frame in given for outcome in frame]


def test_three_agreeing_frames_are_one_decision() -> None:
    assert outcomes(ADA, ADA) == []
    assert outcomes(ADA, ADA, ADA, ADA, ADA) == [(ACCEPT, "ada")]
    assert outcomes(NOBODY, NOBODY) == []
    assert outcomes(NOBODY, NOBODY, NOBODY, NOBODY) == [(REJECT, None)]


def test_frames_without_a_decision_do_not_count() -> None:
    assert outcomes(*[BLURRED] * 9) == []
    assert outcomes(ADA, BLURRED, ADA, BLURRED) == []
    assert outcomes(ADA, BLURRED, ADA, BLURRED, ADA) == [(ACCEPT, "ada")]


def test_a_face_that_cannot_be_judged_for_long_is_reported_once_with_its_reasons() -> None:
    voting = Voting(votes=3, window=1.0)
    found = [outcome for number in range(30) for outcome in voting.add(0.1 * number, [BLURRED])]
    assert [(outcome.outcome, outcome.reasons) for outcome in found] == [(NO_DECISION, ("too-blurred",))]
    assert [outcome.person for number in range(30, 36) for outcome in voting.add(0.1 * number, [ADA])] == ["ada"]


def test_a_few_lucky_frames_among_many_do_not_pass() -> None:
    """Two frames of ten, and three of ten whose mean is below the threshold."""
    assert outcomes(*[NOBODY] * 4, ADA, ADA, *[NOBODY] * 4, voting=Voting(votes=3)) == [(REJECT, None)]
    lucky = replace(ADA, score=0.41)
    assert (ACCEPT, "ada") not in outcomes(NOBODY, lucky, NOBODY, lucky, NOBODY, lucky, NOBODY)


def test_two_persons_in_one_visit_are_ambiguous() -> None:
    assert outcomes(ADA, BEN, ADA, BEN, ADA, BEN, ADA, BEN) == [(NO_DECISION, None)]


def test_a_gap_ends_the_visit() -> None:
    assert outcomes(*[ADA] * 6, voting=Voting(votes=3, window=1.0), step=1.1) == []
    assert outcomes(*[ADA] * 6, voting=Voting(votes=3, window=1.0), step=0.9) == [(ACCEPT, "ada")]


def test_a_stranger_who_stays_has_one_chance() -> None:
    """Sixty frames of which every other one, or every one from the fourth on, is accepted."""
    assert outcomes(*[NOBODY, ADA] * 30) == [(REJECT, None)]
    assert outcomes(*[NOBODY] * 3, *[ADA] * 60) == [(REJECT, None)]
    assert outcomes(ADA, NOBODY, ADA, NOBODY, NOBODY, *[ADA] * 60) == [(REJECT, None)]


def test_another_person_at_the_same_place_is_another_visit() -> None:
    assert outcomes(*[ADA] * 5, *[BEN] * 3) == [(ACCEPT, "ada"), (ACCEPT, "ben")]
    assert outcomes(*[ADA] * 5, *[NOBODY] * 3, *[ADA] * 9) == [(ACCEPT, "ada"), (REJECT, None)]
    assert outcomes(*[ADA] * 5, *[NOBODY, NOBODY, ADA] * 9) == [(ACCEPT, "ada")], "two bad frames are no other person"


def test_a_change_of_the_gallery_begins_a_new_vote() -> None:
    new = [replace(frame, calibration="new") for frame in (ADA, NOBODY)]
    old = [replace(frame, calibration="old") for frame in (ADA, NOBODY)]
    assert outcomes(old[0], old[0], new[0], new[0]) == []
    assert outcomes(*[old[1]] * 3, *[new[0]] * 3) == [(REJECT, None), (ACCEPT, "ada")]
    assert outcomes(*[old[0]] * 3, *[new[1]] * 3) == [(ACCEPT, "ada"), (REJECT, None)]


def test_a_person_who_returns_is_decided_again() -> None:
    voting = Voting(votes=2, window=1.0)
    assert outcomes(ADA, ADA, voting=voting) == [(ACCEPT, "ada")]
    assert voting.add(5.0, [ADA]) == []
    assert [outcome.person for outcome in voting.add(5.1, [ADA])] == ["ada"]


def test_two_faces_are_followed_apart() -> None:
    """Also while they move, and in whatever order they are found."""
    voting, found = Voting(votes=3), []
    for number in range(4):
        ada = replace(ADA, box=(8.0 * number, 0, 40, 40))
        other = replace(NOBODY, box=(RIGHT[0] - 5.0 * number, 0, 40, 40))
        found += voting.add(0.1 * number, [ada, other] if number % 2 else [other, ada])
    assert sorted((outcome.outcome, outcome.person) for outcome in found) == [(ACCEPT, "ada"), (REJECT, None)]


def test_the_score_is_the_trimmed_mean() -> None:
    assert trimmed_mean([0.5]) == 0.5
    assert trimmed_mean([0.0, 0.5, 0.5, 0.5, 9.0]) == 0.5
    frames = [replace(ADA, score=score) for score in (0.5, 0.6, 0.7)]
    voting = Voting(votes=3)
    (outcome,) = [outcome for number, frame in enumerate(frames) for outcome in voting.add(0.1 * number, [frame])]
    assert outcome.score == pytest.approx(0.6)


def test_the_bound_is_that_of_a_visit() -> None:
    passing = StrangersPassing(0.004, 0.009, 1000, 15)
    voting = Voting(votes=3)
    for moment in range(3):
        found = voting.add(0.1 * moment, [replace(ADA, strangers_passing=passing)])
    promised = found[0].strangers_passing
    assert promised is not None
    assert (promised.estimate, promised.images) == (0.004, 5)
    assert promised.upper95 == pytest.approx(0.015)
    assert "at most 1.50 % of strangers pass in a visit" in promised.text


@given(st.lists(st.sampled_from([ADA, BEN, NOBODY, BLURRED]), max_size=25), st.integers(1, 4))
@settings(max_examples=100)
def test_an_accepted_visit_has_the_votes_among_its_first_frames(frames: list[Decision], votes: int) -> None:
    """From this the bound of a visit follows. There is one decision, until another vote contradicts an acceptance."""
    voting, vote, found = Voting(votes, window=9.0), [frame for frame in frames if frame is not BLURRED], []
    for number, frame in enumerate(frames):
        found += voting.add(0.05 * number, [frame])
    first = vote[: 2 * votes - 1]
    if len(first) == 2 * votes - 1:
        assert found
    if found and found[0].outcome == ACCEPT:
        assert sum(frame.person_id == found[0].person_id for frame in first) >= votes
        assert found[0].score is not None
        assert found[0].score > 0.4
    assert len(found) <= 1 or found[0].outcome == ACCEPT


@pytest.mark.parametrize(("votes", "window"), [(0, 1.0), (3, 0.0), (3, float("nan")), (3, float("inf"))])
def test_settings_out_of_range_are_refused(votes: int, window: float) -> None:
    with pytest.raises(FedfrError):
        Voting(votes, window)
