"""Galleries of enrolled people, calibrated with some strangers and tested with others; judgement and table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, fisher_exact

from fedfr.recognition import Calibration, GenuineProbes, calibrate
from fedfr.recognition.matcher import Matcher
from fedfr.reporting.table import markdown_table
from fedfr.results.intervals import holm

__all__ = ["FIXED", "PROMISE", "Gallery", "Trial", "judge", "promise_table", "run_trial"]

PROMISE = 0.01
LEVEL = 0.01
# A threshold as other software has it.
FIXED = 0.4

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Gallery:
    """Features of the people of one gallery: images for templates, held-out ones to calibrate, others to test.

    Each maps a person to unit features (n, D).
    """

    enrolled: Mapping[str, Floats]
    held_out: Mapping[str, Floats]
    tested: Mapping[str, Floats]


@dataclass(frozen=True)
class Trial:
    """Result of one gallery: tested strangers who passed and own images rejected (FNIR), against the calibration."""

    model: str
    enrolled: int
    calibrated_on: str
    normalization: str
    promise: float
    calibration_strangers: int
    tested: int
    passed: int
    passed_fixed: int
    verified: float
    own_images: int
    own_rejected: float
    own_expected: float
    own_low: float
    own_high: float

    @property
    def share(self) -> float:
        """Share of the tested strangers that passed."""
        return self.passed / self.tested

    @property
    def p_value(self) -> float:
        """Exact probability of so many or more strangers if the promise is kept."""
        return float(binomtest(self.passed, self.tested, self.promise, alternative="greater").pvalue)

    @property
    def own_inside(self) -> bool:
        """Whether the rejected share of the tested own images lies within the calibration's interval."""
        return self.own_low <= self.own_rejected <= self.own_high

    @property
    def own_p_value(self) -> float:
        """Fisher's exact probability of so different shares in both halves of the own images.

        Both halves count as many images as the tested one, the smaller, and each image as independent evidence. The
        shares are means over people, which scatter more, so that the test finds rather too many differences.
        """
        counts = [round(share * self.own_images) for share in (self.own_rejected, self.own_expected)]
        return float(fisher_exact([[count, self.own_images - count] for count in counts]).pvalue)


def run_trial(
    model: str,
    gallery: Gallery,
    strangers: Floats,
    tested: Floats,
    *,
    calibrated_on: str = "strangers",
    cohort: Floats | None = None,
    promise: float = PROMISE,
) -> Trial:
    """Calibrate a gallery with ``strangers`` (S, D) and count who of ``tested`` (T, D), other people, passes."""
    people = list(gallery.enrolled)
    templates = np.stack([_unit(gallery.enrolled[person].mean(axis=0)) for person in people])
    held_out = [(person, row) for person in people for row in gallery.held_out[person]]
    probes = GenuineProbes(np.stack([row for _, row in held_out]), tuple(person for person, _ in held_out))
    found = calibrate(templates, people, strangers, fpir=promise, genuine=probes, cohort=cohort)
    assert found.genuine is not None
    scores = _scores(tested, templates, cohort)
    best = scores.max(axis=1)
    missed = {
        person: [not _accepted(found, place, row) for row in _scores(gallery.tested[person], templates, cohort)]
        for place, person in enumerate(people)
        if len(gallery.tested[person])
    }
    return Trial(
        model=model,
        enrolled=len(people),
        calibrated_on=calibrated_on,
        normalization=found.normalization,
        promise=promise,
        calibration_strangers=len(strangers),
        tested=len(tested),
        passed=int((best > found.identify.value).sum()),
        passed_fixed=int(((tested @ templates.T).max(axis=1) > FIXED).sum()),
        verified=round(float((scores > found.scores.verify).mean()), 6),
        own_images=sum(map(len, missed.values())),
        own_rejected=round(fmean(fmean(each) for each in missed.values()), 6),
        own_expected=round(found.genuine.rate, 6),
        own_low=round(found.genuine.low, 6),
        own_high=round(found.genuine.high, 6),
    )


def judge(trials: Sequence[Trial]) -> dict[str, Any]:
    """Return mean and highest share of strangers that passed, and how many galleries break the promise.

    A gallery breaks it if the exact binomial test rejects the promise at 1 %, corrected by Holm's method for the number
    of galleries. In the same way, the share of rejected own images differs from the calibration's if Fisher's exact
    test of the two halves says so.
    """
    adjusted = holm([trial.p_value for trial in trials])
    own = holm([trial.own_p_value for trial in trials])
    return {
        "galleries": len(trials),
        "mean": fmean(trial.share for trial in trials),
        "highest": max(trial.share for trial in trials),
        "broken": sum(p <= LEVEL for p in adjusted),
        "fixed": fmean(trial.passed_fixed / trial.tested for trial in trials),
        "verified": fmean(trial.verified for trial in trials),
        "own_rejected": fmean(trial.own_rejected for trial in trials),
        "own_expected": fmean(trial.own_expected for trial in trials),
        "own_differ": sum(p <= LEVEL for p in own),
        "own_inside": sum(trial.own_inside for trial in trials),
    }


def promise_table(content: Mapping[str, Any]) -> str:
    """Return the table of kept results, one row per model, calibration and number of people."""
    trials = [Trial(**each) for each in content["trials"]]
    groups: dict[tuple[str, str, int], list[Trial]] = {}
    for trial in trials:
        model = trial.model if trial.normalization == "none" else f"{trial.model}, {trial.normalization}"
        groups.setdefault((model, trial.calibrated_on, trial.enrolled), []).append(trial)
    head = [
        "model",
        "calibrated on",
        "people",
        "galleries",
        "strangers passing: mean",
        "highest",
        "promise broken",
        f"at cosine {FIXED}",
        "FNIR tested",
        "FNIR as calibrated",
        "FNIR differs",
        "within interval",
    ]
    rows = []
    for (model, calibrated_on, people), members in groups.items():
        found = judge(members)
        rows.append(
            [
                model,
                calibrated_on,
                str(people),
                str(found["galleries"]),
                _percent(found["mean"], found["mean"] > members[0].promise),
                _percent(found["highest"]),
                f"**{found['broken']}**" if found["broken"] else "0",
                _percent(found["fixed"]),
                _percent(found["own_rejected"]),
                _percent(found["own_expected"]),
                f"**{found['own_differ']}**" if found["own_differ"] else "0",
                f"{found['own_inside']} of {found['galleries']}",
            ]
        )
    honest = judge([trial for trial in trials if trial.calibrated_on == "strangers"])
    about = (
        f"All galleries calibrated on strangers: {honest['broken']} of {honest['galleries']} break the promise; at the "
        f"thresholds for verification, {_percent(honest['verified'])} of strangers pass as a given person. Their mean "
        f"FNIR is {_percent(honest['own_rejected'])}, as calibrated {_percent(honest['own_expected'])}; it differs in "
        f"{honest['own_differ']} of them, and is strictly within its interval in {honest['own_inside']}.\n\n"
        f"`{content['command']}`; {content['machine']}, {content['date']}, commit {content['commit']}"
    )
    return f"{markdown_table(head, rows)}\n\n{about}"


def _accepted(found: Calibration, place: int, scores: Floats) -> bool:
    """Whether an image with these scores is accepted as the person in this place."""
    others = np.delete(scores, place)
    second = float(others.max()) if len(others) else None
    best = float(scores[place])
    return best > found.identify.value and (second is None or best > second) and not found.ambiguous(best, second)


def _scores(probes: Floats, templates: Floats, cohort: Floats | None) -> Floats:
    return Matcher(templates, cohort).scores(probes)


def _unit(feature: Floats) -> Floats:
    scaled: Floats = feature / np.linalg.norm(feature)
    return scaled


def _percent(share: float, bold: bool = False) -> str:
    text = f"{100 * share:.2f} %"
    return f"**{text}**" if bold else text
