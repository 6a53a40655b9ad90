"""Photographs to aligned faces: images per second of ``fedfr faces import --align``, and the time of each step.

Run: ``python benchmarks/alignment.py --photographs FOLDER --detector FILE [--threads N] [--json]``; half a minute.
``FOLDER`` holds ``<identity>/<image>`` (by default LFW's 250x250 originals in ``FEDFR_DATA_DIR``), ``FILE`` is YuNet
(by default in ``FEDFR_MODELS_DIR``). Photographs are repeated until there are 448, under other names; files and page
cache are warm. CPU seconds are those of all threads: they say what a loaded machine would do were it idle.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2

from fedfr.faces import import_photographs
from fedfr.faces.alignment.detection import Detector, choose_main_face, open_detector
from fedfr.faces.alignment.photographs.aligners import YunetAligner
from fedfr.faces.alignment.photographs.outcome import sharpness
from fedfr.faces.alignment.photographs.photograph_reading import read_photograph
from fedfr.faces.alignment.template import align
from harness import Line, answer, parser, peak_memory

TARGET = 60
PHOTOGRAPHS = 448
REPETITIONS = 5
SHARED = Path(__file__).resolve().parents[2] / "shared"


def repeated(source: Path, place: Path) -> Path:
    """Return a folder with :data:`PHOTOGRAPHS` links to the photographs of ``source``."""
    found = sorted(path for path in source.glob("*/*") if path.is_file())
    if not found:
        raise SystemExit(f"{source} has no <identity>/<image>; name a folder of photographs with --photographs")
    for number in range(PHOTOGRAPHS):
        original = found[number % len(found)]
        link = place / original.parent.name / f"{number:04d}-{original.name}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(original)
    return place


def whole(source: Path, detector: Path, threads: int, place: Path) -> Line:
    """Run the complete import five times; return the least wall time and the least CPU time."""
    walls, processors, numbers = [], [], count()
    peak = 0
    for _ in range(REPETITIONS):
        started, used = time.perf_counter(), time.process_time()
        with peak_memory() as memory:
            aligner = YunetAligner(open_detector(detector))
            made = import_photographs(source, place / f"{next(numbers)}", aligner, threads=threads)
        walls.append(time.perf_counter() - started)
        processors.append(time.process_time() - used)
        peak = max(peak, memory.above)
        if len(made.faces) + len(made.skipped) != PHOTOGRAPHS:
            raise SystemExit("photographs were lost")
    rate, each = PHOTOGRAPHS / min(walls), min(processors) / PHOTOGRAPHS
    load = os.getloadavg()[0]
    return Line(
        f"{PHOTOGRAPHS} photographs imported with {threads} thread{'s' * (threads > 1)}",
        f"at least {TARGET} images/s" if threads > 1 else "",
        f"{rate:.0f} images/s (best of {REPETITIONS}; load {load:.1f}), {1000 * each:.2f} ms of CPU each",
        rate >= TARGET if threads > 1 else None,
        peak_bytes=peak,
        figures={"images/s": rate, "cpu_ms": 1000 * each, "images/s by CPU time": 1 / each, "load": load},
    )


def steps(source: Path, detector: Path) -> list[Line]:
    """Return the CPU milliseconds of each step, in one thread; the least of five passes."""
    paths = sorted(source.glob("*/*"))[:64]
    images = [read_photograph(path) for path in paths]
    finder = Detector(open_detector(detector))
    pairs = [(image, choose_main_face(found, image.shape)) for image in images if (found := finder.find(image))]
    crops = [align(image, face.points) for image, face in pairs]
    works: Sequence[tuple[str, Callable[[], object]]] = (
        ("read and decode", lambda: [read_photograph(path) for path in paths]),
        ("detect", lambda: [finder.find(image) for image in images]),
        ("align", lambda: [align(image, face.points) for image, face in pairs]),
        ("sharpness", lambda: [sharpness(crop) for crop in crops]),
    )
    lines = []
    for name, work in works:
        taken = []
        for _ in range(REPETITIONS):
            used = time.process_time()
            work()
            taken.append((time.process_time() - used) / len(paths))
        milliseconds = 1000 * min(taken)
        lines.append(Line(f"step: {name}", "", f"{milliseconds:.2f} ms of CPU", None, figures={"cpu_ms": milliseconds}))
    return lines


def main() -> None:
    """Measure and print the results."""
    options = parser(__doc__)
    data, models = (
        Path(os.environ.get(name, SHARED / folder))
        for name, folder in (("FEDFR_DATA_DIR", "data"), ("FEDFR_MODELS_DIR", "models"))
    )
    options.add_argument("--photographs", type=Path, default=data / "lfw250_sample")
    options.add_argument("--detector", type=Path, default=models / "face_detection_yunet_2023mar_int8bq.onnx")
    given = options.parse_args()
    with TemporaryDirectory() as name:
        place = Path(name)
        source = repeated(given.photographs, place / "photographs")
        lines = [whole(source, given.detector, threads, place / f"{threads}") for threads in {1, given.threads}]
        cv2.setNumThreads(1)
        lines += steps(source, given.detector)
    answer("alignment", lines, threads=given.threads, as_json=given.json)


if __name__ == "__main__":
    main()
