"""K-fold accuracy and validation rates, compared with plain loops of InsightFace's procedure."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.evaluation.folds import fold_validation_rates


def at_distances(distances: list[float]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pairs of features of length one on a circle with these squared distances."""
    angles = 2 * np.arcsin(np.sqrt(np.array(distances)) / 2)
    first = np.tile(np.array([1, 0], np.float32), (len(distances), 1))
    return first, np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def published(distances: NDArray[np.float64], same: list[bool], target: float, folds: int) -> list[float]:
    """The published procedure: thresholds 0 … 3.999, and interpolation between the two FARs that enclose the target."""
    thresholds = np.arange(0, 4, 0.001)
    result = []
    for test in np.array_split(np.arange(len(same)), folds):
        impostors = [distances[k] for k in range(len(same)) if k not in set(test.tolist()) and not same[k]]
        fars = [sum(distance < threshold for distance in impostors) / len(impostors) for threshold in thresholds]
        threshold = 0.0
        if max(fars) >= target:
            last = max(k for k in range(len(fars)) if fars[k] <= target)
            threshold = thresholds[last]
            if fars[last] < target:
                share = (target - fars[last]) / (fars[last + 1] - fars[last])
                threshold += share * (thresholds[last + 1] - thresholds[last])
        genuine = [distances[k] for k in test if same[k]]
        result.append(sum(distance < threshold for distance in genuine) / len(genuine))
    return result


@pytest.mark.parametrize(("pairs", "folds", "far"), [(80, 10, 0.1), (80, 10, 0.01), (61, 4, 0.25), (40, 2, 0.1)])
def test_the_published_procedure(pairs: int, folds: int, far: float) -> None:
    generator = np.random.default_rng(pairs + folds)
    same = np.arange(pairs) % 2 == 0
    left, right = at_distances(np.where(same, generator.beta(2, 4, pairs), generator.beta(4, 2, pairs)).tolist())
    distances = np.square(left.astype(np.float64) - right).sum(axis=1)
    found = fold_validation_rates(left, right, same, far, folds)
    assert found is not None
    assert found.tolist() == published(distances, same.tolist(), far, folds)
    assert 0 < found.mean() < 1


def test_by_hand() -> None:
    """Two folds; impostors of the other fold at 1.0005 and 2.0005: FAR is 0 up to 1.000 and 0.5 from 1.001 to 2.000.

    FAR 0.25 is midway between 1.000 and 1.001; for FAR 0.5 the last threshold with this rate is 2.000.
    """
    same = np.array([True, True, False, False] * 2)
    left, right = at_distances([1.0002, 1.0008, 1.0005, 2.0005, 1.9990, 2.0010, 1.0005, 2.0005])
    for far, rates in ((0.25, [0.5, 0.0]), (0.5, [1.0, 0.5])):
        found = fold_validation_rates(left, right, same, far, 2)
        assert found is not None
        assert found.tolist() == rates


def test_a_rate_that_no_threshold_reaches_accepts_no_pair() -> None:
    """For opposite features, at distance 4, no threshold reaches the rate; it is then 0, and no pair is accepted."""
    same = np.array([True, False] * 4)
    left, right = at_distances([0.0, 4.0] * 4)
    found = fold_validation_rates(left, right, same, 1e-3, 4)
    assert found is not None
    assert found.tolist() == [0.0] * 4


def test_folds_without_genuine_or_impostor_pairs_have_no_rate() -> None:
    left, right = at_distances([0.1, 0.2, 0.3, 0.4])
    assert fold_validation_rates(left, right, np.array([True, True, False, False]), 0.1, 2) is None
    assert fold_validation_rates(left, right, np.ones(4, np.bool_), 0.1, 2) is None
    with pytest.raises(FedfrError, match="found 5 folds for 4 pairs"):
        fold_validation_rates(left, right, np.ones(4, np.bool_), 0.1, 5)
