"""Templates of several media: the features of images combined to one feature per template, block by block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedfr.core.errors import FedfrError
from fedfr.evaluation.array_inputs import as_array, as_features, as_labels
from fedfr.faces.readers.ijb import IjbImages

__all__ = ["TemplateSums", "media_templates"]


def media_templates(
    features: ArrayLike,
    template_ids: ArrayLike,
    media_ids: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    norm: bool = True,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return one unit-length feature per template (T, D), as the IJB protocols make them, and the sorted ids (T,).

    ``features`` (N, D) of images, ``template_ids`` (N,) and ``media_ids`` (N,) integers: features are averaged over the
    images of one medium (a still, or the frames of one video), then summed over the media of a template. ``weights``
    (N,) multiply them first, for instance the detector's scores. ``norm`` keeps the length of each feature, so that
    poor images count less; without it every feature is scaled to length one first. Raises :class:`FedfrError` naming
    the first row that holds NaN or infinity, and for other shapes.

    >>> from fedfr.evaluation import media_templates
    >>> features = [[1.0, 0.0], [0.6, 0.8], [0.0, 2.0], [0.0, 1.0]]
    >>> templates, ids = media_templates(features, template_ids=[7, 7, 7, 3], media_ids=[1, 1, 2, 3])
    >>> ids.tolist(), templates.round(3).tolist()
    ([3, 7], [[0.0, 1.0], [0.316, 0.949]])
    """
    rows = as_features(features)
    ids, places = np.unique(as_labels(template_ids, len(rows), "template ids"), return_inverse=True)
    media = np.stack([places, as_labels(media_ids, len(rows), "media ids")])
    _, which, sizes = np.unique(media, axis=1, return_inverse=True, return_counts=True)
    weight = 1 / sizes[which.reshape(-1)].astype(np.float64)
    if weights is not None:
        given = as_array(weights, "weights")
        if given.shape != weight.shape or given.dtype.kind not in "fiu" or not np.isfinite(given).all():
            description = f"{given.dtype} of shape {given.shape}"
            raise FedfrError(f"weights are {description}; give one finite number for each of the {len(rows)} images")
        weight *= given
    sums = TemplateSums(places.astype(np.int64), weight, norm=norm)
    sums.add(rows)
    return sums.features(), ids


class TemplateSums:
    """Running sums of T templates, so that the features of all images need not be in memory at once.

    ``templates`` (N,) is the row of each image's template, ``weights`` (N,) what its feature is multiplied by.
    ``norm`` keeps the length of an image's feature; without it every feature is scaled to length one first. ``name_of``
    names an image in errors. Memory: T × D float64 and one block.
    """

    def __init__(
        self,
        templates: NDArray[np.int64],
        weights: NDArray[np.float64],
        *,
        norm: bool = True,
        name_of: Callable[[int], str] = "in row {}".format,
    ) -> None:
        self._templates = templates
        self._weights = weights
        self._norm = norm
        self._name_of = name_of
        self._sums: NDArray[np.float64] | None = None
        self._done = 0

    @classmethod
    def of_images(cls, images: IjbImages, *, norm: bool = True, faceness: bool = True) -> Self:
        """Return empty sums for an IJB set, weighted as in InsightFace's ijb_11.py.

        ``faceness`` multiplies each feature by the detector's score.
        """
        # The mean within each medium and the sum over media are one weighted sum over the images.
        weights = 1 / images.media_sizes.astype(np.float64)
        if faceness:
            weights *= images.faceness
        return cls(images.templates, weights, norm=norm, name_of=images.names.__getitem__)

    def add(self, features: ArrayLike) -> None:
        """Add the features (n, D) of the next n images.

        Raises :class:`FedfrError` naming the first image whose feature holds NaN or infinity, or has length zero where
        it is to be scaled to length one, and for another shape.
        """
        given = as_features(features, f"features after {self._done} of {len(self._templates)} images")
        if self._sums is None:
            self._sums = np.zeros((int(self._templates.max(initial=-1)) + 1, given.shape[1]))
        if given.shape[1] != self._sums.shape[1] or self._done + len(given) > len(self._templates):
            raise FedfrError(
                f"features after {self._done} of {len(self._templates)} images have shape {given.shape}; give one row "
                "of the same length for each image, once"
            )
        rows = given.astype(np.float64)
        lengths = np.linalg.norm(rows, axis=1)
        right = np.isfinite(lengths) & (self._norm | (lengths > 0))
        if not right.all():
            name = self._name_of(self._done + int(np.argmin(right)))
            raise FedfrError(f"the feature of image {name} has no finite length above 0; the model is damaged")
        here = slice(self._done, self._done + len(rows))
        weights = self._weights[here] if self._norm else self._weights[here] / lengths
        rows *= weights[:, None]
        templates = self._templates[here]
        order = np.argsort(templates, kind="stable")
        found, starts = np.unique(templates[order], return_index=True)
        if len(found):
            self._sums[found] += np.add.reduceat(rows[order], starts, axis=0)
        self._done = here.stop

    def features(self) -> NDArray[np.float64]:
        """Return features (T, D) of length one in the order of the template rows; a zero sum stays zero.

        Raises :class:`FedfrError` if images have not been added yet.
        """
        if self._sums is None or self._done < len(self._templates):
            raise FedfrError(f"features of {self._done} of {len(self._templates)} images were given; give all")
        lengths = np.linalg.norm(self._sums, axis=1, keepdims=True)
        return self._sums / np.where(lengths > 0, lengths, 1)
