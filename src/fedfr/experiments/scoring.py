"""Scoring variants of an evaluation: plain, with mirror images, with score normalization."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.experiments.components import RunComponents
from fedfr.experiments.image_features import FeatureSource

__all__ = ["PLAIN", "Scoring", "cohort_images"]

PLAIN = "plain"
"""Name of the scoring variant without mirror images and normalization."""


@dataclass(frozen=True)
class Scoring:
    """Scoring variant of a protocol, one of ``evaluation.scoring``."""

    name: str

    @property
    def normalized(self) -> bool:
        """Whether scores are normalized with a cohort."""
        return "as-norm" in self.name

    def features(self, source: FeatureSource, images: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the features (n, D) to compare, in the order of ``images``."""
        return source.of(images, flip="flip" in self.name)


def cohort_images(components: RunComponents) -> NDArray[np.int64]:
    """Return the cohort of score normalization: the first image of each of the first public identities.

    There are at most ``evaluation.cohort`` of them. Empty unless ``evaluation.scoring`` needs it. Raises
    :class:`FedfrError` if there are not two such identities.
    """
    if not any(Scoring(name).normalized for name in components.config.evaluation.scoring):
        return np.empty(0, np.int64)
    public = np.asarray(components.split.public, np.int64)
    first = np.unique(components.faces.labels[public], return_index=True)[1]
    if len(first) < 2:
        raise FedfrError(
            f"evaluation.scoring: as-norm needs public faces of at least two people, the split has {len(first)}"
        )
    return public[np.sort(first)[: components.config.evaluation.cohort]]
