"""Features of images to one feature per template, a block of images at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.faces.readers.ijb import IjbImages

__all__ = ["TemplateSums"]


class TemplateSums:
    """Running sums of T templates as InsightFace's ijb_11.py makes them: mean within a medium, sum over media.

    ``norm`` keeps the length of an image's feature, by which poor images count less; without it every feature is
    brought to length one. ``faceness`` weights it by the detector's score. Memory: T × D float64 and one block.
    """

    def __init__(self, images: IjbImages, *, norm: bool = True, faceness: bool = True) -> None:
        self._images = images
        self._norm = norm
        # The mean within each medium and the sum over media are one weighted sum over the images.
        self._weights = 1 / images.media_sizes.astype(np.float64)
        if faceness:
            self._weights *= images.faceness
        self._sums: NDArray[np.float64] | None = None
        self._done = 0

    def add(self, features: NDArray[np.floating[Any]]) -> None:
        """Add the features (n, D) of the images that follow those added before.

        Raises :class:`FedfrError` naming the first image whose feature holds NaN or infinity, or has no length where
        it is to be brought to one, and for another shape.
        """
        names = self._images.names[self._done : self._done + len(features)]
        if self._sums is None and features.ndim == 2:
            self._sums = np.zeros((len(self._images.template_ids), features.shape[1]))
        if self._sums is None or features.shape[1:] != self._sums.shape[1:] or len(names) < len(features):
            raise FedfrError(
                f"features of shape {features.shape} follow {self._done} of {len(self._images)} images; give one row "
                "of the same length for each image, once"
            )
        rows = features.astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1)
        right = np.isfinite(lengths) & (self._norm | (lengths > 0))
        if not right.all():
            name = names[int(np.argmin(right))]
            raise FedfrError(f"the feature of image {name} has no finite length above 0; the model is damaged")
        here = slice(self._done, self._done + len(rows))
        weights = self._weights[here] if self._norm else self._weights[here] / lengths
        rows *= weights[:, None]
        templates = self._images.templates[here]
        order = np.argsort(templates, kind="stable")
        found, starts = np.unique(templates[order], return_index=True)
        if len(found):
            self._sums[found] += np.add.reduceat(rows[order], starts, axis=0)
        self._done = here.stop

    def features(self) -> NDArray[np.float64]:
        """Features (T, D) of length one, in the order of ``template_ids``; one without any length stays zero.

        Raises :class:`FedfrError` where images have not been added yet.
        """
        if self._sums is None or self._done < len(self._images):
            raise FedfrError(f"features of {self._done} of {len(self._images)} images were given; give all")
        lengths = np.linalg.norm(self._sums, axis=1, keepdims=True)
        return self._sums / np.where(lengths > 0, lengths, 1)
