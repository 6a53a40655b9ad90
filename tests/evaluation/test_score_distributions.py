"""Score distributions: agree with the metrics of the protocols to within a bin, and their counts add up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedfr.config.schema import EvaluationConfig
from fedfr.evaluation import PROTOCOLS, RATES, SCORES, ScoreCounts
from fedfr.results.curve_records import Curve, curve_from
from fedfr.results.stored_records import records_of

PEOPLE, IMAGES, DIMENSIONS = 30, 12, 16
CONFIG = EvaluationConfig(fars=(0.1, 0.01, 0.001), fpirs=(0.5, 0.2, 0.1))


def faces(noise: float = 1.1) -> dict[str, Any]:
    """Features of 30 people; those of a third are the client's own, half of their images the gallery."""
    draw = np.random.default_rng(7)
    centres = draw.normal(size=(PEOPLE, 1, DIMENSIONS))
    features = (centres + noise * draw.normal(size=(PEOPLE, IMAGES, DIMENSIONS))).astype(np.float32)
    labels = np.repeat(np.arange(PEOPLE), IMAGES)
    enrolled = (labels < 10) & (np.arange(len(labels)) % 2 == 0)
    flat = features.reshape(-1, DIMENSIONS)
    return {
        "features": flat[~enrolled],
        "labels": labels[~enrolled],
        "own": labels[~enrolled] < 10,
        "gallery_features": flat[enrolled],
        "gallery_labels": labels[enrolled],
    }


def given(protocol: str) -> dict[str, Any]:
    everything = faces()
    return everything if protocol.startswith("personalized") else {k: everything[k] for k in ("features", "labels")}


@pytest.mark.parametrize("protocol", SCORES.names)
def test_curves_pass_through_the_metrics(protocol: str) -> None:
    counts = SCORES[protocol](**given(protocol))
    assert counts is not None
    metrics = {measured.name: measured for measured in PROTOCOLS[protocol](**given(protocol), config=CONFIG)}
    compared = 0
    for name, rates in (("TAR@FAR", CONFIG.fars), ("TPIR@FPIR", CONFIG.fpirs)):
        for rate, value in zip(rates, counts.accepted(rates), strict=True):
            measured = metrics.get(f"{name}={rate:.0e}".replace("e-0", "e-"))
            if measured is None:
                continue
            # What a bin of 0.001 holds: a handful of this protocol's genuine scores.
            assert (measured.value is None) == (value is None)
            if value is not None and measured.value is not None:
                assert value == pytest.approx(measured.value, abs=0.02)
                assert 0.05 < value < 1
                compared += 1
            assert int(counts.genuine.sum()) + counts.missed == measured.genuine
            assert int(counts.impostor.sum()) == measured.impostor
    assert compared >= 2


def test_probes_that_another_template_beats_are_never_accepted() -> None:
    counts = SCORES["personalized-1:N"](**faces())
    assert counts is not None
    rank_one = next(f for f in PROTOCOLS["personalized-1:N"](**faces(), config=CONFIG) if f.name == "rank-1")
    assert counts.missed > 0
    assert counts.accepted([1.0]) == [pytest.approx(rank_one.value)]


def test_points_with_too_few_impostors_are_refused() -> None:
    hundred = np.zeros(2001, np.int64)
    hundred[1500] = 100
    counts = ScoreCounts(hundred, hundred)
    assert counts.accepted([0.5, 0.1, 0.099]) == [0.0, 0.0, None]
    assert counts.accepted([1.0]) == [1.0]
    assert counts.accepted([0.5], minimum=51) == [None]
    assert replace(counts, genuine=0 * hundred, missed=4).accepted([0.5]) == [0.0]
    assert replace(counts, genuine=0 * hundred).accepted([0.5]) == [None]


def test_clients_are_averaged_and_refused_together() -> None:
    good, bad, impostor = (np.zeros(2001, np.int64) for _ in range(3))
    good[1900], bad[100], impostor[1000] = 8, 8, 1000
    context: dict[str, Any] = {"method": "m", "seed": 1, "round": 2, "model": "generic", "protocol": "p"}
    context["round_number"] = context.pop("round")
    both = curve_from([ScoreCounts(good, impostor), ScoreCounts(bad, impostor)], **context, clients=2)
    assert both.accepted[RATES.index(0.1)] == pytest.approx(0.5, abs=0.06)
    assert both.accepted[RATES.index(1e-3)] is None
    assert (sum(both.genuine), sum(both.impostor)) == (16, 2000)
    assert (both.genuine[380], both.genuine[20], both.impostor[200]) == (8, 8, 2000)
    few = curve_from([ScoreCounts(good, impostor), ScoreCounts(good, impostor // 100)], **context, clients=2)
    assert few.accepted[RATES.index(0.1)] is None
    assert records_of(Curve, [both.to_dict()], "here") == [both]


def test_a_score_of_one_counts_in_the_last_bin() -> None:
    counts = SCORES["generic-1:1"](features=np.ones((3, 4), np.float32), labels=np.array([0, 0, 1]))
    assert counts is not None
    curve = curve_from([counts], method="m", seed=0, round_number=0, model="generic", protocol="p", clients=0)
    assert (curve.genuine[-1], curve.impostor[-1], len(curve.genuine)) == (1, 2, 400)
