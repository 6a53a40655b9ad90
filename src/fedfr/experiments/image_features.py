"""Features of a run's images under one network, each computed once."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedfr.core.errors import FedfrError
from fedfr.experiments.components import RunComponents
from fedfr.faces import VerificationSet
from fedfr.training.features import OnImages, extract_features, mirror_summed_features
from fedfr.training.training_set import TrainingSet

__all__ = ["ConstantFeatures", "FeatureSource", "ImageFeatures", "NotFiniteError"]


class NotFiniteError(FedfrError):
    """A model whose features are NaN or infinite, so that it cannot be evaluated."""


class FeatureSource(Protocol):
    """Source of features of a run's images."""

    def of(self, images: NDArray[np.int64], *, flip: bool = False) -> NDArray[np.float32]:
        """Return features (n, D) in the order of ``images``, with ``flip`` plus those of the mirror images."""
        ...

    def of_set(self, pairs: VerificationSet) -> NDArray[np.float32]:
        """Return features (2·P, D) of a verification set, each plus that of the mirror image."""
        ...


class ConstantFeatures:
    """The same feature for every image, which gives names and counts of metrics but no meaningful values."""

    def of(self, images: NDArray[np.int64], *, flip: bool = False) -> NDArray[np.float32]:
        """Return ones (n, 2)."""
        return np.ones((len(images), 2), np.float32)

    def of_set(self, pairs: VerificationSet) -> NDArray[np.float32]:
        """Return ones (2·P, 2)."""
        return np.ones((len(pairs.images), 2), np.float32)


class ImageFeatures:
    """Features of a run's images under one network, each computed once; ``on_images`` receives the progress."""

    def __init__(self, components: RunComponents, module: nn.Module, on_images: OnImages | None = None) -> None:
        self._components = components
        self._module = module
        self._on_images = on_images
        # By whether the images are mirrored: the row of every image among the known features, and these.
        self._rows = [np.full(len(components.faces), -1, np.int64) for _ in range(2)]
        self._known = [np.empty((0, 0), np.float32) for _ in range(2)]

    def of(self, images: NDArray[np.int64], *, flip: bool = False) -> NDArray[np.float32]:
        """Return features (n, D) in the order of ``images``; raises :class:`NotFiniteError` for NaN or infinity."""
        return self._of(images, 0) + self._of(images, 1) if flip else self._of(images, 0)

    def of_set(self, pairs: VerificationSet) -> NDArray[np.float32]:
        """Return features (2·P, D) of a verification set, each plus that of the mirror image; raises as :meth:`of`."""
        distinct, rows = pairs.distinct()
        compute, report = self._components.compute, self._on_images
        images = TrainingSet([(distinct, None, 0)])
        return _finite(mirror_summed_features(self._module, images, compute, on_images=report).numpy())[rows]

    def _of(self, images: NDArray[np.int64], mirrored: int) -> NDArray[np.float32]:
        rows = self._rows[mirrored]
        missing = np.unique(images[rows[images] < 0])
        if len(missing):
            training_set = TrainingSet([(self._components.faces, missing, 0)])
            compute, report = self._components.compute, self._on_images
            extracted = extract_features(self._module, training_set, compute, mirrored=bool(mirrored), on_images=report)
            new = _finite(extracted.numpy())
            rows[missing] = np.arange(len(missing)) + len(self._known[mirrored])
            self._known[mirrored] = np.concatenate([self._known[mirrored].reshape(-1, new.shape[1]), new])
        return self._known[mirrored][rows[images]]


def _finite(features: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(features).all():
        raise NotFiniteError("its features are NaN or infinite")
    return features
