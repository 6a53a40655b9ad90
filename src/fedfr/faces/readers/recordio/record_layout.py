"""Image records and labels in the two layouts of face sets: InsightFace's and the FedFR split scripts'."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedfr.faces.readers.recordio.float_labels import (
    INEXACT,
    exact_labels,
    exact_ranges,
    float32_preimage,
    label_changes,
)
from fedfr.faces.readers.recordio.format import OnBadRecord, RecordError, RecordFile, raise_error
from fedfr.faces.readers.recordio.header import HEADER, ImageHeader, plain_labels, unpack_header, whole_label
from fedfr.faces.readers.recordio.index import Index

__all__ = ["Layout", "read_layout"]

CHUNK = 1 << 16


@dataclass(frozen=True)
class Layout:
    """Image records in the order of their keys: ``keys``, ``offsets``, ``labels`` as in the file, each (N,).

    ``first_identity``: what labels are counted from, in a client's file of the FedFR layout. ``mixed_ranges``: identity
    records that list images with another label among theirs.
    """

    keys: NDArray[np.int64]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]
    first_identity: int = 0
    mixed_ranges: int = 0


@dataclass(frozen=True)
class Announcement:
    """What record 0 says: the keys of images and of identity records, and where labels begin.

    ``counted``: every key of ``images`` must be there; otherwise nobody knows how many there were.
    """

    images: range
    identities: range = range(0)
    first_identity: int = 0
    counted: bool = True


NOT_ANNOUNCED = Announcement(range(1 << 62), counted=False)
UNREADABLE_ANNOUNCEMENT = Announcement(range(1, 1 << 62), counted=False)


def read_layout(file: RecordFile, index: Index, on_bad: OnBadRecord = raise_error) -> Layout:
    """Read the labels of every image record that record 0 announces; without any such number, of every record.

    Record 0 holds two labels or more: [n1, n2] in InsightFace's layout, whose images have the keys 1 … n1-1 and whose
    identity records those from n1 to n2-1; [n1, identities] or [n1, identities, first identity] in FedFR's. There is
    no doubt which: nobody has fewer than one image, so identities < n1 <= n2.

    Raises :class:`RecordError` for the first record that is missing or unreadable, unless ``on_bad`` goes on: such
    records are then left out, and where record 0 is lost, every record with an image is taken.
    """
    announced = _read_announcement(file, index, on_bad)
    chosen = index.between(announced.images.start, announced.images.stop)
    if announced.counted:
        _report_missing(file, announced.images, chosen, "images", on_bad)
    labels = np.empty(len(chosen), np.int64)
    kept = np.zeros(len(chosen), np.bool_)
    for start in range(0, len(chosen), CHUNK):
        rows = slice(start, start + CHUNK)
        labels[rows], kept[rows] = plain_labels(file, chosen.offsets[rows])
        for row in (start + np.flatnonzero(~kept[rows])).tolist():
            key, offset = int(chosen.keys[row]), int(chosen.offsets[row])
            try:
                label = _label(file, offset, announced)
            except RecordError as error:
                on_bad(error.with_key(key))
            except ValueError as error:
                on_bad(RecordError(file.path, f"record {key}", offset, str(error)))
            else:
                if label is not None:
                    labels[row], kept[row] = label, True
    keys, offsets, labels = chosen.keys[kept], chosen.offsets[kept], labels[kept]
    ranges = _ranges(file, index, announced, on_bad)
    starts, stops = exact_ranges(ranges[:, 1], ranges[:, 2], keys, labels)
    if len(labels) and labels.max() >= INEXACT:
        labels, known = exact_labels(labels, ranges[:, 0], starts, stops)
        for row in np.flatnonzero(~known).tolist():
            reason = (
                f"has the label {labels[row]}, which float32 does not tell from its neighbours; number labels from 0"
            )
            on_bad(RecordError(file.path, f"record {keys[row]}", int(offsets[row]), reason))
        keys, offsets, labels = keys[known], offsets[known], labels[known]
        starts, stops = exact_ranges(ranges[:, 1], ranges[:, 2], keys, labels)
    torn = int((label_changes(labels, starts, stops) > 0).sum())
    return Layout(keys, offsets, labels, announced.first_identity, torn)


def _label(file: RecordFile, offset: int, announced: Announcement) -> int | None:
    """The label of an image's record; None for one that holds no image where none was promised."""
    record = file.record(offset)
    header = unpack_header(file.payload_start(offset, HEADER.size + 4), record.length)
    if header.size < record.length:
        return whole_label(header.labels[0])
    if not announced.counted and header.count >= 2:
        return None  # what is known of an identity, or of the file
    raise ValueError("holds no image")


def _read_announcement(file: RecordFile, index: Index, on_bad: OnBadRecord) -> Announcement:
    zero = index.between(0, 1)
    if not len(zero):
        on_bad(RecordError(file.path, "record 0", file.size, "is missing, which says how many images there are"))
        return UNREADABLE_ANNOUNCEMENT
    offset = int(zero.offsets[0])
    try:
        header = unpack_header(file.payload(offset))
        return NOT_ANNOUNCED if header.count < 2 else _parse_announcement(header, file, index)
    except RecordError as error:
        on_bad(error.with_key(0))
    except ValueError as error:
        on_bad(RecordError(file.path, "record 0", offset, str(error)))
    return UNREADABLE_ANNOUNCEMENT


def _parse_announcement(header: ImageHeader, file: RecordFile, index: Index) -> Announcement:
    end, second, *more = (whole_label(label) for label in header.labels[:3])
    if end < 1:
        raise ValueError("announces images up to key -1")
    after = int(index.keys[-1]) + 1
    if second >= end:
        # Beyond 2^24 both are rounded: images end where identity records begin, and those with the file.
        end = next((key for key in float32_preimage(end) if _is_identity(file, index, key)), _nearest(after, end))
        return Announcement(range(1, end), range(end, _nearest(after, second)))
    return Announcement(range(1, _nearest(after, end)), first_identity=more[0] if more else 0)


def _nearest(number: int, rounded: int) -> int:
    """The number where it is one that float32 rounds to ``rounded``, else that."""
    return number if number in float32_preimage(rounded) else rounded


def _is_identity(file: RecordFile, index: Index, key: int) -> bool:
    """Whether there is a record of this key with two labels and no image."""
    found = index.between(key, key + 1)
    if not len(found):
        return False
    offset = int(found.offsets[0])
    try:
        length = file.record(offset).length
        header = unpack_header(file.payload_start(offset, HEADER.size), length)
    except (RecordError, ValueError):
        return False
    return header.count >= 2 and header.size >= length


def _report_missing(file: RecordFile, wanted: range, found: Index, what: str, on_bad: OnBadRecord) -> None:
    if len(found) == len(wanted):
        return
    # The first that is not where it would be if none were missing.
    gaps = np.flatnonzero(found.keys != np.arange(wanted.start, wanted.start + len(found)))
    first = wanted.start + (int(gaps[0]) if gaps.size else len(found))
    missing = len(wanted) - len(found)
    reason = f"is not there, and so are {missing} of the {len(wanted)} {what} that record 0 announces"
    on_bad(RecordError(file.path, f"record {first}", file.size, reason))


def _ranges(file: RecordFile, index: Index, announced: Announcement, on_bad: OnBadRecord) -> NDArray[np.int64]:
    """Of every identity record (R, 3) its number from 0, and as they stand there the first key and the one behind."""
    records = index.between(announced.identities.start, announced.identities.stop)
    _report_missing(file, announced.identities, records, "identity records", on_bad)
    ranges = []
    highest = float32_preimage(int(np.float32(announced.images.stop)))[-1]
    for key, offset in zip(records.keys.tolist(), records.offsets.tolist(), strict=True):
        try:
            header = unpack_header(file.payload(offset))
            if header.count < 2:
                raise ValueError(f"has {max(header.count, 1)} label; an identity record has two")
            first, last = (whole_label(label, 1) for label in header.labels[:2])
            if not first <= last <= highest:
                raise ValueError(f"spans images {first} to {last}; there are 1 to {announced.images.stop - 1}")
        except RecordError as error:
            on_bad(error.with_key(key))
        except ValueError as error:
            on_bad(RecordError(file.path, f"record {key}", offset, str(error)))
        else:
            ranges.append((key - announced.identities.start, first, last))
    return np.asarray(ranges, np.int64).reshape(-1, 3)
