"""Drift: few false alarms however often one looks, and planted changes are found."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from tests.support.drawn_people import People, names

from fedfr.recognition import Calibration, DriftReport, GenuineProbes, calibrate, find_drift
from fedfr.recognition.calibration import drift

ENROLLED = 12
NAMES = names(ENROLLED)


@dataclass(frozen=True)
class Entry:
    number: int
    kind: str
    outcome: str
    person: str | None = None
    score: float | None = None
    reasons: tuple[str, ...] = ()
    calibration: str = ""


class Door:
    """A door at which enrolled people, some more often than others, and strangers appear."""

    def __init__(self, seed: int) -> None:
        self.people = People(seed, noise=0.5)
        self.generator = np.random.default_rng(seed)
        centres = self.people.centres(ENROLLED)
        self.centres, self.templates = centres, self.people.templates(centres)
        probes = GenuineProbes(self.people.images(centres, 4), tuple(np.repeat(names(ENROLLED), 4).tolist()))
        strangers = self.people.images(self.people.centres(400))
        self.calibration: Calibration = calibrate(self.templates, names(ENROLLED), strangers, fpir=0.02, genuine=probes)
        self.often = self.generator.dirichlet(np.full(ENROLLED, 0.7))
        self.pseudonyms = {name[::-1]: name for name in names(ENROLLED)}
        self.entries: list[Entry] = []

    def visits(
        self,
        count: int,
        *,
        unjudged: float = 0.05,
        own: float = 0.6,
        change: Callable[[NDArray[np.float32]], NDArray[np.float32]] = lambda scores: scores,
        own_change: float = 0.0,
    ) -> None:
        """Let so many faces appear; ``change`` alters strangers' scores, ``own_change`` is added to genuine ones."""
        mated = self.generator.random(count) < own
        who = self.generator.choice(ENROLLED, count, p=self.often)
        faces = self.people.images(np.where(mated[:, None], self.centres[who], self.people.centres(count)))
        scores = faces @ self.templates.T
        best = scores.max(axis=1)
        best = np.where(mated, best + own_change, change(best))
        for score, row, bad in zip(best, scores.argmax(axis=1), self.generator.random(count) < unjudged, strict=True):
            number = len(self.entries) + 1
            if bad:
                self.entries.append(Entry(number, "identify", "no-decision", reasons=("too-blurred",)))
                continue
            accepted = score > self.calibration.identify.value
            self.entries.append(
                Entry(
                    number,
                    "identify",
                    "accept" if accepted else "reject",
                    NAMES[row][::-1] if accepted else None,
                    round(float(score), 2),
                    () if accepted else ("below-threshold",),
                    self.calibration.id,
                )
            )

    def report(self) -> DriftReport:
        return find_drift(self.calibration, self.entries, self.pseudonyms)


def test_false_alarms_are_as_rare_as_stated() -> None:
    """At most 1 window of 100 is watched, at different doors, of which half have hardly any strangers."""
    alarms, windows = 0, 0
    for seed in range(50):
        door = Door(seed)
        for _ in range(4):
            door.visits(200, own=0.6 if seed % 2 else 0.85)
            found = door.report()
            windows += 1
            alarms += found.level != "ok"
            assert found.level != "recalibrate", (seed, found)
    # With a rate of 1 %, more than 6 of 200 windows have a chance of 0.4 %.
    assert windows == 200
    assert alarms <= 6


@pytest.mark.parametrize(
    ("change", "test"),
    [
        ({"unjudged": 0.25}, "no-decisions"),
        ({"change": lambda scores: scores - 0.12}, "strangers"),
        ({"change": lambda scores: 0.7 * scores}, "strangers"),
        ({"own_change": -0.08}, "own"),
    ],
)
def test_planted_changes_are_found_and_named(change: dict[str, object], test: str) -> None:
    levels = []
    for seed in range(5):
        door = Door(1000 + seed)
        door.visits(399)
        door.visits(201, **change)  # type: ignore[arg-type]
        found = door.report()
        levels.append(found.level)
        assert {each.test for each in found.findings if each.level != "ok"} <= {test}
        assert json.loads(json.dumps(found.to_json()))["level"] == found.level
    assert levels.count("recalibrate") >= 3
    assert "ok" not in levels


def test_only_full_windows_are_judged_and_looking_again_changes_nothing() -> None:
    door = Door(5)
    door.visits(150)
    assert (door.report().level, door.report().decisions) == ("ok", 0)
    assert "150 in the journal's window of 200 entries" in door.report().text
    door.visits(250)
    whole = door.report()
    assert (whole.first, whole.last) == (200, 399)
    for _ in range(198):
        door.visits(1, unjudged=1.0)
        assert door.report() == whole
    door.visits(1, unjudged=1.0)
    assert door.report().level == "recalibrate"
    # The journal forgets old entries.
    door.entries = [entry for entry in door.entries if entry.number > 390]
    assert door.report().findings[1] == find_drift(door.calibration, door.entries).findings[1]


def test_scores_of_another_calibration_and_other_entries_are_not_compared() -> None:
    door = Door(6)
    door.visits(400, change=lambda scores: 0.5 * scores)
    assert door.report().level == "recalibrate"
    other = [Entry(**{**vars(entry), "calibration": "another"}) for entry in door.entries]
    found = find_drift(door.calibration, other, door.pseudonyms)
    assert (found.level, [each.p is None for each in found.findings]) == ("ok", [False, True, True])
    assert found.text.endswith("agree with the calibration (1 of 3 comparisons had enough decisions)")
    enrolments = [Entry(entry.number, "enrol", "done") for entry in door.entries]
    assert find_drift(door.calibration, enrolments).text.startswith("too few decisions to judge: 0")
    assert find_drift(door.calibration, []).level == "ok"


def test_p_values_are_those_of_scipy() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        total, before = generator.integers(20, 300, 2).tolist()
        bad, bad_before = int(generator.integers(0, total)), int(generator.integers(0, before))
        table = [[bad, total - bad], [bad_before, before - bad_before]]
        expected = stats.fisher_exact(table, alternative="greater").pvalue
        assert drift._more(bad, total, bad_before, before) == pytest.approx(expected, rel=1e-6)
        one, other = generator.normal(0, 1, 90).round(1), generator.normal(0.2, 1, 700).round(1)
        distance = stats.ks_2samp(one, other).statistic
        assert drift._different(one, other) == pytest.approx(
            stats.kstwobign.sf(distance * (90 * 700 / 790) ** 0.5), rel=1e-6
        )
