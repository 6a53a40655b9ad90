"""Splits by partitioners of flwr-datasets, which divide a data set of the library ``datasets``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from fedfr.core.errors import FedfrError
from fedfr.faces.faceset import FaceSet
from fedfr.faces.splits.partition_files import Partition
from fedfr.faces.splits.recipes import make_split
from fedfr.faces.splits.split import Split

__all__ = ["Partitioner", "partitions_of", "split_from_partitions"]


class Partitioner(Protocol):
    """Interface of ``flwr_datasets.partitioner.Partitioner``."""

    dataset: Any

    @property
    def num_partitions(self) -> int:
        """Number of partitions."""
        ...

    @property
    def is_dataset_assigned(self) -> Callable[[], bool]:
        """Whether the data set is assigned, which is possible only once."""
        ...

    @property
    def load_partition(self) -> Callable[[int], Any]:
        """Return one partition, a selection of rows."""
        ...


def partitions_of(faces: FaceSet, partitioner: Partitioner) -> list[Partition | None]:
    """Return the partition of each image, in the order of ``faces``; None for images in none.

    The partitioner, which must be new, gets a data set with the columns ``index``, ``identity`` (a name), ``label`` (a
    number) and ``name``, without images. Raises :class:`FedfrError` for a partitioner that has a data set already, that
    divides columns, or that assigns an image to two partitions.
    """
    try:
        from datasets import Dataset
    except ImportError as error:
        raise FedfrError("partitioners need the library datasets; pip install flwr-datasets") from error
    kind = type(partitioner).__name__
    if partitioner.is_dataset_assigned():
        raise FedfrError(f"the {kind} has a data set already; create a new one")
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
                    "use one that assigns every image once"
                )
            found[index] = number
    return found


def split_from_partitions(faces: FaceSet, partitioner: Partitioner, **settings: Any) -> Split:
    """Return a checked split with one client per partition; ``settings`` are those of the recipe ``partition``.

    ``partitioner`` is a new partitioner of flwr-datasets that divides rows; it gets a data set with the columns
    ``index``, ``identity``, ``label`` and ``name``. Raises :class:`FedfrError` as :func:`partitions_of` and the recipe
    do.

    >>> from importlib.util import find_spec
    >>> from fedfr.faces import import_orl, split_from_partitions
    >>> if find_spec("flwr_datasets") is not None:
    ...     from flwr_datasets.partitioner import NaturalIdPartitioner
    ...     split = split_from_partitions(import_orl(), NaturalIdPartitioner("identity"), public_identities=16)
    """
    split = make_split(faces, "partition", partition=partitions_of(faces, partitioner), **settings)
    return replace(split, settings={**split.settings, "partition": type(partitioner).__name__})
