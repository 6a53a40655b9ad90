"""Archive of outcomes by person: one ``.npz`` for many records, whose common columns are stored once.

Members: ``index`` (JSON text: the sizes of the groups of people, and for each record its key, numbers and group),
``groups`` (3, ·) with the people, genuine and impostor outcomes of one group after the other, and ``accepted`` (2, ·)
with the accepted genuine and impostor outcomes of one record after the other. Archives of earlier versions have all
five columns of every record in ``counts``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from fedfr.evaluation.person_outcomes import PersonOutcomes
from fedfr.results.person_records import PersonRecord

__all__ = ["PeopleArchive", "read_people"]

_GROUP = ("people", "genuine", "impostor")
_ACCEPTED = ("genuine_accepted", "impostor_accepted")
_EARLIER = ("people", "genuine_accepted", "genuine", "impostor_accepted", "impostor")
_NUMBERS = ("impostors", "rate", "slope")
_KEY = tuple(field.name for field in fields(PersonRecord) if field.name != "outcomes")


class PeopleArchive:
    """Records to be written; all methods, rates and scorings of a client have one group of people."""

    def __init__(self) -> None:
        self._groups: dict[bytes, tuple[int, np.ndarray]] = {}
        self._index: list[dict[str, Any]] = []
        self._accepted: list[np.ndarray] = []

    def add(self, cell: str, record: PersonRecord) -> None:
        """Add a record of a cell."""
        found = record.outcomes
        group = np.stack([getattr(found, name) for name in _GROUP])
        number, _ = self._groups.setdefault(group.tobytes(), (len(self._groups), group))
        key = {name: getattr(record, name) for name in _KEY}
        self._index.append({"cell": cell, **key, **{name: getattr(found, name) for name in _NUMBERS}, "group": number})
        accepted = np.stack([getattr(found, name) for name in _ACCEPTED])
        # Smaller numbers: the records of a benchmark with all rates and scorings are hundreds of megabytes in int64.
        self._accepted.append(accepted.astype(np.min_scalar_type(int(accepted.max(initial=0)))))

    def write(self, path: Path) -> None:
        """Write the archive; remove an earlier one if there are no records."""
        path.unlink(missing_ok=True)
        if not self._index:
            return
        groups = [group for _, group in self._groups.values()]
        index = {"sizes": [group.shape[1] for group in groups], "records": self._index}
        content = io.BytesIO()
        np.savez_compressed(
            content,
            allow_pickle=False,
            index=np.asarray(json.dumps(index)),
            groups=np.concatenate(groups, axis=1),
            accepted=np.concatenate(self._accepted, axis=1),
        )
        path.write_bytes(content.getvalue())


def read_people(path: Path) -> Iterator[tuple[str, PersonRecord]]:
    """Yield the records of an archive with their cell; none if there is no file."""
    if not path.exists():
        return
    with np.load(path, allow_pickle=False) as content:
        index = json.loads(str(content["index"]))
        if "counts" in content:
            records, sizes = index, [entry["count"] for entry in index]
            columns = (dict(zip(_EARLIER, each, strict=True)) for each in _parts(content["counts"], sizes))
        else:
            records, groups = index["records"], _parts(content["groups"], index["sizes"])
            of_record = [groups[entry["group"]] for entry in records]
            accepted = _parts(content["accepted"].astype(np.int64), [group.shape[1] for group in of_record])
            columns = (
                dict(zip((*_GROUP, *_ACCEPTED), (*group, *each), strict=True))
                for group, each in zip(of_record, accepted, strict=True)
            )
    for entry, own in zip(records, columns, strict=True):
        outcomes = PersonOutcomes(**own, **{name: entry[name] for name in _NUMBERS})
        yield entry["cell"], PersonRecord(**{name: entry[name] for name in _KEY}, outcomes=outcomes)


def _parts(columns: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    return np.split(columns, np.cumsum(sizes)[:-1], axis=1)
