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
    """P comparisons in the order of the file: rows of the templates (P,) and (P,), ``same`` (P,) which are genuine."""

    left: NDArray[np.int32]
    right: NDArray[np.int32]
    same: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.same)


def read_template_pairs(path: Path, template_ids: NDArray[np.int64]) -> TemplatePairs:
    """Read ``path``; ``template_ids`` (T,) ascending are those that have images.

    Raises :class:`FedfrError` naming file and line for anything but three whole numbers, a template without images, a
    mark that is neither 0 nor 1, and a comparison that is marked 0 in one line and 1 in another. A comparison that is
    listed again counts again, with one :class:`FacesWarning`.
    """
    lefts, rights, marks = [], [], []
    for first, values in number_lines(path, COLUMNS):
        rows = rows_of(values[:, :2], template_ids)
        unknown = np.flatnonzero((rows < 0).any(axis=1))
        if unknown.size:
            line = int(unknown[0])
            template = values[line, int(rows[line, 0] >= 0)]
            raise FedfrError(f"{path}, line {first + line}: template {template} has no images; fetch the lists again")
        wrong = np.flatnonzero(values[:, 2] > 1)
        if wrong.size:
            line = int(wrong[0])
            raise FedfrError(f"{path}, line {first + line}: the mark is {values[line, 2]}; expected 0 or 1")
        lefts.append(rows[:, 0])
        rights.append(rows[:, 1])
        marks.append(values[:, 2] == 1)
    pairs = TemplatePairs(np.concatenate(lefts), np.concatenate(rights), np.concatenate(marks))
    _check_repetitions(pairs, path, template_ids)
    return pairs


def rows_of(ids: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.int32]:
    """Where each of ``ids`` (any shape, none below 0) stands in ``known`` (T,) ascending; -1 where it does not."""
    if known[-1] < LARGEST_TABLE:
        # A table of all numbers, its last entry for those above, takes less time than the search.
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
    again = (ordered[1:] >> 1) == (ordered[:-1] >> 1)
    contradicted = np.flatnonzero(again & (ordered[1:] != ordered[:-1]))
    if contradicted.size:
        lines = np.flatnonzero(keys == ordered[contradicted[0]] >> 1)
        one, other = int(lines[0]), int(lines[np.argmax(pairs.same[lines] != pairs.same[lines[0]])])
        ids = " and ".join(str(template_ids[side[one]]) for side in (pairs.left, pairs.right))
        raise FedfrError(
            f"{path}, line {other + 1}: templates {ids} are marked otherwise in line {one + 1}; fetch the list again"
        )
    if again.any():
        warnings.warn(
            f"{path}: {int(again.sum())} of {len(pairs)} comparisons are listed before and count again",
            FacesWarning,
            stacklevel=3,
        )
