"""Quality gates: share of ordinary faces that pass, and of photographs with planted faults.

Run: ``python benchmarks/photo_quality.py [--every N] [--json]``; a minute with every face. Needs LFW's crops, landmarks
and originals in ``FEDFR_DATA_DIR`` and YuNet in ``FEDFR_MODELS_DIR``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fedfr.faces.alignment.detection import open_detector
from fedfr.faces.alignment.photographs.aligners import YunetAligner
from fedfr.faces.alignment.photographs.landmarks import read_landmarks
from fedfr.faces.readers.image_reading import read_image
from fedfr.models import OpenedModel, Preprocessing, build_backbone
from fedfr.recognition import GATES, Embedder, Quality, measure_quality
from harness import Line, answer, parser

SHARED = Path(__file__).resolve().parents[2] / "shared"
DATA = Path(os.environ.get("FEDFR_DATA_DIR", SHARED / "data"))
MODELS = Path(os.environ.get("FEDFR_MODELS_DIR", SHARED / "models"))
TARGET = 0.98

Image = NDArray[np.uint8]


def scaled(image: Image, by: float, more: float = 0) -> Image:
    """Change the light: grey levels times ``by``, plus ``more``."""
    return np.clip(image.astype(float) * by + more, 0, 255).astype(np.uint8)


def turned(image: Image, degrees: float) -> Image:
    """Turn the image about its centre."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height)), np.uint8)


def smaller(image: Image, by: float) -> Image:
    """Reduce the image."""
    return np.asarray(cv2.resize(image, None, fx=by, fy=by, interpolation=cv2.INTER_AREA), np.uint8)


FAULTS: Mapping[str, Callable[[Image], Any]] = {
    "none": lambda image: image,
    "Gaussian blur, 3 pixels": lambda image: cv2.GaussianBlur(image, (0, 0), 3),
    "moved by 21 pixels, horizontally": lambda image: cv2.filter2D(image, -1, np.ones((1, 21)) / 21),
    "moved by 15 pixels, diagonally": lambda image: cv2.filter2D(image, -1, np.eye(15) / 15),
    "a quarter of the light": lambda image: scaled(image, 0.25),
    "150 grey levels brighter": lambda image: scaled(image, 1, 150),
    "contrast of 15 %": lambda image: scaled(image, 0.15, 110),
    "turned by 60 degrees": lambda image: turned(image, 60),
    "on its side": np.rot90,
    "upside down": lambda image: image[::-1, ::-1],
    "cut off at a quarter of the crop": lambda image: image[:, 94:],
    "40 % of the size": lambda image: smaller(image, 0.4),
    "half the size": lambda image: smaller(image, 0.5),
}


def lfw(every: int) -> Iterator[Quality]:
    """Yield the quality of LFW's faces, by their known landmarks in the 250x250 originals."""
    for name, face in list(read_landmarks(DATA / "lfw250_landmarks.tsv").faces.items())[::every]:
        yield measure_quality(read_image(DATA / "lfw112" / name), face, (250, 250, 3))


def crops(folder: Path, every: int) -> Iterator[Quality]:
    """Yield the quality of aligned crops."""
    for path in sorted(folder.glob("*/*.jpg"))[::every]:
        yield measure_quality(read_image(path))


def passing(name: str, qualities: Iterator[Quality]) -> Iterator[Line]:
    """Yield a line for every gate: the share that passes, and reasons of the others."""
    measured = list(qualities)
    for gate in GATES.builtin:
        reasons = [GATES[gate].reasons(quality) for quality in measured]
        share = reasons.count(()) / len(reasons)
        counts = Counter(code for codes in reasons for code in codes)
        details = ", ".join(f"{code} {100 * count / len(reasons):.2f} %" for code, count in counts.most_common())
        asked = f"at least {100 * TARGET:.0f} %" if gate == "standard" else ""
        found = f"{100 * share:.2f} % of {len(reasons)} faces" + (f"; {details}" if details else "")
        yield Line(f"{name}, {gate}", asked, found, share >= TARGET if asked else None)


def faults() -> Iterator[Line]:
    """Yield a line for every fault: how many of the photographs pass the standard gate with it."""
    model = OpenedModel(build_backbone("slimface-small", 0), Preprocessing(), "generic")
    detector = YunetAligner(open_detector(MODELS / "face_detection_yunet_2023mar_int8bq.onnx"))
    embedder = Embedder(model, detector)
    photographs = [read_image(path) for path in sorted((DATA / "lfw250_sample").glob("*/*.jpg"))]
    for name, plant in FAULTS.items():
        seen = [embedder.look(np.ascontiguousarray(plant(image), np.uint8), alone=False) for image in photographs]
        reasons = [faces[0].reasons if faces else ("no-face",) for faces in seen]
        counts = Counter(code for codes in reasons for code in codes)
        details = ", ".join(f"{code} {count}" for code, count in counts.most_common())
        yield Line(f"fault: {name}", "", f"{reasons.count(())} of {len(reasons)} pass; {details}".rstrip("; "), None)


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--every", type=int, default=1, help="Use every N-th face.")
    given = options.parse_args()
    lines = [
        *passing("LFW", lfw(given.every)),
        *passing("web photographs, crops", crops(DATA / "pins112", given.every)),
        *faults(),
    ]
    answer("photo_quality", lines, threads=given.threads, as_json=given.json)


if __name__ == "__main__":
    main()
