"""Private arrays and words, and the search for any of them in the bytes of messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

WINDOW = 24
# Shorter stretches stand in megabytes of weights by chance.
SHORTEST = 8
LABEL_TYPES = ("uint8", "int16", "int32", "int64", "float16", "float32", "float64")


def raw(tensor: torch.Tensor) -> bytes:
    """A tensor's bytes."""
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def as_sent(array: torch.Tensor) -> list[bytes]:
    """An array's bytes as it is and, of floats, in the precisions and the unit length a leak might be sent in."""
    forms = [array]
    if array.dtype.is_floating_point:
        unit = torch.nn.functional.normalize(array, dim=-1)
        forms += [form.to(dtype) for form in (array, unit) for dtype in (torch.half, torch.bfloat16, torch.double)]
        forms.append(unit)
    return [raw(form) for form in forms]


def stretches(data: bytes) -> list[bytes]:
    """Return a few parts of ``data`` that every message with it contains; repetitive parts are omitted."""
    starts = sorted({int(start) for start in np.linspace(0, max(0, len(data) - WINDOW), 4)})
    parts = [data[start : start + WINDOW] for start in starts]
    return [part for part in parts if len(part) >= SHORTEST and len(set(part)) > 3]


def windows_in(vector: npt.NDArray[np.uint32], messages: Iterable[bytes]) -> int:
    """Return how many places of messages hold any 32 bytes in succession of a vector that begin at a multiple of 32.

    Parts with few different values are left out: zeros are everywhere.
    """
    rows = vector[: len(vector) // 8 * 8].reshape(-1, 8)
    ordered = np.sort(rows, axis=1)
    rows = rows[(ordered[:, 1:] != ordered[:, :-1]).sum(1) > 3]
    assert len(rows), "nothing of the vector can be recognized"
    joined = rows.tobytes()
    windows = {joined[place : place + 32] for place in range(0, len(joined), 32)}
    # Only where the first three bytes are those of a window is the whole compared.
    table, low = np.zeros(1 << 24, bool), np.uint32((1 << 24) - 1)
    table[rows[:, 0] & low] = True
    found = 0
    for data in messages:
        for offset in range(min(4, len(data) - 31)):
            words = np.frombuffer(data, "<u4", (len(data) - offset) // 4, offset)
            for place in (offset + 4 * np.flatnonzero(table[words & low])).tolist():
                found += data[place : place + 32] in windows
    return found


class Secrets:
    """Values that no message may contain, by name.

    A table says for every three bytes whether some secret holds them at its anchor; only where it does is the whole
    compared. The anchor is the part of most different bytes: zeros, of which labels are full, are everywhere.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._table = np.zeros(1 << 24, bool)
        self._by_anchor: dict[bytes, list[tuple[bytes, int, str]]] = {}

    def whole(self, name: str, data: bytes) -> None:
        """Add ``data``, which no message may contain as a whole."""
        self.names.add(name)
        anchor = max(range(min(WINDOW, len(data)) - 2), key=lambda place: len(set(data[place : place + 3])))
        key = data[anchor : anchor + 3]
        self._table[int.from_bytes(key, "little")] = True
        self._by_anchor.setdefault(key, []).append((data, anchor, name))

    def array(self, name: str, array: torch.Tensor) -> None:
        """Add an array of which no message may contain any part in any type."""
        forms = [stretches(form) for form in as_sent(array)]
        assert forms[0], f"nothing of {name} can be recognized"
        for part in {part for form in forms for part in form}:
            self.whole(name, part)

    def rows(self, name: str, matrix: torch.Tensor) -> None:
        """Every row by itself, since one alone may be sent."""
        for number, row in enumerate(matrix.reshape(-1, matrix.shape[-1])):
            self.array(f"{name} row {number}", row)

    def labels(self, name: str, labels: Any) -> None:
        """Add label arrays as a whole, in every type; parts of them are too short to search for."""
        for dtype in LABEL_TYPES:
            self.whole(f"{name} {dtype}", np.asarray(labels).astype(dtype).tobytes())

    def found(self, messages: Sequence[bytes]) -> list[str]:
        """Return the names of the secrets in any message, at any offset."""
        names: dict[str, None] = {}
        for message in messages:
            data = np.frombuffer(message, np.uint8).astype(np.uint32)
            starts = data[:-2] | data[1:-1] << 8 | data[2:] << 16
            for place in np.flatnonzero(self._table[starts]).tolist():
                for part, anchor, name in self._by_anchor[message[place : place + 3]]:
                    if place >= anchor and message.startswith(part, place - anchor):
                        names[name] = None
        return list(names)
