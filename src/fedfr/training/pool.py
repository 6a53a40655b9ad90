"""The faces one training run draws its batches from: parts of several face sets under common labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fedfr.faces import FaceSet

__all__ = ["FacePool"]


class FacePool:
    """Faces of several sets, addressed by one index 0…n−1; nothing is copied until a batch is asked for.

    ``parts``: (face set, indices into it, first label) – a face's label in the pool is its label in its own set plus
    ``first label``. With private faces first and the public ones offset by K_i this is D_i ∪ H_i (method, section 3).
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

    def images(self, indices: torch.Tensor) -> torch.Tensor:
        """Images as uint8 (n, 112, 112, 3), RGB, in the order of ``indices``."""
        wanted = indices.numpy()
        if len(self._sets) == 1:
            return torch.from_numpy(self._sets[0].images(self._row_of[wanted]))
        batch = np.empty((len(wanted), 112, 112, 3), np.uint8)
        for number, faces in enumerate(self._sets):
            here = self._set_of[wanted] == number
            if here.any():
                batch[here] = faces.images(self._row_of[wanted[here]])
        return torch.from_numpy(batch)
