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
    """Source of the landmarks of a photograph; called from several threads at once."""

    @property
    def no_face_reason(self) -> str:
        """Reason for skipping an image without faces, a key of :data:`~.reasons.REASONS`."""
        ...

    @property
    def settings(self) -> Mapping[str, str]:
        """Everything on which the results depend; an interrupted import continues only with equal settings."""
        ...

    def faces(self, name: str, image: NDArray[np.uint8]) -> tuple[Face, ...]:
        """Return the faces in the uint8 RGB ``image`` (height, width, 3) called ``name``."""
        ...


class YunetAligner:
    """Aligner that detects faces with YuNet."""

    no_face_reason = "no-face"

    def __init__(self, file: DetectorFile) -> None:
        self.settings = {"align": "yunet", "detector": file.sha256}
        self._file = file
        self._own = threading.local()

    def faces(self, name: str, image: NDArray[np.uint8]) -> tuple[Face, ...]:
        """Return the faces that the detector of the calling thread finds."""
        if not hasattr(self._own, "detector"):
            self._own.detector = Detector(self._file)
        detector: Detector = self._own.detector
        return detector.find(image)


class LandmarksAligner:
    """Aligner that reads the landmarks from a file."""

    no_face_reason = "no-landmarks"

    def __init__(self, file: LandmarksFile) -> None:
        self.settings = {"align": "landmarks", "landmarks": file.sha256}
        self._faces = file.faces

    def faces(self, name: str, image: NDArray[np.uint8]) -> tuple[Face, ...]:
        """Return the face in the file's line for ``name``, or none."""
        return (self._faces[name],) if name in self._faces else ()


@dataclass(frozen=True)
class AlignerFiles:
    """Files that alignment methods use: detector model with its confirmed SHA-256, landmarks."""

    detector: Path | None = None
    detector_sha256: str | None = None
    landmarks: Path | None = None


@dataclass(frozen=True)
class AlignmentMethod:
    """An alignment method: the factory of its aligner (None for no alignment), and the files it uses."""

    make: Callable[[AlignerFiles], Aligner | None]
    uses: tuple[str, ...] = ()


def _yunet(files: AlignerFiles) -> Aligner:
    if files.detector is None:
        raise FedfrError(
            "--align yunet needs --detector FILE, an .onnx of YuNet "
            "(in OpenCV's model zoo, licence Apache-2.0/MIT), which fedfr does not include"
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
            "five points detected by YuNet, with the model --detector",
            "Wu, Peng and Yu, YuNet: A tiny millisecond-level face detector, Machine Intelligence Research 2023",
        ),
        Entry("landmarks", AlignmentMethod(_landmarks, ("landmarks",)), "five points from the file --landmarks"),
    ),
)


def refuse_options(given: Mapping[str, object], meant: str) -> None:
    """Raise :class:`FedfrError` for the first option that has a value; ``meant`` is its purpose, with advice."""
    for option, value in given.items():
        if value:
            raise FedfrError(f"{option} has no effect here: it is {meant}")


def make_aligner(name: str, files: AlignerFiles) -> Aligner | None:
    """Create the aligner called ``name``, a key of :data:`ALIGNERS`; None for ``none``.

    Raises :class:`FedfrError` for an unknown name, for a file that is missing or damaged, and for one that the method
    does not use.
    """
    method = ALIGNERS[name]
    for field in fields(files):
        if getattr(files, field.name) is not None and field.name not in method.uses:
            option = f"--{field.name.replace('_', '-')}"
            wanted = next(other.name for other in ALIGNERS if field.name in ALIGNERS[other.name].uses)
            raise FedfrError(f"{option} is for --align {wanted}, not --align {name}; leave it out or change --align")
    return method.make(files)
