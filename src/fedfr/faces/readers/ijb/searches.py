"""Galleries and probes of the 1:N protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.faces.readers.ijb.template_pairs import rows_of
from fedfr.faces.readers.ijb.text_lines import parse_whole_number, table_lines

__all__ = ["SearchList", "Searches", "read_searches"]

COLUMNS = ("TEMPLATE_ID", "SUBJECT_ID")


@dataclass(frozen=True)
class SearchList:
    """Templates of a gallery or of the probes: rows (n,) in all templates, and the subject number of each (n,)."""

    name: str
    templates: NDArray[np.int32]
    subjects: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.subjects)


@dataclass(frozen=True)
class Searches:
    """Two disjoint galleries, with one template per subject, and the probes."""

    galleries: tuple[SearchList, ...]
    probes: SearchList


def read_searches(galleries: Sequence[tuple[str, Path]], probes: Path, template_ids: NDArray[np.int64]) -> Searches:
    """Read CSV files with the columns TEMPLATE_ID, SUBJECT_ID and others; a template has one line per image.

    ``galleries`` are names and files; ``template_ids`` (T,) are the ascending ids of templates with images. Raises
    :class:`FedfrError` naming file and line for another header, a value that is not a number, a template without images
    or with two subjects, and a subject with two templates in the galleries.
    """
    enrolled: dict[int, tuple[int, str]] = {}
    found = []
    for name, path in galleries:
        gallery, lines = _read(name, path, template_ids)
        for template, (subject, where) in lines.items():
            if subject in enrolled:
                other, before = enrolled[subject]
                raise FedfrError(
                    f"{where}: template {template} enrols subject {subject}, as does template {other} in {before}; "
                    "keep one of them"
                )
            enrolled[subject] = (template, where)
        found.append(gallery)
    return Searches(tuple(found), _read("probes", probes, template_ids)[0])


def _read(name: str, path: Path, known: NDArray[np.int64]) -> tuple[SearchList, dict[int, tuple[int, str]]]:
    """Return the list in ascending order of templates, and the subject and first line of each template."""
    lines: dict[int, tuple[int, str]] = {}
    for where, cells in table_lines(path, COLUMNS):
        template, subject = (
            parse_whole_number(cell, where, column) for cell, column in zip(cells, COLUMNS, strict=True)
        )
        before = lines.setdefault(template, (subject, where))
        if before[0] != subject:
            raise FedfrError(
                f"{where}: template {template} has subject {subject}, but {before[0]} in "
                f"{before[1].rpartition(', ')[2]}; fetch the list again"
            )
    ids = np.array(sorted(lines), np.int64)
    rows = rows_of(ids, known)
    if (rows < 0).any():
        template = int(ids[int(np.argmin(rows))])
        raise FedfrError(f"{lines[template][1]}: template {template} has no images; fetch the lists again")
    return SearchList(name, rows, np.array([lines[template][0] for template in ids.tolist()], np.int64)), lines
