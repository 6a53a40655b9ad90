"""Small RecordIO files with images of a single colour each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from fedfr.faces.readers.recordio.header import pack_payload
from fedfr.faces.writers.recordio import RecordWriter, write_recordio_file

__all__ = ["SAMPLES", "flat", "images", "insightface", "records"]

SAMPLES = ("fedfr_public", "fedfr_client_0001", "insightface")


def flat(value: int, size: tuple[int, int] = (112, 112), suffix: str = ".png") -> bytes:
    """One grey image; a PNG of it takes about a hundred bytes."""
    options = [cv2.IMWRITE_PNG_COMPRESSION, 9] if suffix == ".png" else []
    return cv2.imencode(suffix, np.full(size, value, np.uint8), options)[1].tobytes()


def images(labels: Sequence[int]) -> list[tuple[int, bytes]]:
    """One image for each label; the n-th has the grey value 10 n."""
    return [(label, flat(10 * (number + 1))) for number, label in enumerate(labels)]


def records(path: Path, labels: Sequence[int] = (0, 0, 1), first_identity: int | None = None) -> Path:
    """A file in FedFR's layout with its index."""
    write_recordio_file(path, images(labels), len(set(labels)), first_identity)
    return path


def insightface(path: Path, labels: Sequence[int] = (0, 0, 1), *, torn: bool = False) -> Path:
    """A file in InsightFace's layout with its index; ``torn``: its identity records span other people's images."""
    people, end = sorted(set(labels)), len(labels) + 1
    with path.open("wb") as file:
        writer = RecordWriter(file)
        writer.write(0, pack_payload([end, end + len(people)], 0))
        for key, (label, image) in enumerate(images(labels), start=1):
            writer.write(key, pack_payload([label, 0], key, image))
        for number, label in enumerate(people):
            first = 1 + list(labels).index(label)
            last = end if torn else first + list(labels).count(label)
            writer.write(end + number, pack_payload([first, last], end + number))
    path.with_suffix(".idx").write_bytes(writer.index())
    return path
