"""Image records and labels in the two layouts of face sets: those of InsightFace and of the FedFR split scripts."""

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
from fedfr.faces.readers.recordio.index import RecordIndex

__all__ = ["RecordLayout", "read_layout"]

CHUNK = 1 << 16


@dataclass(frozen=True)
class RecordLayout:
    """Image records in the order of their keys: ``keys``, byte ``offsets`` and ``labels`` of the file, each (N,).

    ``first_identity`` is the number of label 0 in a client's file of the FedFR layout. ``mixed_ranges`` is the number
    of identity records that span images with different labels.
    """

    keys: NDArray[np.int64]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]
    first_identity: int = 0
    mixed_ranges: int = 0


@dataclass(frozen=True)
class SetDeclaration:
    """Content of record 0: the keys of images and of identity records, and the number of the first identity.

    ``counted`` means that every key of ``images`` must exist; otherwise the number of images is unknown.
    """

    images: range
    identities: range = range(0)
    first_identity: int = 0
    counted: bool = True


NO_DECLARATION = SetDeclaration(range(1 << 62), counted=False)
UNREADABLE_DECLARATION = SetDeclaration(range(1, 1 << 62), counted=False)


def read_layout(file: RecordFile, index: RecordIndex, on_bad: OnBadRecord = raise_error) -> RecordLayout:
    """Read the labels of the image records that record 0 declares; if it declares none, of every record.

    Record 0 holds two labels or more: [n1, n2] in InsightFace's layout, whose images have the keys 1 … n1-1 and whose
    identity records those from n1 to n2-1; [n1, identities] or [n1, identities, first identity] in FedFR's. The
    two are distinguished by identities < n1 <= n2, as every identity has at least one image.

    Raises :class:`RecordError` for the first record that is missing or unreadable, unless ``on_bad`` continues: such
    records are then left out, and if record 0 is unreadable, every record with an image is used.
    """
    declared = _read_declaration(file, index, on_bad)
    chosen = index.between(declared.images.start, declared.images.stop)
    if declared.counted:
        _report_missing(file, declared.images, chosen, "images", on_bad)
    labels = np.empty(len(chosen), np.int64)
    kept = np.zeros(len(chosen), np.bool_)
    for start in range(0, len(chosen), CHUNK):
        rows = slice(start, start + CHUNK)
        labels[rows], kept[rows] = plain_labels(file, chosen.offsets[rows])
        for row in (start + np.flatnonzero(~kept[rows])).tolist():
            key, offset = int(chosen.keys[row]), int(chosen.offsets[row])
            try:
                label = _label(file, offset, declared)
            except RecordError as error:
                on_bad(error.with_key(key))
            except ValueError as error:
                on_bad(RecordError(file.path, f"record {key}", offset, str(error)))
            else:
                if label is not None:
                    labels[row], kept[row] = label, True
    keys, offsets, labels = chosen.keys[kept], chosen.offsets[kept], labels[kept]
    ranges = _ranges(file, index, declared, on_bad)
    starts, stops = exact_ranges(ranges[:, 1], ranges[:, 2], keys, labels)
    if len(labels) and labels.max() >= INEXACT:
        labels, known = exact_labels(labels, ranges[:, 0], starts, stops)
        for row in np.flatnonzero(~known).tolist():
            reason = f"has the label {labels[row]}, which float32 does not represent exactly; number labels from 0"
            on_bad(RecordError(file.path, f"record {keys[row]}", int(offsets[row]), reason))
        keys, offsets, labels = keys[known], offsets[known], labels[known]
        starts, stops = exact_ranges(ranges[:, 1], ranges[:, 2], keys, labels)
    mixed = int((label_changes(labels, starts, stops) > 0).sum())
    return RecordLayout(keys, offsets, labels, declared.first_identity, mixed)


def _label(file: RecordFile, offset: int, declared: SetDeclaration) -> int | None:
    """Return the label of an image record; None for a record without image if record 0 declares no images."""
    record = file.record(offset)
    header = unpack_header(file.payload_prefix(offset, HEADER.size + 4), record.length)
    if header.size < record.length:
        return whole_label(header.labels[0])
    if not declared.counted and header.count >= 2:
        return None  # a record about an identity or about the file
    raise ValueError("holds no image")


def _read_declaration(file: RecordFile, index: RecordIndex, on_bad: OnBadRecord) -> SetDeclaration:
    zero = index.between(0, 1)
    if not len(zero):
        on_bad(RecordError(file.path, "record 0", file.size, "is missing, which declares the number of images"))
        return UNREADABLE_DECLARATION
    offset = int(zero.offsets[0])
    try:
        header = unpack_header(file.payload(offset))
        return NO_DECLARATION if header.count < 2 else _parse_declaration(header, file, index)
    except RecordError as error:
        on_bad(error.with_key(0))
    except ValueError as error:
        on_bad(RecordError(file.path, "record 0", offset, str(error)))
    return UNREADABLE_DECLARATION


def _parse_declaration(header: ImageHeader, file: RecordFile, index: RecordIndex) -> SetDeclaration:
    end, second, *more = (whole_label(label) for label in header.labels[:3])
    if end < 1:
        raise ValueError("declares images up to key -1")
    after = int(index.keys[-1]) + 1
    if second >= end:
        # Beyond 2^24 both are rounded: images end where identity records begin, which end with the file.
        end = next((key for key in float32_preimage(end) if _is_identity(file, index, key)), _nearest(after, end))
        return SetDeclaration(range(1, end), range(end, _nearest(after, second)))
    return SetDeclaration(range(1, _nearest(after, end)), first_identity=more[0] if more else 0)


def _nearest(number: int, rounded: int) -> int:
    """Return ``number`` if float32 rounds it to ``rounded``, else ``rounded``."""
    return number if number in float32_preimage(rounded) else rounded


def _is_identity(file: RecordFile, index: RecordIndex, key: int) -> bool:
    """Whether the record ``key`` exists, has two labels or more and no image."""
    found = index.between(key, key + 1)
    if not len(found):
        return False
    offset = int(found.offsets[0])
    try:
        length = file.record(offset).length
        header = unpack_header(file.payload_prefix(offset, HEADER.size), length)
    except (RecordError, ValueError):
        return False
    return header.count >= 2 and header.size >= length


def _report_missing(file: RecordFile, wanted: range, found: RecordIndex, what: str, on_bad: OnBadRecord) -> None:
    if len(found) == len(wanted):
        return
    # The first record whose position differs from that in a complete file.
    gaps = np.flatnonzero(found.keys != np.arange(wanted.start, wanted.start + len(found)))
    first = wanted.start + (int(gaps[0]) if gaps.size else len(found))
    missing = len(wanted) - len(found)
    reason = f"is missing, as are {missing} of the {len(wanted)} {what} that record 0 declares"
    on_bad(RecordError(file.path, f"record {first}", file.size, reason))


def _ranges(file: RecordFile, index: RecordIndex, declared: SetDeclaration, on_bad: OnBadRecord) -> NDArray[np.int64]:
    """Return for every identity record (R, 3) its number from 0, and the start and stop of its keys as stored."""
    records = index.between(declared.identities.start, declared.identities.stop)
    _report_missing(file, declared.identities, records, "identity records", on_bad)
    ranges = []
    highest = float32_preimage(int(np.float32(declared.images.stop)))[-1]
    for key, offset in zip(records.keys.tolist(), records.offsets.tolist(), strict=True):
        try:
            header = unpack_header(file.payload(offset))
            if header.count < 2:
                raise ValueError(f"has {max(header.count, 1)} label; expected two for an identity record")
            first, last = (whole_label(label, 1) for label in header.labels[:2])
            if not first <= last <= highest:
                raise ValueError(
                    f"spans images {first} to {last}; expected a range within 1 to {declared.images.stop - 1}"
                )
        except RecordError as error:
            on_bad(error.with_key(key))
        except ValueError as error:
            on_bad(RecordError(file.path, f"record {key}", offset, str(error)))
        else:
            ranges.append((key - declared.identities.start, first, last))
    return np.asarray(ranges, np.int64).reshape(-1, 3)
