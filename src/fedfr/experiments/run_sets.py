"""Verification sets of a run (``evaluation.sets``): checked and recorded at its start, compared whenever opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json, write_json
from fedfr.experiments.components import RunComponents
from fedfr.faces import VerificationSet, read_verification_set
from fedfr.faces.array_columns import concatenate_indices

__all__ = ["SETS", "check_sets", "open_set", "record_sets"]

SETS = "verification_sets.json"
"""Record of the sets in a run's folder."""


def record_sets(components: RunComponents) -> None:
    """Check every verification set of a new run and record its fingerprint.

    Every image is decoded. Raises :class:`FedfrError` for a file that is missing, damaged or no verification set, and
    for an image that the run trains on. People cannot be compared, since these files do not name them.
    """
    record = {name: _checked(components, name) for name in components.config.evaluation.sets}
    if record:
        write_json(components.folder / SETS, record)


def check_sets(components: RunComponents) -> None:
    """Raise :class:`FedfrError` unless every verification set is the one that the run began with."""
    for name in components.config.evaluation.sets:
        open_set(components, name)


def open_set(components: RunComponents, name: str) -> VerificationSet:
    """Return a verification set of a run; raises :class:`FedfrError` unless it is the one that the run began with."""
    found, path = _read(components, name), components.folder / SETS
    record = read_json(path) if path.exists() else {}
    began = record.get(name) if isinstance(record, dict) else None
    if not isinstance(began, dict):
        raise FedfrError(
            f"evaluation.sets.{name} is not a set that {components.folder} began with; begin a new run, or give "
            f"`fedfr evaluate` one model and --faces {found.path}"
        )
    if began.get("fingerprint") != found.fingerprint():
        raise FedfrError(
            f"evaluation.sets.{name}: {found.path} has changed since {components.folder} began; restore it, or begin "
            "a new run"
        )
    return found


def _read(components: RunComponents, name: str) -> VerificationSet:
    try:
        return read_verification_set(Path(components.config.evaluation.sets[name]))
    except FedfrError as error:
        raise type(error)(f"evaluation.sets.{name}: {error}") from error


def _checked(components: RunComponents, name: str) -> dict[str, Any]:
    """Check one set; returns its entry in the record."""
    found, faces, split = _read(components, name), components.faces, components.split
    distinct, rows = found.distinct()
    try:
        digests = distinct.digests()
    except FedfrError as error:
        raise type(error)(f"evaluation.sets.{name}: {error}") from error
    trained = concatenate_indices([split.public, *(client.train for client in split.clients.values())])
    known = np.flatnonzero(np.isin(faces.labels, np.unique(faces.labels[trained])))
    ours = faces.digests().take(known)
    if digests.intersects(ours):
        first = {digest: image for image, digest in zip(known.tolist(), ours, strict=True)}
        row, image = next(
            (row, first[each]) for row, place in enumerate(rows) if (each := digests[int(place)]) in first
        )
        raise FedfrError(
            f"evaluation.sets.{name}: image {row} of pair {row // 2} in {found.path} is {faces.names[image]}, of a "
            "person whom this run trains on; give pairs of other people"
        )
    same = int(found.same.sum())
    counts = {"genuine": same, "impostor": len(found.same) - same}
    return {"file": found.path.name, "fingerprint": found.fingerprint(), **counts}
