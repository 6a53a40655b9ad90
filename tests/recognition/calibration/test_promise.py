"""The promised rate is kept for unseen strangers, and calibration with people of the training is found out.

The same as ``benchmarks/door_promise.py`` measures with real faces and trained models, with features drawn at random.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.drawn_people import People, unit

from fedfr.recognition.calibration.genuine import genuine_rate

Floats = NDArray[np.float32]

PROMISE, GALLERIES = 0.04, 20


@pytest.fixture
def galleries(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[3] / "benchmarks"))
    return importlib.import_module("door_galleries")


def trained_away(templates: Floats, public: Floats) -> NDArray[np.float64]:
    """Return a transform T trained on public people as negatives: least squares of t·T·p, close to the identity."""
    one, left = np.linalg.eigh((templates.T @ templates).astype(np.float64))
    other, right = np.linalg.eigh((public.T @ public).astype(np.float64))
    inner = left.T @ right / (np.outer(one, other) / 0.1 + 1)
    transform: NDArray[np.float64] = left @ inner @ right.T
    return transform


def test_the_promise_is_kept_and_training_people_break_it(galleries: ModuleType) -> None:
    honest, planted = [], []
    for size in (15, 60):
        for draw in range(GALLERIES):
            people = People(1000 * size + draw, dim=96)
            centres = people.centres(size)
            public, one, other = (people.images(people.centres(count)) for count in (120, 400, 1000))
            own = [people.images(centres, 4).reshape(size, 4, -1) for _ in range(3)]
            transform = trained_away(unit(own[0].mean(axis=1)), public)
            moved = [unit(each @ transform.T + 0.3 * each) for each in (*own, public, one, other)]
            gallery = galleries.Gallery(*({str(row): images for row, images in enumerate(part)} for part in moved[:3]))
            public, one, other = moved[3:]
            honest.append(galleries.run_trial("drawn", gallery, one, other, promise=PROMISE))
            planted.append(galleries.run_trial("drawn", gallery, public, other, promise=PROMISE))
    for size in (15, 60):
        found, caught = (
            galleries.judge([trial for trial in trials if trial.enrolled == size]) for trials in (honest, planted)
        )
        assert found["mean"] <= PROMISE
        assert found["broken"] == 0
        assert caught["mean"] > PROMISE
        assert caught["broken"] > 0
    everything = galleries.judge(honest)
    assert everything["verified"] <= PROMISE
    # The interval covers 95 %; the tested images add chance of their own.
    assert everything["own_inside"] >= 0.9 * everything["galleries"]


@pytest.mark.parametrize(("people", "images"), [(5, 3), (15, 4), (60, 10)])
@pytest.mark.parametrize(("rate", "agreement"), [(0.02, 0.3), (0.1, 0.05), (0.2, 0.6)])
def test_interval_of_own_images_covers_the_rate(people: int, images: int, rate: float, agreement: float) -> None:
    """People differ: a person's own rate follows a beta distribution with this correlation between images."""
    generator = np.random.default_rng(people)
    names = np.repeat(np.arange(people), images).astype(str).tolist()
    covered = 0
    for _ in range(200):
        own = generator.beta(rate * (1 / agreement - 1), (1 - rate) * (1 / agreement - 1), people)
        found = genuine_rate(generator.random(people * images) < np.repeat(own, images), names)
        assert found is not None
        covered += found.low <= rate <= found.high
    assert covered >= 184  # 95 % of 200, less three standard deviations
