"""Evaluation protocols of the registry: inputs, metrics and errors."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fedfr.config.schema import EvaluationConfig
from fedfr.core.errors import FedfrError
from fedfr.evaluation import PROTOCOLS
from fedfr.evaluation.protocols import family_of
from fedfr.evaluation.protocols.generic import enrolled_images

CONFIG = EvaluationConfig(fars=(0.1, 1e-6), fpirs=(0.2,))


def faces(identities: int = 20, images: int = 10) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Well separated identities."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(identities), images)
    centres = np.eye(identities, 32)
    return (centres[labels] + 0.02 * generator.normal(size=(len(labels), 32))).astype(np.float32), labels


@pytest.mark.parametrize("name", PROTOCOLS.builtin)
def test_every_protocol_belongs_to_one_family(name: str) -> None:
    assert family_of(name) in ("personalized", "generic", "pairs", "set", "ijb")
    assert name.startswith(("personalized", "generic", "verification", "ijb"))


@pytest.mark.parametrize("name", ["personalized-1:1", "personalized-1:N"])
def test_personalized(name: str) -> None:
    features, labels = faces()
    own, train = labels < 5, np.tile(np.arange(10) < 6, 20)
    measurements = PROTOCOLS[name](
        features=features[~train],
        labels=labels[~train],
        own=own[~train],
        gallery_features=features[train & own],
        gallery_labels=labels[train & own],
        config=CONFIG,
    )
    metrics = {
        "personalized-1:1": ["TAR@FAR=1e-1", "TAR@FAR=1e-6"],
        "personalized-1:N": ["TPIR@FPIR=2e-1", "rank-1", "TPIR(released)@FPIR=2e-1"],
    }
    counts = {"personalized-1:1": (5 * 6, 20 * 19 // 2 + 20 * 60 - 30), "personalized-1:N": (20, 60)}
    assert [each.name for each in measurements] == metrics[name]
    assert all(each.value == 1.0 or each.refused for each in measurements)
    assert (measurements[0].genuine, measurements[0].impostor) == counts[name]
    assert measurements[0].value == 1.0


def test_a_test_image_without_gallery_is_named() -> None:
    features, labels = faces()
    with pytest.raises(FedfrError, match="row 10 has label 1, which is not in the gallery"):
        PROTOCOLS["personalized-1:N"](
            features=features,
            labels=labels,
            own=labels < 2,
            gallery_features=features[:10],
            gallery_labels=labels[:10],
            config=CONFIG,
        )


def test_generic_verification() -> None:
    features, labels = faces()
    good, refused = PROTOCOLS["generic-1:1"](features=features, labels=labels, config=CONFIG)
    assert (good.value, good.genuine, good.impostor) == (1.0, 20 * 45, 200 * 199 // 2 - 20 * 45)
    assert refused.value is None


def test_generic_identification() -> None:
    features, labels = faces()
    tpir, rank_one = PROTOCOLS["generic-1:N"](features=features, labels=labels, config=CONFIG)
    assert (tpir.value, tpir.genuine, tpir.impostor) == (1.0, 50, 100)
    assert (rank_one.value, rank_one.genuine) == (1.0, 50)


def test_half_of_the_identities_with_two_images_are_enrolled() -> None:
    labels = np.array([7, 3, 3, 3, 5, 5, 9, 9, 9, 9, 1])
    # Two or more images: 3, 5, 9; enrolled: 3 with the first of three, 9 with the first two of four.
    assert np.flatnonzero(enrolled_images(labels)).tolist() == [1, 6, 7]


def test_generic_identification_without_enrollable_identities() -> None:
    features, _ = faces()
    measurements = PROTOCOLS["generic-1:N"](features=features, labels=np.arange(len(features)), config=CONFIG)
    assert [each.name for each in measurements] == ["TPIR@FPIR=2e-1", "rank-1"]
    assert all(each.value is None and "none can be enrolled" in each.refused for each in measurements)


def test_the_binned_setting_reaches_verification() -> None:
    features, labels = faces()
    config = EvaluationConfig(fars=(0.1,), verification="binned")
    for name, more in (("generic-1:1", {}), ("personalized-1:1", {"own": labels < 5})):
        (each,) = PROTOCOLS[name](features=features, labels=labels, config=config, **more)
        assert each.threshold is None
        assert each.value == pytest.approx(1.0)


def test_pairs_of_the_split() -> None:
    """Twenty genuine and twenty impostor pairs alternate, so that every fold of four has both."""
    features, labels = faces()
    first, second = np.arange(40) * 5, np.arange(40) * 5 + np.where(np.arange(40) % 2, 1, 11) % 200
    second %= 200
    same = labels[first] == labels[second]
    measurements = PROTOCOLS["generic-pairs"](
        features_a=features[first], features_b=features[second], same=same, config=CONFIG
    )
    assert [each.name for each in measurements] == [
        "accuracy",
        "accuracy-std",
        "TAR@FAR=1e-1",
        "TAR@FAR=1e-6",
    ]
    assert (measurements[0].value, measurements[0].genuine, measurements[0].impostor) == (1.0, 20, 20)


def test_too_few_pairs_for_ten_folds_are_refused() -> None:
    few = np.ones((9, 4), np.float32)
    measurements = PROTOCOLS["generic-pairs"](features_a=few, features_b=few, same=np.ones(9, np.bool_), config=CONFIG)
    assert [(each.value, each.refused) for each in measurements] == [(None, "9 pairs cannot be divided into 10 folds")]
