"""Sources of the five landmarks of a photograph: a detector or a file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.core.registry import Entry, Registry
from fedfr.faces.alignment.detection import Detector, DetectorFile, Face, open_detector
from fedfr.faces.alignment.photographs.landmarks import LandmarksFile, read_landmarks

__all__ = [
    "ALIGNERS",
    "Aligner",
    "AlignerFiles",
    "AlignmentMethod",
    "LandmarksAligner",
    "YunetAligner",
    "make_aligner",
    "refuse_options",
]


class Aligner(Protocol):
    """Called from several threads at once."""

    @property
    def nothing(self) -> str:
        """The reason for skipping an image without a face: see :mod:`fedfr.faces.alignment.photographs.reasons`."""
        ...

    @property
    def facts(self) -> Mapping[str, str]:
        """What its results depend on; an import can only go on where these are the same."""
        ...

    def faces(self, name: str, image: NDArray[np.uint8]) -> tuple[Face, ...]:
        """The faces of an image called ``name``, RGB."""
        ...


class YunetAligner:
    """Aligner that detects faces with YuNet."""

    nothing = "no-face"

    def __init__(self, file: DetectorFile) -> None:
        self.facts = {"align": "yunet", "detector": file.sha256}
        self._file = file
        self._own = threading.local()

    def faces(self, name: str, image: NDArray[np.uint8]) -> tuple[Face, ...]:
        """What the detector of this thread finds."""
        if not hasattr(self._own, "detector"):
            self._own.detector = Detector(self._file)
        detector: Detector = self._own.detector
        return detector.find(image)


class LandmarksAligner:
    """Aligner that reads the landmarks from a file."""

    nothing = "no-landmarks"

    def __init__(self, file: LandmarksFile) -> None:
        self.facts = {"align": "landmarks", "landmarks": file.sha256}
        self._faces = file.faces

    def faces(self, name: str, image: NDArray[np.uint8]) -> tuple[Face, ...]:
        """The file's line for ``name``."""
        return (self._faces[name],) if name in self._faces else ()


@dataclass(frozen=True)
class AlignerFiles:
    """Files that the user may give for an alignment method."""

    detector: Path | None = None
    detector_sha256: str | None = None
    landmarks: Path | None = None


@dataclass(frozen=True)
class AlignmentMethod:
    """A way of aligning: what makes its aligner (None: images stay as they are), and the files it uses."""

    make: Callable[[AlignerFiles], Aligner | None]
    uses: tuple[str, ...] = ()


def _yunet(files: AlignerFiles) -> Aligner:
    if files.detector is None:
        raise FedfrError(
            "--align yunet needs --detector FILE, an .onnx of YuNet "
            "(in OpenCV's model zoo, licence Apache-2.0/MIT); fedfr brings none"
        )
    return YunetAligner(open_detector(files.detector, files.detector_sha256))


def _landmarks(files: AlignerFiles) -> Aligner:
    if files.landmarks is None:
        raise FedfrError("--align landmarks needs --landmarks FILE.tsv with five points of every image")
    return LandmarksAligner(read_landmarks(files.landmarks))


ALIGNERS: Registry[AlignmentMethod] = Registry(
    "--align",
    (
        Entry("none", AlignmentMethod(lambda files: None), "images are aligned already"),
        Entry(
            "yunet",
            AlignmentMethod(_yunet, ("detector", "detector_sha256")),
            "five points found by YuNet, a model given by --detector",
            "Wu, Peng and Yu, YuNet: A tiny millisecond-level face detector, Machine Intelligence Research 2023",
        ),
        Entry("landmarks", AlignmentMethod(_landmarks, ("landmarks",)), "five points read from the file --landmarks"),
    ),
)


def refuse_options(given: Mapping[str, object], meant: str) -> None:
    """Raise :class:`FedfrError` for the first option that has a value; ``meant`` says for what it is."""
    for option, value in given.items():
        if value:
            raise FedfrError(f"{option} means nothing here: it is {meant}")


def make_aligner(name: str, files: AlignerFiles) -> Aligner | None:
    """The aligner called ``name``; None where images stay as they are.

    Raises :class:`FedfrError` for an unknown name, for a file that is missing or broken, and for one that this way of
    aligning does not use.
    """
    way = ALIGNERS[name]
    for field in fields(files):
        if getattr(files, field.name) is not None and field.name not in way.uses:
            option = f"--{field.name.replace('_', '-')}"
            wanted = next(other.name for other in ALIGNERS if field.name in ALIGNERS[other.name].uses)
            raise FedfrError(f"{option} is for --align {wanted}, this is --align {name}; leave it out or change that")
    return way.make(files)
