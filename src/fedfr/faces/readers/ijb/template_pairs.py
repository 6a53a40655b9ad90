"""Template comparisons of the 1:1 protocol (about 15 million for IJB-C)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.faces.readers.ijb.number_lines import number_lines
from fedfr.faces.readers.image_reading import FacesWarning

__all__ = ["TemplatePairs", "read_template_pairs", "rows_of"]

COLUMNS = ("template", "template", "0/1")
LARGEST_TABLE = 1 << 20


@dataclass(frozen=True)
class TemplatePairs:
    """P comparisons in the order of the file: rows of both templates, (P,) each, and ``same`` (P,), true if genuine."""

    left: NDArray[np.int32]
    right: NDArray[np.int32]
    same: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.same)


def read_template_pairs(path: Path, template_ids: NDArray[np.int64]) -> TemplatePairs:
    """Read the comparisons in ``path``; ``template_ids`` (T,) are the ascending ids of templates with images.

    Raises :class:`FedfrError` naming file and line for anything but three whole numbers, a template without images, a
    label other than 0 and 1, and a comparison with label 0 in one line and 1 in another. Repeated comparisons count
    repeatedly, with one :class:`FacesWarning`.
    """
    lefts, rights, labels = [], [], []
    for first, values in number_lines(path, COLUMNS):
        rows = rows_of(values[:, :2], template_ids)
        unknown = np.flatnonzero((rows < 0).any(axis=1))
        if unknown.size:
            line = int(unknown[0])
            template = values[line, int(rows[line, 0] >= 0)]
            raise FedfrError(f"{path}, line {first + line}: template {template} has no images; fetch the lists again")
        invalid = np.flatnonzero(values[:, 2] > 1)
        if invalid.size:
            line = int(invalid[0])
            raise FedfrError(f"{path}, line {first + line}: the label is {values[line, 2]}; expected 0 or 1")
        lefts.append(rows[:, 0])
        rights.append(rows[:, 1])
        labels.append(values[:, 2] == 1)
    pairs = TemplatePairs(np.concatenate(lefts), np.concatenate(rights), np.concatenate(labels))
    _check_repetitions(pairs, path, template_ids)
    return pairs


def rows_of(ids: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the index of each of ``ids`` (any shape, not negative) in the ascending ``known`` (T,); -1 if absent."""
    if known[-1] < LARGEST_TABLE:
        # A table of all numbers, with a last entry for greater ones, is faster than a binary search.
        table = np.full(known[-1] + 2, -1, np.int32)
        table[known] = np.arange(len(known))
        rows: NDArray[np.int32] = table[np.minimum(ids, known[-1] + 1)]
        return rows
    places = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return np.where(known[places] == ids, places, -1).astype(np.int32)


def _check_repetitions(pairs: TemplatePairs, path: Path, template_ids: NDArray[np.int64]) -> None:
    low, high = np.minimum(pairs.left, pairs.right), np.maximum(pairs.left, pairs.right)
    keys = low.astype(np.int64) * len(template_ids) + high
    ordered = np.sort(keys * 2 + pairs.same)
    repeated = (ordered[1:] >> 1) == (ordered[:-1] >> 1)
    contradicted = np.flatnonzero(repeated & (ordered[1:] != ordered[:-1]))
    if contradicted.size:
        lines = np.flatnonzero(keys == ordered[contradicted[0]] >> 1)
        one, other = int(lines[0]), int(lines[np.argmax(pairs.same[lines] != pairs.same[lines[0]])])
        ids = " and ".join(str(template_ids[side[one]]) for side in (pairs.left, pairs.right))
        raise FedfrError(
            f"{path}, line {other + 1}: templates {ids} have the other label in line {one + 1}; fetch the list again"
        )
    if repeated.any():
        warnings.warn(
            f"{path}: {int(repeated.sum())} of {len(pairs)} comparisons are repeated and count repeatedly",
            FacesWarning,
            stacklevel=3,
        )
