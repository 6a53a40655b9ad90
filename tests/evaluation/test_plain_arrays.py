"""Verification, identification and template evaluation of plain arrays: one documented call each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from fedfr.core.errors import FedfrError
from fedfr.evaluation import Metric, identify, media_templates, verify, verify_pairs, verify_templates

GENERATOR = np.random.default_rng(5)
LABELS = np.repeat(np.arange(12), 5)
FEATURES = np.eye(12)[LABELS] + GENERATOR.normal(0, 0.35, (60, 12))
ENROLLED = (LABELS < 6) & (np.arange(60) % 2 == 0)
SAME = np.tile([True, False], 30)
Call = Callable[..., list[Metric]]


def unit(rows: Any) -> Any:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_verify_is_the_tar_over_all_pairs() -> None:
    scores = (unit(FEATURES) @ unit(FEATURES).T).astype(np.float32)
    rows, columns = np.triu_indices(60, 1)
    same, scores = LABELS[rows] == LABELS[columns], scores[rows, columns]
    impostor = np.sort(scores[~same])[::-1]
    for far, metric in zip((0.1, 0.01), verify(FEATURES, LABELS, [0.1, 0.01]), strict=True):
        threshold = impostor[int(far * len(impostor))]
        assert metric.value == (scores[same] > threshold).mean()
        assert metric.threshold == pytest.approx(threshold, abs=1e-6)
        assert (metric.genuine, metric.impostor) == (same.sum(), (~same).sum())


def test_identify_is_the_search_of_every_probe() -> None:
    templates = np.stack([unit(FEATURES[ENROLLED & (label == LABELS)]).mean(axis=0) for label in range(6)])
    probes, labels = unit(FEATURES[~ENROLLED]), LABELS[~ENROLLED]
    scores = probes @ unit(templates).T
    mated = labels < 6
    threshold = np.sort(scores[~mated].max(axis=1))[::-1][int(0.4 * (~mated).sum())]
    first = scores[mated].argmax(axis=1) == labels[mated]
    found = first & (scores[mated, :].max(axis=1) > threshold)
    tpir, rank_one = identify(FEATURES[ENROLLED], LABELS[ENROLLED], FEATURES[~ENROLLED], labels, [0.4])
    assert (tpir.value, tpir.genuine, tpir.impostor) == (found.mean(), mated.sum(), (~mated).sum())
    assert rank_one.value == first.mean()


def test_templates_are_means_within_media_and_sums_over_them() -> None:
    media = np.tile([0, 0, 1, 2, 2], 12)
    made, ids = media_templates(FEATURES, LABELS, media)
    rows = FEATURES.reshape(12, 5, 12)
    by_hand = unit(rows[:, :2].mean(axis=1) + rows[:, 2] + rows[:, 3:].mean(axis=1))
    np.testing.assert_allclose(made, by_hand, rtol=1e-12)
    assert ids.tolist() == list(range(12))
    # The same media numbers in other templates are other media, and weights multiply features.
    weighted, _ = media_templates(FEATURES, LABELS, media, np.full(60, 2.5))
    np.testing.assert_allclose(weighted, by_hand, rtol=1e-12)
    left, right = np.triu_indices(12, 1)
    genuine = (left + right) % 3 == 0
    exact = verify_templates(3 * made, left, right, genuine, [0.5])[0]
    scores = (by_hand @ by_hand.T)[left, right].astype(np.float32)
    impostor = np.sort(scores[~genuine])[::-1]
    assert exact.value == (scores[genuine] > impostor[int(0.5 * len(impostor))]).mean()


@pytest.mark.parametrize(
    "form",
    [np.ndarray.tolist, torch.tensor, lambda values: torch.tensor(values).requires_grad_(values.dtype.kind == "f")],
)
def test_lists_and_tensors_are_read_as_arrays(form: Callable[[Any], Any]) -> None:
    assert verify(form(FEATURES), form(LABELS), form(np.array([0.1]))) == verify(FEATURES, LABELS, [0.1])
    assert verify_pairs(form(FEATURES), form(FEATURES[::-1].copy()), form(SAME), [0.3]) == verify_pairs(
        FEATURES, FEATURES[::-1], SAME, [0.3]
    )
    given = FEATURES[ENROLLED], LABELS[ENROLLED], FEATURES[~ENROLLED], LABELS[~ENROLLED]
    gallery, enrolled, probes, labels = map(form, given)
    assert identify(gallery, enrolled, probes, labels, [0.4]) == identify(*given, [0.4])


def test_a_rate_of_single_precision_is_the_decimal_it_shows() -> None:
    assert verify(FEATURES, LABELS, torch.tensor([0.1])) == verify(FEATURES, LABELS, [0.1])  # type: ignore[arg-type]
    half = torch.tensor(FEATURES).to(torch.bfloat16)
    assert verify(half, LABELS, [0.1]) == verify(half.float(), LABELS, [0.1])


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_very_long_and_very_short_features_are_normalized(scale: float) -> None:
    (found,), (plain,) = verify(FEATURES * scale, LABELS, [0.1]), verify(FEATURES, LABELS, [0.1])
    assert found.value == plain.value
    assert found.threshold == pytest.approx(plain.threshold, abs=1e-6)


BROKEN = np.where(np.arange(60)[:, None] == 7, np.nan, FEATURES)
HALF = LABELS[:30]
GALLERY = (FEATURES, LABELS, FEATURES, LABELS)
MADE = (np.eye(3), [0, 1], [1, 2], [True, False])


@pytest.mark.parametrize(
    ("call", "arguments", "message"),
    [
        (verify, (BROKEN, LABELS, [0.1]), "features row 7 holds NaN"),
        (verify, (FEATURES.astype(complex), LABELS, [0.1]), "features are of type complex128; give real numbers"),
        (verify, (FEATURES.astype(str), LABELS, [0.1]), "give real numbers"),
        (verify, ([[1.0], [1.0, 2.0]], [0, 1], [0.1]), "features cannot be read as an array"),
        (verify, (FEATURES[0], LABELS, [0.1]), r"features have shape \(12,\); give one row per image"),
        (verify, (FEATURES[:, :0], LABELS, [0.1]), r"features have shape \(60, 0\)"),
        (verify, (None, LABELS, [0.1]), r"features have shape \(\)"),
        (verify, (FEATURES, HALF, [0.1]), "give one integer for each of the 60 features"),
        (verify, (FEATURES, LABELS + 0.5, [0.1]), "labels are float64"),
        (verify, (FEATURES, ["a"] * 60, [0.1]), "labels are <U1"),
        (verify, (FEATURES, LABELS, 0.1), "fars is 0.1; give a list of rates"),
        (verify, (FEATURES, LABELS, "0.1"), "fars is '0.1'; give a list of rates"),
        (verify, (FEATURES, LABELS, ["0.1"]), "give a list of rates"),
        (verify, (FEATURES, LABELS, [[0.1]]), "give a list of rates"),
        *((verify, (FEATURES, LABELS, [rate]), "found an error rate of") for rate in (0, 1, -0.1, 1.5, np.nan, np.inf)),
        (verify_pairs, (FEATURES, FEATURES[1:], SAME), r"features_b \(59, 12\); give the same for both"),
        (verify_pairs, (FEATURES, BROKEN, SAME), "features_b row 7 holds NaN"),
        (verify_pairs, (FEATURES, FEATURES, SAME[1:]), "same is bool of shape"),
        (verify_pairs, (FEATURES, FEATURES, SAME.astype(int)), "same is int64"),
        (verify_pairs, (FEATURES[:0], FEATURES[:0], SAME[:0]), "found 10 folds for 0 pairs"),
        (identify, (FEATURES[:0], LABELS[:0], FEATURES, LABELS, [0.1]), "found a gallery without images"),
        (identify, (FEATURES, LABELS, FEATURES[:, :5], LABELS, [0.1]), "both need the same dimension"),
        (identify, (FEATURES, LABELS, BROKEN, LABELS, [0.1]), "probe features row 7 holds NaN"),
        (identify, (BROKEN, LABELS, FEATURES, LABELS, [0.1]), "gallery features row 7 holds NaN"),
        (identify, (FEATURES, LABELS, FEATURES, HALF, [0.1]), "probe labels are int64"),
        (identify, (*GALLERY, [2]), "found an error rate of 2"),
        (media_templates, (BROKEN, LABELS, LABELS), "the feature of image in row 7 has no finite length"),
        (media_templates, (FEATURES, HALF, LABELS), "template ids are"),
        (media_templates, (FEATURES, LABELS, HALF), "media ids are"),
        (media_templates, (FEATURES, LABELS, LABELS, [np.nan] * 60), "weights are float64"),
        (media_templates, (FEATURES, LABELS, LABELS, [1.0]), "weights are float64 of shape"),
        (verify_templates, (np.full((3, 2), np.inf), *MADE[1:], [0.5]), "templates row 0 has no finite length"),
        (verify_templates, (MADE[0], [0, 3], [1, 2], MADE[3], [0.5]), "left has rows outside 0 … 2"),
        (verify_templates, (MADE[0], [0, 1], [-1, 2], MADE[3], [0.5]), "right has rows outside"),
        (verify_templates, (MADE[0], [0], [1, 2], MADE[3], [0.5]), "left are int64"),
        (verify_templates, (*MADE[:3], [1, 0], [0.5]), "same is int64"),
    ],
)
def test_invalid_arrays_are_refused_in_one_line(call: Call, arguments: Any, message: str) -> None:
    with pytest.raises(FedfrError, match=message) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
