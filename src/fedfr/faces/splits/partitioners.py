"""Splits by the partitioners of flwr-datasets, which divide a data set of the library ``datasets``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from fedfr.core.errors import FedfrError
from fedfr.faces.faceset import FaceSet
from fedfr.faces.splits.identity_recipes import make_split
from fedfr.faces.splits.partition_files import Partition
from fedfr.faces.splits.split import Split

__all__ = ["Partitioner", "partitions_of", "split_from_partitions"]


class Partitioner(Protocol):
    """What a ``flwr_datasets.partitioner.Partitioner`` offers."""

    dataset: Any

    @property
    def num_partitions(self) -> int:
        """How many there are."""
        ...

    @property
    def is_dataset_assigned(self) -> Callable[[], bool]:
        """Whether it has its data set already; it takes only one."""
        ...

    @property
    def load_partition(self) -> Callable[[int], Any]:
        """One of them, a choice of the rows."""
        ...


def partitions_of(faces: FaceSet, partitioner: Partitioner) -> list[Partition | None]:
    """The partition of each image, in the order of ``faces``; None for those that are in none.

    The partitioner, which must be new, is shown a data set with the columns ``index``, ``identity`` (a name), ``label``
    (its number) and ``name``, without images. Raises :class:`FedfrError` for one that has a data set already, that
    divides columns, or that puts an image into two partitions.
    """
    try:
        from datasets import Dataset
    except ImportError as error:
        raise FedfrError("partitioners need the library datasets; pip install flwr-datasets") from error
    kind = type(partitioner).__name__
    if partitioner.is_dataset_assigned():
        raise FedfrError(f"the {kind} has a data set already; make a new one")
    labels = faces.labels.tolist()
    partitioner.dataset = Dataset.from_dict(
        {
            "index": list(range(len(faces))),
            "identity": [faces.identities[label] for label in labels],
            "label": labels,
            "name": list(faces.names),
        }
    )
    found: list[Partition | None] = [None] * len(faces)
    for number in range(partitioner.num_partitions):
        part = partitioner.load_partition(number)
        if "index" not in getattr(part, "column_names", ()):
            raise FedfrError(f"the {kind} divides columns, not images; use one that divides rows")
        for index in part["index"]:
            if found[index] is not None:
                raise FedfrError(
                    f"the {kind} puts {faces.names[index]!r} into partitions {found[index]} and {number}; "
                    "use one that gives every image to one"
                )
            found[index] = number
    return found


def split_from_partitions(faces: FaceSet, partitioner: Partitioner, **settings: Any) -> Split:
    """A checked split with a client for each partition; ``settings`` are those of the recipe ``partition``.

    Raises :class:`FedfrError` as :func:`partitions_of` and the recipe do.
    """
    split = make_split(faces, "partition", partition=partitions_of(faces, partitioner), **settings)
    return replace(split, settings={**split.settings, "partition": type(partitioner).__name__})
