"""Personalized protocols compared with the numbers of the original implementation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedfr.evaluation import gallery_rows, gallery_templates, personalized_verification, released_identification
from fedfr.evaluation.block_comparisons import OwnPairs

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def reference(reference_dir: Path) -> dict[str, NDArray[Any]]:
    with np.load(reference_dir / "personalized_protocol.npz") as file:
        return dict(file)


def test_pair_counts(reference: dict[str, NDArray[Any]]) -> None:
    labels = reference["query_labels"]
    pairs = OwnPairs(reference["query_features"], labels, labels < reference["num_enrolled"])
    assert pairs.genuine == int(reference["genuine_pairs"])
    assert pairs.impostor == int(reference["impostor_pairs"])


@pytest.mark.parametrize(("binned", "expected"), [(False, "tar_exact"), (True, "tar_histogram_monotone")])
def test_tar(reference: dict[str, NDArray[Any]], binned: bool, expected: str) -> None:
    labels = reference["query_labels"]
    own = labels < reference["num_enrolled"]
    fars = reference["far"].tolist()
    metrics = personalized_verification(
        reference["query_features"], labels, own, fars, minimum_impostors=0, binned=binned
    )
    np.testing.assert_allclose(
        np.array([metric.value for metric in metrics], float), reference[expected], rtol=TOLERANCE
    )


def test_templates(reference: dict[str, NDArray[Any]]) -> None:
    templates, identities = gallery_templates(reference["gallery_image_features"], reference["gallery_image_labels"])
    np.testing.assert_array_equal(identities, np.arange(int(reference["num_enrolled"])))
    np.testing.assert_allclose(templates, reference["gallery_templates"], rtol=TOLERANCE, atol=1e-6)


def test_tpir_in_the_released_convention(reference: dict[str, NDArray[Any]]) -> None:
    templates, identities = gallery_templates(reference["gallery_image_features"], reference["gallery_image_labels"])
    labels = gallery_rows(reference["query_labels"], identities)
    fpirs = reference["fpir"].tolist()
    metrics = released_identification(templates, reference["query_features"], labels, fpirs, minimum_impostors=0)
    np.testing.assert_allclose(
        np.array([metric.value for metric in metrics], float), reference["tpir_reference"], rtol=TOLERANCE
    )
