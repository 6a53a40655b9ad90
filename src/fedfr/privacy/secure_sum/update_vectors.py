"""Updates of a federation as vectors of a secure sum: ranges from the broadcast, changes, and the mean that results."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from fedfr.core.errors import FedfrError
from fedfr.privacy.secure_sum.fixed_point import Entry, Layout, Vector, decode_sum, encode_update

__all__ = ["layout_of", "mean_of", "vector_of"]

Tensors = Mapping[str, torch.Tensor]

# A change of 16 times the largest value of an entry is beyond what a trained model moves in a round, and costs four of
# the 31 bits. An entry of zeros, such as a new bias, has the range of one whose largest value is 1/4.
_WEIGHTS, _SMALLEST_WEIGHT = 16.0, 2.0**-2
# Running statistics follow the features of a site's images; a variance is a square.
_STATISTICS, _SMALLEST_STATISTIC = 64.0, 1.0


def layout_of(
    sent: Tensors, statistics: frozenset[str], sites: int, largest_count: int, clip_norm: float | None = None
) -> Layout:
    """Return the layout of the sum of updates of ``sent``, the tensors of the broadcast that sites train and share.

    It follows from the broadcast alone, so that all sites with the same model have the same layout. Integer entries,
    such as counters of BatchNorm, are left out: they stay at the sites. ``statistics``: BatchNorm's running statistics,
    which ``clip_norm`` does not limit. Raises :class:`FedfrError` if a value of the broadcast is NaN or infinite.
    """
    entries = []
    for name in sorted(sent):
        value = sent[name]
        if not value.dtype.is_floating_point:
            continue
        # Without a copy, as abs() would make.
        largest = max(-float(value.min()), float(value.max())) if value.numel() else 0.0
        if name in statistics:
            reach = _STATISTICS * max(largest, _SMALLEST_STATISTIC)
        else:
            reach = _WEIGHTS * max(largest, _SMALLEST_WEIGHT)
        entries.append(Entry(name, tuple(value.shape), reach, in_norm=name not in statistics))
    return Layout(tuple(entries), sites, largest_count, clip_norm)


def vector_of(layout: Layout, sent: Tensors, trained: Tensors, count: int) -> Vector:
    """Return the vector of a site: ``count`` images, and the change of every entry from ``sent`` to ``trained``.

    Raises :class:`FedfrError` as :func:`encode_update` does, and for a missing entry.
    """
    missing = [entry.name for entry in layout.entries if entry.name not in trained]
    if missing:
        raise FedfrError(f"the update has no {missing[0]}, which the secure sum has; train with the agreed method")
    changes = {entry.name: trained[entry.name] - sent[entry.name] for entry in layout.entries}
    return encode_update(layout, changes, count)


def mean_of(layout: Layout, sent: Tensors, total: Vector, members: int) -> tuple[int, dict[str, torch.Tensor]]:
    """Return the number of images of all members, and the mean of their models, weighted by images.

    Entries that are not summed are those of ``sent``. Raises :class:`FedfrError` as :func:`decode_sum` does.
    """
    count, changes = decode_sum(layout, total, members)
    mean = dict(sent)
    for name, value in sent.items():
        if name in changes:
            # One entry is in memory twice.
            mean[name] = (value + changes.pop(name)).to(value.dtype)
    return count, mean
