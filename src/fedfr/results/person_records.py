"""Outcomes by person in a file, one record for each model, client, protocol and metric."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from fedfr.core.archives import DAMAGED_ARCHIVE
from fedfr.core.errors import FedfrError
from fedfr.core.files import write_atomically
from fedfr.core.short_repr import Brief
from fedfr.evaluation.person_outcomes import PersonOutcomes

__all__ = ["PersonRecord", "read_person_records", "write_person_records"]

_LARGEST = 1 << 28
_COLUMNS = ("people", "genuine_accepted", "genuine", "impostor_accepted", "impostor")


@dataclass(frozen=True, repr=False)
class PersonRecord(Brief):
    """Outcomes by person of the metric of one row; ``client`` is empty for protocols without clients."""

    method: str
    seed: int
    client: str
    model: str
    protocol: str
    metric: str
    outcomes: PersonOutcomes


_KEY = tuple(field.name for field in fields(PersonRecord) if field.name != "outcomes")


def write_person_records(path: Path, records: Iterable[PersonRecord]) -> None:
    """Write records as a compressed ``.npz``: ``index`` (JSON text) and one array (5, P) of counts for each record.

    Rows of an array: label of the person, accepted and all genuine outcomes, accepted and all impostor outcomes.
    """
    index, arrays = [], {}
    for number, record in enumerate(records):
        found = record.outcomes
        numbers = {name: getattr(found, name) for name in ("impostors", "rate", "slope")}
        index.append({name: getattr(record, name) for name in _KEY} | numbers)
        arrays[str(number)] = np.stack([getattr(found, name) for name in _COLUMNS])
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, index=np.asarray(json.dumps(index)), **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content.getvalue())


def read_person_records(path: Path) -> Iterator[PersonRecord]:
    """Yield the records of a file; raises :class:`FedfrError` if it is damaged."""
    try:
        with ZipFile(path) as content:
            index = json.loads(str(_array(content, "index")))
            for number, entry in enumerate(index):
                columns = _array(content, str(number))
                if columns.dtype != np.int64 or columns.ndim != 2 or len(columns) != len(_COLUMNS):
                    raise ValueError(f"array {number} is {columns.dtype} of shape {columns.shape}")
                key: dict[str, Any] = {name: entry[name] for name in _KEY}
                impostors, rate, slope = int(entry["impostors"]), float(entry["rate"]), float(entry["slope"])
                people, found, genuine, false, impostor = columns
                outcomes = PersonOutcomes(people, found, genuine, false, impostor, impostors, rate, slope)
                yield PersonRecord(**key, outcomes=outcomes)
    except DAMAGED_ARCHIVE as error:
        raise FedfrError(f"{path} holds no outcomes by person ({error}); evaluate the run again") from error


def _array(content: ZipFile, name: str) -> NDArray[Any]:
    member = content.getinfo(f"{name}.npy")
    # A damaged length must not be allocated.
    if member.file_size > _LARGEST:
        raise ValueError(f"{name} has {member.file_size} bytes")
    array: NDArray[Any] = np.load(io.BytesIO(content.read(member)), allow_pickle=False)
    return array
