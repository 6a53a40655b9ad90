"""Training sets: images of several face sets with common labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fedfr.faces import FaceSet

__all__ = ["DeviceFaces", "TrainingSet"]

_FACE_BYTES = 112 * 112 * 3
_UPLOADED_AT_ONCE = 4096


class TrainingSet:
    """Images of several face sets under one index 0…n−1; pixels are read only when a batch is requested.

    ``parts``: (face set, indices into it or None for all, first label). The label of an image is its label in its own
    face set plus the first label of the part. With the private images first and the hard negatives offset by K_i, this
    is FedFR's D_i ∪ H_i.
    """

    def __init__(self, parts: Sequence[tuple[FaceSet, NDArray[np.int64] | None, int]]) -> None:
        self._sets = [faces for faces, _, _ in parts]
        rows = [np.arange(len(faces)) if index is None else np.asarray(index, np.int64) for faces, index, _ in parts]
        self._set_of = np.concatenate([np.full(len(index), number) for number, index in enumerate(rows)])
        self._row_of = np.concatenate(rows).astype(np.int64)
        labels = [faces.labels[index] + first for (faces, _, first), index in zip(parts, rows, strict=True)]
        self.labels = torch.from_numpy(np.concatenate(labels).astype(np.int64))

    def __len__(self) -> int:
        return len(self._row_of)

    def rows(self, part: int) -> NDArray[np.int64]:
        """Return the indices into the face set of the part with this number, from 0."""
        rows: NDArray[np.int64] = self._row_of[self._set_of == part]
        return rows

    def images(self, indices: torch.Tensor) -> torch.Tensor:
        """Return the images uint8 (n, 112, 112, 3), RGB, in the order of ``indices`` (n,)."""
        wanted = indices.numpy()
        if len(self._sets) == 1:
            return torch.from_numpy(self._sets[0].images(self._row_of[wanted]))
        batch = np.empty((len(wanted), 112, 112, 3), np.uint8)
        for number, faces in enumerate(self._sets):
            here = self._set_of[wanted] == number
            if here.any():
                batch[here] = faces.images(self._row_of[wanted[here]])
        return torch.from_numpy(batch)


class DeviceFaces:
    """Images of a training set on a device, provided without synchronizing with the device.

    On a CPU, each batch is gathered on request. On an accelerator, all images are uploaded once, as uint8, if they need
    at most half of its free memory (``resident`` overrides this rule); otherwise each batch is copied from pinned
    memory.
    """

    def __init__(self, training_set: TrainingSet, device: torch.device, *, resident: bool | None = None) -> None:
        self._pool = training_set
        self._device = device
        if resident is None:
            resident = (
                device.type == "cuda" and len(training_set) * _FACE_BYTES <= torch.cuda.mem_get_info(device)[0] // 2
            )
        self._pixels = self._upload() if resident else None

    def images(self, indices: torch.Tensor, device_indices: torch.Tensor) -> torch.Tensor:
        """Return the images uint8 (n, 112, 112, 3) on the device; ``device_indices`` is a copy of ``indices`` there."""
        if self._pixels is not None:
            return self._pixels[device_indices]
        images = self._pool.images(indices)
        if self._device.type == "cpu":
            return images
        return images.pin_memory().to(self._device, non_blocking=True)

    def _upload(self) -> torch.Tensor:
        pixels = torch.empty((len(self._pool), 112, 112, 3), dtype=torch.uint8, device=self._device)
        for indices in torch.arange(len(self._pool)).split(_UPLOADED_AT_ONCE):
            pixels[indices[0] : indices[-1] + 1] = self._pool.images(indices).to(self._device)
        return pixels
