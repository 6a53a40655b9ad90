"""1:1 metrics compared with brute force over all pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.evaluation import personalized_verification, tar_at_far, verify, verify_pairs
from fedfr.evaluation import verification as module
from fedfr.evaluation.binned import binned_tar
from fedfr.evaluation.block_comparisons import OwnPairs
from fedfr.evaluation.scores import ScoreBlock

FARS = (0.5, 0.1, 0.02, 1e-4)
# Four entries of ±1/2: length one and every product exact, so that the order of summation cannot matter.
CORNERS = np.array([[(number >> bit & 1) - 0.5 for bit in range(4)] for number in range(16)], np.float32)


@dataclass
class Case:
    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    own: NDArray[np.bool_]

    def brute_force(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Genuine and impostor scores, pair by pair."""
        genuine: list[np.float32] = []
        impostor: list[np.float32] = []
        for i in range(len(self.labels)):
            for j in range(i + 1, len(self.labels)):
                if self.own[i] or self.own[j]:
                    same = self.labels[i] == self.labels[j]
                    (genuine if same else impostor).append(self.features[i] @ self.features[j])
        return np.array(genuine, np.float32), np.array(impostor, np.float32)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    size = draw(st.integers(1, 41))
    identities = draw(st.sampled_from([1, 2, 7, 41]))
    corners = draw(st.sampled_from([1, 3, 16]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    own = generator.random(size) < draw(st.sampled_from([0.0, 0.2, 0.6, 1.0]))
    labels = generator.integers(0, identities, size) * 5 - 3
    return Case(CORNERS[generator.integers(0, corners, size)], labels, own)


def expected_tar(genuine: NDArray[np.float32], impostor: NDArray[np.float32], far: float) -> float | None:
    if not len(genuine) or not len(impostor):
        return None
    threshold = np.sort(impostor)[::-1][math.floor(far * len(impostor))]
    return float((genuine > threshold).mean())


@given(case=cases())
def test_personalized_equals_brute_force(case: Case) -> None:
    genuine, impostor = case.brute_force()
    metrics = personalized_verification(case.features * 3, case.labels, case.own, FARS, minimum_impostors=0)
    for far, measured in zip(FARS, metrics, strict=True):
        assert (measured.genuine, measured.impostor) == (len(genuine), len(impostor))
        assert measured.value == expected_tar(genuine, impostor, far)
        assert (measured.value is None) == bool(measured.refused)
    if case.own.all():
        assert verify(case.features, case.labels, FARS, minimum_impostors=0) == metrics
    if len(genuine) and len(impostor):
        assert tar_at_far(genuine, impostor, FARS, minimum_impostors=0) == metrics


@settings(deadline=None)
@given(case=cases())
def test_the_sample_does_not_change_results(case: Case) -> None:
    """Small or tied samples affect only the number of passes."""
    plain = personalized_verification(case.features, case.labels, case.own, FARS, minimum_impostors=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SAMPLED_ABOVE", 0)
        assert personalized_verification(case.features, case.labels, case.own, FARS, minimum_impostors=0) == plain


@given(case=cases(), height=st.integers(1, 9), width=st.integers(1, 9))
def test_blocks_of_any_size_hold_every_pair_once(case: Case, height: int, width: int) -> None:
    genuine, impostor = case.brute_force()
    pairs = OwnPairs(case.features, case.labels, case.own, block=(height, width))
    assert (pairs.genuine, pairs.impostor) == (len(genuine), len(impostor))
    found: list[float] = []
    every: list[float] = []
    removed: list[float] = []
    for block in pairs.blocks():
        found += block.genuine.tolist()
        every += block.scores.reshape(-1).tolist()
        removed += block.removed.tolist()
    assert sorted(found) == sorted(genuine.tolist())
    assert sorted(every) == sorted(removed + impostor.tolist())


def spread_case(size: int = 600, identities: int = 30) -> Case:
    generator = np.random.default_rng(5)
    labels = generator.integers(0, identities, size)
    centres = generator.normal(size=(identities, 16))
    features = (centres[labels] + 1.5 * generator.normal(size=(size, 16))).astype(np.float32)
    return Case(features, labels, labels < identities // 3)


def test_one_sampled_pass_and_two_passes_agree_with_sorting(monkeypatch: pytest.MonkeyPatch) -> None:
    case = spread_case()
    pairs = OwnPairs(case.features, case.labels, case.own)
    blocks = list(pairs.blocks())
    assert len(blocks) == 1
    genuine = blocks[0].genuine
    # Every score of the block less those removed, by their bits.
    ordered = np.sort(blocks[0].scores.reshape(-1))
    keep = np.ones(len(ordered), bool)
    values, counts = np.unique(blocks[0].removed, return_counts=True)
    for value, count in zip(values, counts, strict=True):
        start = np.searchsorted(ordered, value)
        assert (ordered[start : start + count] == value).all()
        keep[start : start + count] = False
    impostor = ordered[keep]
    wanted = [expected_tar(genuine, impostor, far) for far in FARS[:3]]
    for limit in (0, 1 << 24):
        monkeypatch.setattr(module, "SAMPLED_ABOVE", limit)
        metrics = personalized_verification(case.features, case.labels, case.own, FARS[:3])
        assert [measured.value for measured in metrics] == wanted


def test_sampled_scores_are_impostor_scores() -> None:
    case = spread_case(60, 6)
    pairs = OwnPairs(case.features, case.labels, case.own)
    assert len(pairs.sample()) == pairs.impostor


def test_too_few_impostors_are_refused_with_the_counts() -> None:
    case = spread_case(100, 10)
    metrics = personalized_verification(case.features, case.labels, case.own, [1e-1, 1e-4])
    assert metrics[0].value is not None
    assert metrics[1].value is None
    assert metrics[1].refused.startswith("rests on 0.")
    assert metrics[0].genuine == metrics[1].genuine > 0
    assert metrics[0].impostor == metrics[1].impostor > 100


def test_binned_is_close_to_exact() -> None:
    case = spread_case()
    exact = personalized_verification(case.features, case.labels, case.own, [0.1, 0.01])
    binned = personalized_verification(case.features, case.labels, case.own, [0.1, 0.01], binned=True)
    for a, b in zip(exact, binned, strict=True):
        assert a.value is not None
        assert b.value == pytest.approx(a.value, abs=5e-3)
        assert (a.name, a.genuine, a.impostor) == (b.name, b.genuine, b.impostor)


def plain_binned_tar(genuine: list[float], impostor: list[float], far: float) -> float:
    """TAR on the curve through all bin edges, edges of equal FAR in ascending TAR, by plain counting."""

    def bin_of(score: float) -> int:
        return min(2000, max(0, int((np.float32(score) + np.float32(1)) * np.float32(1000))))

    bins = [bin_of(score) for score in genuine], [bin_of(score) for score in impostor]
    curve = sorted(
        (sum(b >= edge for b in bins[1]) / len(impostor), sum(b >= edge for b in bins[0]) / len(genuine))
        for edge in range(2001)
    )
    reached = [point for point in curve if point[0] <= far]
    if not reached:
        return curve[0][1]
    (low, tar), beyond = reached[-1], [point for point in curve if point[0] > far]
    return tar + (far - low) / (beyond[0][0] - low) * (beyond[0][1] - tar) if beyond else tar


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), impostors=st.integers(1, 60), spread=st.sampled_from([0.02, 0.2, 0.5]))
def test_binned_is_the_monotone_curve(seed: int, impostors: int, spread: float) -> None:
    generator = np.random.default_rng(seed)
    genuine = np.clip(generator.normal(0.4, spread, 40), -1, 1).astype(np.float32)
    impostor = np.clip(generator.normal(0.1, spread, impostors), -1, 1).astype(np.float32)
    fars = np.unique(np.concatenate([[0.0, 1e-6, 1e-3, 1.0], generator.random(20), np.arange(impostors) / impostors]))
    block = ScoreBlock(impostor, np.empty(0, np.float32), genuine)
    found = binned_tar(lambda: (block,), fars.tolist())
    assert np.all(np.diff(found) >= 0)
    expected = [plain_binned_tar(genuine.tolist(), impostor.tolist(), far) for far in fars.tolist()]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_binned_keeps_scores_at_both_ends() -> None:
    case = Case(np.array([[1, 0], [1, 0], [-1, 0], [-1, 0]], np.float32), np.array([0, 0, 1, 1]), np.ones(4, bool))
    pairs = OwnPairs(case.features, case.labels, case.own)
    assert binned_tar(pairs.blocks, [0.1]) == [1.0]


@pytest.mark.parametrize("damage", [math.nan, math.inf])
def test_damaged_features_are_named(damage: float) -> None:
    case = spread_case(20, 4)
    case.features[17, 3] = damage
    with pytest.raises(FedfrError, match="features row 17 holds NaN or infinity"):
        verify(case.features, case.labels, [0.1])


def test_wrong_shapes_are_named() -> None:
    case = spread_case(20, 4)
    with pytest.raises(FedfrError, match=r"labels are int64 of shape \(19,\)"):
        verify(case.features, case.labels[1:], [0.1])
    with pytest.raises(FedfrError, match=r"own is bool of shape \(19,\)"):
        personalized_verification(case.features, case.labels, case.own[1:], [0.1])
    with pytest.raises(FedfrError, match=r"features have shape \(20,\)"):
        verify(case.features[:, 0], case.labels, [0.1])
    with pytest.raises(FedfrError, match="impostor score 1 is NaN"):
        tar_at_far(np.ones(3), np.array([0, math.nan]), [0.1])
    with pytest.raises(FedfrError, match="features_a have shape"):
        verify_pairs(case.features, case.features[1:], case.labels == 1)


def insightface_accuracy(a: NDArray[np.float32], b: NDArray[np.float32], same: list[bool], folds: int) -> list[float]:
    """The published procedure written out with loops: squared distance, thresholds 0 … 3.99, folds in file order."""
    unit = [[row / np.linalg.norm(row) for row in side.astype(np.float64)] for side in (a, b)]
    distances = [float(((x - y) ** 2).sum()) for x, y in zip(*unit, strict=True)]
    result = []
    for test in np.array_split(np.arange(len(same)), folds):
        train = [index for index in range(len(same)) if index not in set(test.tolist())]
        accuracy = [
            np.mean([(distances[index] < threshold) == same[index] for index in train])
            for threshold in np.arange(0, 4, 0.01)
        ]
        best = np.arange(0, 4, 0.01)[int(np.argmax(accuracy))]
        result.append(float(np.mean([(distances[index] < best) == same[index] for index in test])))
    return result


@pytest.mark.parametrize(("pairs", "folds"), [(60, 10), (43, 5), (2, 2)])
def test_fold_accuracy(pairs: int, folds: int) -> None:
    generator = np.random.default_rng(pairs)
    same = generator.random(pairs) < 0.5
    a = generator.normal(size=(pairs, 8)).astype(np.float32)
    b = np.where(same[:, None], a, 0).astype(np.float32) + generator.normal(size=a.shape).astype(np.float32)
    wanted = insightface_accuracy(a, b, same.tolist(), folds)
    accuracy, deviation = verify_pairs(a, b, same, folds=folds)
    assert accuracy.value == pytest.approx(np.mean(wanted), abs=1e-12)
    assert deviation.value == pytest.approx(np.std(wanted), abs=1e-12)
    assert (accuracy.genuine, accuracy.impostor) == (same.sum(), (~same).sum())


def test_pairs_also_give_tar() -> None:
    same = np.arange(200) % 2 == 0
    a = np.tile(np.eye(2, dtype=np.float32), (100, 1))
    b = np.where(same[:, None], a, a[:, ::-1]).astype(np.float32)
    metrics = verify_pairs(a, b, same, [0.1, 0.01])
    assert [measured.name for measured in metrics] == ["accuracy", "accuracy-std", "TAR@FAR=1e-1", "TAR@FAR=1e-2"]
    assert [measured.value for measured in metrics] == [1.0, 0.0, 1.0, None]


def test_folds_need_pairs() -> None:
    with pytest.raises(FedfrError, match="found 10 folds for 4 pairs"):
        verify_pairs(np.ones((4, 2)), np.ones((4, 2)), np.ones(4, bool))


@pytest.mark.parametrize(
    ("genuine", "impostor", "rate"),
    [
        ([0.9, 0.8, 0.7], [0.1, 0.2], 0.0),
        ([0.1, 0.2], [0.8, 0.9], 1.0),
        # Above 0.5 lie one of four impostors, and one of four genuine scores is not above it.
        ([0.9, 0.8, 0.7, 0.4], [0.6, 0.5, 0.2, 0.1], 0.25),
        # At 0.3 half are accepted and none rejected, at 0.6 none accepted and half rejected: half way, a quarter.
        ([0.6, 0.9], [0.3, 0.6], 0.25),
        ([0.5, 0.5], [0.5, 0.5], 0.5),
    ],
)
def test_equal_error_rate_by_hand(genuine: list[float], impostor: list[float], rate: float) -> None:
    assert module.equal_error_rate(np.array(genuine), np.array(impostor)) == pytest.approx(rate)


def test_equal_error_rate_lies_between_the_errors_of_the_best_threshold() -> None:
    generator = np.random.default_rng(0)
    genuine, impostor = generator.normal(1, 1, 500), generator.normal(0, 1, 700)
    found = module.equal_error_rate(genuine, impostor)
    errors = [(np.mean(impostor > t), np.mean(genuine <= t)) for t in np.concatenate([genuine, impostor])]
    assert min(map(max, errors)) >= found >= max(map(min, errors))
    assert found == pytest.approx(module.equal_error_rate(-impostor, -genuine), abs=1 / 500)
    with pytest.raises(ValueError, match="needs genuine and impostor scores"):
        module.equal_error_rate(genuine, impostor[:0])
