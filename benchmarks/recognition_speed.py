"""Recognition of people in photographs: time of each step, enrolment, search and opening.

Run: ``python benchmarks/recognition_speed.py [--threads N] [--repetitions N] [--templates N] [--models NAME …]
[--insightface FOLDER] [--json]``; a few minutes. With ``--sizes``, it measures larger photographs instead, in CPU
time on one thread, which is the time on an idle machine: the same ones, enlarged until the face fills a third of the
height, on grey. Needs LFW's crops and its 56 originals in ``FEDFR_DATA_DIR`` and YuNet
in ``FEDFR_MODELS_DIR``. Networks have random weights, which take the same time. The plain pipeline is what one would
write with OpenCV and the network alone: detection, alignment, one pass without the mirror image, cosine; it has no
quality gate, no threshold of its own and no journal. With ``--insightface``, the folder ``python-package`` of a
checkout of InsightFace, its ``ArcFaceONNX`` aligns and recognizes with the same ONNX file, after the same detection:
InsightFace's detectors come with weights for research only. It needs scikit-image.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from fedfr.faces import FaceSet
from fedfr.faces.alignment.detection import Detector, choose_main_face, open_detector
from fedfr.faces.alignment.photographs.photograph_reading import decode_photograph
from fedfr.faces.alignment.template import align
from fedfr.faces.readers.image_reading import read_image
from fedfr.models import BACKBONES, Contract, OpenedModel, build_backbone, open_model
from fedfr.models.network_files import save_network
from fedfr.models.onnx_export import export_onnx
from fedfr.recognition import Embedder, Recognizer
from fedfr.recognition.decision import NO_DECISION
from fedfr.recognition.gallery.gallery import Gallery
from fedfr.recognition.gallery.gallery_types import NewPhoto
from fedfr.recognition.matcher import Matcher
from harness import Line, alternate, answer, best, parser

SHARED = Path(__file__).resolve().parents[2] / "shared"
DATA = Path(os.environ.get("FEDFR_DATA_DIR", SHARED / "data"))
DETECTOR = Path(os.environ.get("FEDFR_MODELS_DIR", SHARED / "models")) / "face_detection_yunet_2023mar_int8bq.onnx"
MODELS = ("mobilefacenet", "mobilefacenet.onnx", "iresnet18")
MILLISECONDS = {"mobilefacenet": 100, "mobilefacenet.onnx": 100, "iresnet18": 200}
SIZES = {"VGA": (640, 480), "720p": (1280, 720), "1080p": (1920, 1080), "12 megapixels": (4000, 3000)}
FACE_OF_HEIGHT, FACE_OF_PHOTO, GREY = 1 / 3, 0.4, 110
BEYOND, PHOTOS_PER_SECOND, SEARCH, OPENING = 5, 10, 25, 2
STRANGERS, FPIR = 60, 0.05
DIM = 512


def model_file(name: str, place: Path) -> Path:
    """Write a model with random weights: ``<backbone>``, or ``<backbone>.onnx``."""
    backbone = name.removesuffix(".onnx")
    model = OpenedModel(build_backbone(backbone, 0), BACKBONES[backbone].preprocessing, "generic", backbone=backbone)
    path = place / f"{backbone}{'.onnx' if name.endswith('.onnx') else '.safetensors'}"
    if path.suffix == ".onnx":
        contract = Contract(backbone, BACKBONES[backbone].embedding_dim, model.preprocessing, "sha256:0")
        path.write_bytes(export_onnx(model.network.eval(), contract))
    else:
        save_network(model, path)
    return path


def photographs() -> dict[str, list[bytes]]:
    """Return the encoded photographs of each person."""
    folder = DATA / "lfw250_sample"
    return {
        f"p{n}": [path.read_bytes() for path in sorted(person.glob("*.jpg"))]
        for n, person in enumerate(sorted(folder.iterdir()))
    }


def strangers() -> FaceSet:
    """Return aligned crops of other people."""
    people = [person for person in sorted((DATA / "lfw112").iterdir()) if person.is_dir()][:: 5700 // STRANGERS]
    crops = np.stack([read_image(min(person.glob("*.jpg"))) for person in people])
    return FaceSet(crops, range(len(people)), [f"s{number}" for number in range(len(people))])


def milliseconds(work: Callable[[], object]) -> float:
    """Return the time of one call."""
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


def percentiles(values: Sequence[float]) -> str:
    """Describe times by their median and 95th percentile."""
    return f"{median(values):.1f} ms, p95 {np.percentile(values, 95):.1f} ms"


@contextmanager
def timed_parts() -> Iterator[dict[str, float]]:
    """Context manager: record how long the last detection and the last features of any embedder took, in ms."""
    last, methods = dict[str, float](), {name: getattr(Embedder, name) for name in ("look", "features")}

    def timed(name: str) -> Callable[..., object]:
        def call(*given: Any, **named: Any) -> object:
            started = time.perf_counter()
            try:
                return methods[name](*given, **named)
            finally:
                last[name] = 1000 * (time.perf_counter() - started)

        return call

    for name in methods:
        setattr(Embedder, name, timed(name))
    try:
        yield last
    finally:
        for name, method in methods.items():
            setattr(Embedder, name, method)


def identify(recognizer: Recognizer, photos: list[bytes], repetitions: int) -> dict[str, list[float]]:
    """Time identifications, and detection and features within each."""
    taken: dict[str, list[float]] = {"identify": [], "look": [], "features": [], "beyond": []}
    for photo in photos:  # warm-up
        recognizer.identify(photo)
    with timed_parts() as parts:
        for photo in photos * repetitions:
            parts.clear()
            whole = milliseconds(partial(recognizer.identify, photo))
            if "features" in parts:  # otherwise the face was not good enough
                beyond = whole - parts["look"] - parts["features"]
                for name, value in {"identify": whole, **parts, "beyond": beyond}.items():
                    taken[name].append(value)
    return taken


def plain_pipeline(model: Path, photos: Sequence[bytes], templates: NDArray[np.float32]) -> Callable[[], object]:
    """Return a pass over all photos with OpenCV and the network alone."""
    detector, opened = Detector(open_detector(DETECTOR)), open_model(model)
    network = opened.network.eval()

    def run() -> None:
        for photo in photos:
            image = decode_photograph(photo)
            crop = align(image, choose_main_face(detector.find(image), image.shape).points)
            with torch.inference_mode():
                feature = network(opened.preprocessing.apply(torch.from_numpy(crop[None])))[0].numpy()
            (templates @ (feature / np.linalg.norm(feature))).argmax()

    return run


def insightface_pipeline(
    package: Path, model: Path, threads: int, photos: Sequence[bytes], templates: NDArray[np.float32]
) -> Callable[[], object]:
    """Return a pass over all photos with InsightFace's alignment and inference."""
    for name in ("insightface", "insightface.utils", "insightface.model_zoo"):
        # What their __init__ files import is not needed here.
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = [str(package / name.replace(".", "/"))]
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(model), settings, ["CPUExecutionProvider"])
    network = import_module("insightface.model_zoo.arcface_onnx").ArcFaceONNX(str(model), session)
    detector = Detector(open_detector(DETECTOR))

    def run() -> None:
        for photo in photos:
            image = np.asarray(cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR))
            found = choose_main_face(detector.find(np.ascontiguousarray(image[:, :, ::-1])), image.shape)
            feature = network.get(image, SimpleNamespace(kps=found.points))
            (templates @ (feature / np.linalg.norm(feature))).argmax()

    return run


def people(name: str, place: Path, threads: int, repetitions: int, insightface: Path | None) -> Iterator[Line]:
    """Yield the lines of one model: identification, its parts, enrolment."""
    given, model = photographs(), model_file(name, place)
    door, what = place / f"door-{name}-{threads}", f"{name}, {threads} thread{'s' if threads > 1 else ''}"
    Recognizer.create(door, model=model, strangers=strangers(), detector=DETECTOR, fpir=FPIR).close()
    with Recognizer.open(door) as recognizer:
        count = sum(map(len, given.values()))
        started = time.perf_counter()
        for person, photos in given.items():
            recognizer.enrol(person, photos, allow_similar=True)
        rate = count / (time.perf_counter() - started)
        photos = [photo for person in given.values() for photo in person]
        taken = identify(recognizer, photos, repetitions)
        limit, slow = MILLISECONDS[name], float(np.percentile(taken["identify"], 95))
        yield Line(f"{what}: identify", f"p95 at most {limit} ms", percentiles(taken["identify"]), slow <= limit)
        yield Line(f"{what}: reading, detection, alignment, quality", "", percentiles(taken["look"]), None)
        yield Line(f"{what}: features", "", percentiles(taken["features"]), None)
        beyond = float(np.percentile(taken["beyond"], 95))
        part = 100 * median(taken["beyond"]) / median(taken["identify"])
        share = f"{percentiles(taken['beyond'])}; {part:.1f} % of identification"
        yield Line(f"{what}: beyond these", f"p95 at most {BEYOND} ms", share, beyond <= BEYOND)
        yield Line(
            f"{what}: enrolment",
            f"at least {PHOTOS_PER_SECOND} photos/s",
            f"{rate:.1f} photos/s",
            rate >= PHOTOS_PER_SECOND,
        )
        embedder = Embedder.open(model, DETECTOR)
        usable = [photo for photo in photos if (seen := embedder.look(photo)) and not seen[0].reasons][:10]
        templates = np.zeros((len(given), embedder.dim), np.float32)
        others = {"a plain pipeline": plain_pipeline(model, usable, templates)}
        if insightface and model.suffix == ".onnx":
            others["InsightFace's ArcFaceONNX"] = insightface_pipeline(insightface, model, threads, usable, templates)
        for other, work in others.items():
            ratio = alternate(lambda: [recognizer.identify(photo) for photo in usable], work, repetitions + 2)
            yield Line(f"{what}: identify against {other}", "", f"{ratio} as long", None, ratio=ratio)


def enlarged(photo: bytes, width: int, height: int) -> bytes:
    """Return a photograph of this size as JPEG with the face of ``photo``."""
    side = min(height, round(height * FACE_OF_HEIGHT / FACE_OF_PHOTO))
    image = np.full((height, width, 3), GREY, np.uint8)
    top, left = (height - side) // 2, (width - side) // 2
    face = cv2.resize(decode_photograph(photo), (side, side), interpolation=cv2.INTER_CUBIC)
    # Like a sensor's, so that it is no easier to decode than a photograph.
    image[top : top + side, left : left + side] = face
    rows = np.random.default_rng(0).normal(0, 4, (64, width, 3)).round().astype(np.int16)
    noise = np.tile(rows, (-(-height // len(rows)), 1, 1))[:height]
    noisy = np.clip(image + noise, 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", noisy[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def sizes(name: str, place: Path, repetitions: int) -> Iterator[Line]:
    """Yield the CPU time of identification in larger photographs."""
    model, door = model_file(name, place), place / f"sizes-{name}"
    Recognizer.create(door, model=model, strangers=strangers(), detector=DETECTOR, fpir=FPIR).close()
    given = photographs()
    with Recognizer.open(door) as recognizer:
        for person, photos in given.items():
            recognizer.enrol(person, photos[:1], allow_similar=True)
        for what, size in {"250×250": None, **SIZES}.items():
            taken = []
            photos = [photo if size is None else enlarged(photo, *size) for _, (photo, *_) in given.items()]
            for photo in photos * repetitions:
                started = time.process_time()
                decision = recognizer.identify(photo)
                if decision.outcome != NO_DECISION:
                    taken.append(1000 * (time.process_time() - started))
            limit, slow = MILLISECONDS[name], float(np.percentile(taken, 95))
            found = f"{percentiles(taken)}; {len(taken) // repetitions} photographs, {len(photos[0]) / 1e6:.1f} MB each"
            yield Line(f"{name}, 1 thread, {what}: identify, CPU time", f"p95 at most {limit} ms", found, slow <= limit)


def many(place: Path, templates: int, threads: int) -> Iterator[Line]:
    """Yield the time of a search among many templates, and of opening such a gallery."""
    rows = np.random.default_rng(0).normal(size=(templates, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    matcher = Matcher(rows)
    seconds = best(lambda: matcher.search(rows[5:6]), 9)
    found = f"{1000 * seconds:.1f} ms, {templates * DIM * 4 / seconds / 1e9:.1f} GB/s"
    yield Line(
        f"search in {templates} templates, {threads} threads", f"at most {SEARCH} ms", found, 1000 * seconds <= SEARCH
    )
    door = place / f"many-{threads}"
    with Gallery.create(door) as gallery, gallery.change():
        gallery.switch("sha256:0", DIM)
        for number, row in enumerate(rows):
            gallery.add_person(f"person {number}", [NewPhoto(row)])

    def opened() -> None:
        with Gallery.open(door) as gallery:
            Matcher(gallery.templates().matrix)

    seconds = best(opened, 3)
    yield Line(
        f"opening a gallery of {templates} people", f"at most {OPENING} s", f"{seconds:.2f} s", seconds <= OPENING
    )


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--repetitions", type=int, default=3, help="passes over the photographs")
    options.add_argument("--templates", type=int, default=100_000, help="people of the large gallery; 0 leaves it out")
    options.add_argument("--models", nargs="*", default=MODELS, choices=MODELS)
    options.add_argument("--insightface", type=Path, help="folder python-package of a checkout of InsightFace")
    options.add_argument("--sizes", action="store_true", help="measure photographs of other sizes instead")
    given = options.parse_args()
    lines: list[Line] = []
    if given.sizes:
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        with TemporaryDirectory() as folder:
            for name in given.models:
                lines += sizes(name, Path(folder), given.repetitions)
        answer("recognition_speed", lines, threads=1, as_json=given.json)
        return
    with TemporaryDirectory() as folder:
        for threads in sorted({1, given.threads}):
            torch.set_num_threads(threads)
            cv2.setNumThreads(threads)
            for name in given.models:
                lines += people(name, Path(folder), threads, given.repetitions, given.insightface)
        if given.templates:
            lines += many(Path(folder), given.templates, given.threads)
    answer("recognition_speed", lines, threads=given.threads, as_json=given.json)


if __name__ == "__main__":
    main()
