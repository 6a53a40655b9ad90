"""Drift: decisions of a door compared with its calibration, window by window, with a stated rate of false alarms.

Windows are 200 numbers of the journal each, so that looking more often gives no more alarms. The newest full window is
judged by three tests; a *watch* is a false alarm in at most 1 of 100 windows, *recalibrate* in at most 1 of 10 000.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, kolmogorov, stdtr

from fedfr.recognition.calibration.calibration_record import Calibration

__all__ = ["WINDOW", "DriftFinding", "DriftReport", "Judged", "Level", "find_drift"]

Level: TypeAlias = Literal["ok", "watch", "recalibrate"]
WINDOW = 200
ALARMS: tuple[tuple[Level, float], ...] = (("recalibrate", 1e-4), ("watch", 1e-2))
"""Levels with the share of windows in which they are false alarms, over all tests together."""
TESTS = 3
FEWEST_SCORES, FEWEST_PEOPLE = 20, 5
# Scores in the journal are rounded to hundredths.
SMALLEST_CHANGE = 0.005
# Of rejected faces only those below this quantile of the strangers' scores are compared. Above it are enrolled people
# whose image was poor; how many there are depends on who comes to the door.
BODY = 0.75
# Reasons for which a face is not judged that say nothing about images.
NOT_ABOUT_IMAGES = frozenset(
    ("ambiguous", "nobody-enrolled", "not-calibrated", "settings-changed", "space-changed", "needs-photo", "locked-out")
)

ADVICE = {
    "no-decisions": "check the camera, its lens and the light",
    "strangers": "the promised rate may be wrong: calibrate with strangers photographed by this camera",
    "own": "enrol newer photos of the people, taken by this camera",
}


class Judged(Protocol):
    """What is needed of an entry of the journal; ``person`` is a pseudonym."""

    @property
    def number(self) -> int: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def outcome(self) -> str: ...  # noqa: D102
    @property
    def person(self) -> str | None: ...  # noqa: D102
    @property
    def score(self) -> float | None: ...  # noqa: D102
    @property
    def reasons(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def calibration(self) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class DriftFinding:
    """Result of one test: its level, its p-value (None with too few decisions), and what it found."""

    test: str
    level: Level
    p: float | None
    text: str


@dataclass(frozen=True)
class DriftReport:
    """State of the newest full window of decisions; ``level`` is the worst of the findings.

    ``first`` and ``last`` are the numbers of the journal's entries in the window, 0 if there is no full one yet.
    """

    level: Level
    text: str
    findings: tuple[DriftFinding, ...] = ()
    decisions: int = 0
    first: int = 0
    last: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def find_drift(
    calibration: Calibration, entries: Iterable[Judged], pseudonyms: Mapping[str, str] | None = None
) -> DriftReport:
    """Compare the journal's decisions in the newest full window with ``calibration``.

    ``entries`` are those of the journal, in any order; ``pseudonyms`` maps the pseudonym of every enrolled person to
    the id. Three tests: the share of faces that could not be judged, against all windows before; the scores of rejected
    faces against the strangers of the calibration (Kolmogorov-Smirnov, below the strangers' upper quartile); the scores
    of accepted people against the genuine scores of the same people (t-test over people, lower only). Scores are
    compared only if they were made under this calibration. The tests take decisions as independent: many frames of one
    visit give false alarms, unless the frames are one decision, as in ``fedfr watch``.
    """
    judged = sorted((entry for entry in entries if entry.kind in {"identify", "verify"}), key=lambda each: each.number)
    newest = (judged[-1].number + 1) // WINDOW if judged else 0
    first, stop = (newest - 1) * WINDOW, newest * WINDOW
    window = [entry for entry in judged if first <= entry.number < stop]
    if newest < 1 or not window:
        seen = sum(entry.number >= stop for entry in judged)
        return DriftReport("ok", f"too few decisions to judge: {seen} in the journal's window of {WINDOW} entries")
    before = [entry for entry in judged if entry.number < first]
    scored = [
        entry
        for entry in window
        if entry.kind == "identify" and entry.score is not None and entry.calibration == calibration.id
    ]
    findings = (
        _no_decisions(window, before),
        _strangers(calibration, [entry.score for entry in scored if entry.outcome == "reject"]),
        _own(calibration, [entry for entry in scored if entry.outcome == "accept"], pseudonyms or {}),
    )
    level: Level = next((level for level, _ in ALARMS if any(each.level == level for each in findings)), "ok")
    alarms = [f"{each.text}; {ADVICE[each.test]}" for each in findings if each.level != "ok"]
    text = "; ".join(alarms) if alarms else _agreement(sum(each.p is not None for each in findings))
    return DriftReport(level, text, findings, len(window), first, stop - 1)


def _agreement(compared: int) -> str:
    """Return a sentence for a window without alarms, in which so many tests had enough decisions."""
    if compared == 0:
        return "too few decisions to compare them with the calibration"
    enough = "" if compared == TESTS else f" ({compared} of {TESTS} comparisons had enough decisions)"
    return f"recent decisions agree with the calibration{enough}"


def _finding(test: str, p: float | None, text: str) -> DriftFinding:
    level: Level = "ok"
    if p is not None:
        level = next((level for level, share in ALARMS if p <= share / TESTS), "ok")
    return DriftFinding(test, level, p, text)


def _no_decisions(window: Sequence[Judged], before: Sequence[Judged]) -> DriftFinding:
    """Compare the share of faces that could not be judged: Fisher's exact test, more than before only."""
    counts = []
    for part in (window, before):
        images = [each for each in part if not NOT_ABOUT_IMAGES.intersection(each.reasons)]
        counts.append((sum(each.outcome == "no-decision" for each in images), len(images)))
    (bad, total), (bad_before, total_before) = counts
    if min(total, total_before) < FEWEST_SCORES:
        return _finding("no-decisions", None, "too few decisions to compare the share of faces that cannot be judged")
    p = _more(bad, total, bad_before, total_before)
    text = f"{bad / total:.0%} of faces could not be judged, {bad_before / total_before:.0%} before"
    return _finding("no-decisions", p, text)


def _strangers(calibration: Calibration, rejected: Sequence[float | None]) -> DriftFinding:
    """Compare the scores of rejected faces with those of the strangers, both below a quantile of the strangers'."""
    strangers = _rounded(calibration.scores.best[0])
    limit = float(np.quantile(strangers, BODY))
    scores = np.array([score for score in rejected if score is not None and score <= limit])
    if len(scores) < FEWEST_SCORES:
        return _finding("strangers", None, "too few rejected faces to compare them with the strangers")
    expected = strangers[strangers <= limit]
    p = _different(scores, expected)
    text = (
        f"rejected faces have other scores than the strangers of the calibration (median {np.median(scores):.2f} in "
        f"place of {np.median(expected):.2f} in the lower three quarters)"
    )
    agree = "rejected faces have the scores of the strangers of the calibration"
    finding = _finding("strangers", p, text)
    return finding if finding.level != "ok" else _finding("strangers", p, agree)


def _own(calibration: Calibration, accepted: Sequence[Judged], pseudonyms: Mapping[str, str]) -> DriftFinding:
    """Compare every accepted person's mean score with that of the person's genuine scores above the threshold."""
    value, recent = (
        calibration.identify.value,
        _by_person((pseudonyms.get(entry.person or "", ""), entry.score) for entry in accepted),
    )
    genuine = _by_person(
        (calibration.persons[row], score)
        for row, score in zip(calibration.own_rows.tolist(), _rounded(calibration.own).tolist(), strict=True)
        if score > value
    )
    people = sorted(recent.keys() & genuine.keys())
    if len(people) < FEWEST_PEOPLE:
        return _finding("own", None, "too few people with genuine scores were accepted to compare them")
    changes = np.array([np.mean(recent[person]) - np.mean(genuine[person]) for person in people])
    error = max(float(changes.std(ddof=1)), SMALLEST_CHANGE) / len(people) ** 0.5
    p = float(stdtr(len(people) - 1, changes.mean() / error))
    text = f"accepted people score {changes.mean():+.2f} against the calibration (mean of {len(people)} people)"
    return _finding("own", p, text)


def _more(bad: int, total: int, bad_before: int, total_before: int) -> float:
    """Return the p-value of a higher share than before (Fisher's exact test)."""
    everyone, all_bad = total + total_before, bad + bad_before
    counts = np.arange(bad, min(total, all_bad) + 1)
    ways = [_log_choices(all_bad, counts), _log_choices(everyone - all_bad, total - counts)]
    return min(1.0, float(np.exp(sum(ways) - _log_choices(everyone, np.array(total))).sum()))


def _log_choices(count: int, chosen: NDArray[np.int64]) -> Any:
    return gammaln(count + 1) - gammaln(chosen + 1) - gammaln(count - chosen + 1)


def _different(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the p-value of different distributions (Kolmogorov-Smirnov, asymptotic; too high with equal scores)."""
    places = np.concatenate([one, other])
    shares = [np.searchsorted(np.sort(each), places, side="right") / len(each) for each in (one, other)]
    size = len(one) * len(other) / len(places)
    return float(kolmogorov(size**0.5 * np.abs(shares[0] - shares[1]).max()))


def _by_person(scores: Iterable[tuple[str, float | None]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for person, score in scores:
        if person and score is not None:
            found.setdefault(person, []).append(score)
    return found


def _rounded(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return scores rounded as in the journal."""
    return scores.astype(np.float64).round(2)
