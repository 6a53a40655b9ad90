"""Rules for identities with images in several partitions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from fedfr.core.errors import FedfrError
from fedfr.core.registry import Entry, Registry
from fedfr.faces.faceset import FaceSet
from fedfr.faces.splits.partition_files import Partition

__all__ = ["SHARED_IDENTITIES", "PartitionCounts"]

MAX_LISTED = 3

PartitionCounts = Mapping[int, Counter[Partition]]
"""Number of images by identity (label) and partition, in the order of partitions."""


def _refuse(faces: FaceSet, spread: PartitionCounts) -> dict[int, Partition]:
    shared = {label: found for label, found in spread.items() if len(found) > 1}
    if shared:
        listed = [
            f"{faces.identities[label]} ({', '.join(f'{images} in {own}' for own, images in found.items())})"
            for label, found in list(shared.items())[:MAX_LISTED]
        ]
        more = [f"and {len(shared) - MAX_LISTED} more"] if len(shared) > MAX_LISTED else []
        raise FedfrError(
            f"{len(shared)} of {len(spread)} identities have images in several partitions: "
            f"{', '.join([*listed, *more])}; keep each in one, or set shared_identities to largest or drop"
        )
    return _drop(faces, spread)


def _drop(faces: FaceSet, spread: PartitionCounts) -> dict[int, Partition]:
    return {label: next(iter(found)) for label, found in spread.items() if len(found) == 1}


def _largest(faces: FaceSet, spread: PartitionCounts) -> dict[int, Partition]:
    return {label: max(found, key=found.__getitem__) for label, found in spread.items()}


SHARED_IDENTITIES: Registry[Callable[[FaceSet, PartitionCounts], dict[int, Partition]]] = Registry(
    "split setting shared_identities",
    (
        Entry("refuse", _refuse, "they are an error"),
        Entry("drop", _drop, "they are omitted"),
        Entry("largest", _largest, "the partition with most of their images keeps these, the first of equals"),
    ),
)
"""Each returns the partition of an identity by label; omitted identities are missing."""
