"""Exported ONNX models against PyTorch: features, decisions, accuracy and speed.

Run: ``python benchmarks/onnx_models.py [backbones] [decisions] [personalized] [speed] [--every N] [--threads N]
[--json]``. Needs the extra ``onnx-export``; LFW's crops in ``FEDFR_DATA_DIR`` and the published MobileFaceNet in
``FEDFR_MODELS_DIR``. ``backbones`` compares the features of every built-in backbone, with random weights (some
minutes). ``decisions`` compares what a gallery of everybody with ten images decides about all other images of LFW (a
quarter of an hour on two cores; ``--every 4`` for a quarter of the images); ``personalized`` does the same with a
feature transform of random weights behind the network. ``speed`` compares the CPU time of one face with its mirror
image, alternately; with one thread it is the time on an idle machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from fedfr.faces.readers.image_reading import read_image
from fedfr.models import BACKBONES, Contract, OpenedModel, Personalized, build_backbone, open_model
from fedfr.models.heads import Bottleneck
from fedfr.models.onnx_export import export_onnx, quantize_onnx
from fedfr.recognition import Embedder
from harness import Line, answer, parser, ratio

SHARED = Path(__file__).resolve().parents[2] / "shared"
DATA = Path(os.environ.get("FEDFR_DATA_DIR", SHARED / "data")) / "lfw112"
CHECKPOINT = Path(os.environ.get("FEDFR_MODELS_DIR", SHARED / "models")) / "mobilefacenet_casia.ckpt"
TOLERANCE = 1e-4
THRESHOLD = 0.4
IMAGES_OF_A_TEMPLATE, LEAST_IMAGES = 5, 10
CALIBRATION = 256
REPETITIONS = 25
TIMED = ("mobilefacenet", "iresnet18")

Array = NDArray[np.float32]


def faces(paths: Sequence[Path]) -> NDArray[np.uint8]:
    """Read aligned crops."""
    return np.stack([read_image(path) for path in paths])


def as_onnx(model: OpenedModel, path: Path, calibration: NDArray[np.uint8] | None = None) -> Embedder:
    """Export a model, with ``calibration`` as 8-bit integers, and open it."""
    dim = BACKBONES[model.backbone].embedding_dim
    contract = Contract(model.backbone, dim, model.preprocessing, "sha256:0", model.role)
    content = export_onnx(model.network, contract)
    path.write_bytes(content if calibration is None else quantize_onnx(content, contract, calibration))
    return Embedder.open(path)


def random_model(name: str, crops: NDArray[np.uint8]) -> OpenedModel:
    """Return a backbone with random weights, whose normalization layers have the statistics of these faces."""
    network, preprocessing = build_backbone(name, 0), BACKBONES[name].preprocessing
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    with torch.no_grad():
        network.train()(preprocessing.apply(torch.from_numpy(crops)))
    return OpenedModel(network.eval(), preprocessing, "generic", backbone=name)


def backbones(place: Path) -> Iterator[Line]:
    """Yield the greatest difference of unit features for every built-in backbone."""
    crops = faces(sorted(DATA.glob("*/*.jpg"))[:800:100])
    for name in BACKBONES.builtin:
        model, path = random_model(name, crops), place / f"{name}.onnx"
        exported = as_onnx(model, path)
        difference = float(np.abs(Embedder(model).features(crops) - exported.features(crops)).max())
        what = f"{name}: {path.stat().st_size / 1e6:.1f} MB"
        yield Line(what, f"at most {TOLERANCE:g}", f"differs by {difference:.1e}", difference <= TOLERANCE)
        path.unlink()


def decide(features: Array, labels: NDArray[np.int64], enrolled: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the person accepted for every image that is not enrolled, -1 for a rejected one."""
    people = np.unique(labels[enrolled])
    templates = np.stack([features[enrolled & (labels == person)].mean(axis=0) for person in people])
    templates /= np.linalg.norm(templates, axis=1, keepdims=True)
    scores = features[~enrolled] @ templates.T
    best = scores.argmax(axis=1)
    accepted: NDArray[np.int64] = np.where(scores.max(axis=1) > THRESHOLD, people[best], -1)
    return accepted


def tar(features: Array, labels: NDArray[np.int64], far: float = 1e-3) -> float:
    """Return the TAR at this FAR over all pairs."""
    scores = features @ features.T
    upper = np.triu_indices(len(labels), 1)
    same = (labels[:, None] == labels)[upper]
    scores = scores[upper]
    return float((scores[same] > np.quantile(scores[~same], 1 - far)).mean())


@dataclass(frozen=True)
class Faces:
    """Images of LFW: crops, people, and whether an image is in a template."""

    crops: NDArray[np.uint8]
    labels: NDArray[np.int64]
    enrolled: NDArray[np.bool_]

    def compare(self, plain: Array, graph: Array) -> Line:
        """Compare the decisions with the features of PyTorch and of ONNX."""
        mine, theirs = (decide(each, self.labels, self.enrolled) for each in (plain, graph))
        equal, accepted = int((mine == theirs).sum()), int((mine >= 0).sum())
        people = len(np.unique(self.labels[self.enrolled]))
        what = f"{len(mine)} probes, {people} enrolled, cosine above {THRESHOLD}"
        found = f"{equal} equal, {accepted} accepted; features differ by {np.abs(plain - graph).max():.1e}"
        return Line(what, "all decisions equal", found, equal == len(mine))


def lfw(every: int) -> Faces:
    """Return the images for templates, and every n-th of the others."""
    people = sorted(path for path in DATA.iterdir() if path.is_dir())
    paths: list[Path] = []
    labels: list[int] = []
    enrolled: list[bool] = []
    probes = 0
    for label, person in enumerate(people):
        images = sorted(person.glob("*.jpg"))
        for number, path in enumerate(images):
            template = len(images) >= LEAST_IMAGES and number < IMAGES_OF_A_TEMPLATE
            probes += not template
            if template or probes % every == 0:
                paths.append(path)
                labels.append(label)
                enrolled.append(template)
    return Faces(faces(paths), np.array(labels), np.array(enrolled))


def personalized(place: Path, every: int) -> Iterator[Line]:
    """Yield how many decisions differ for a model with a feature transform of random weights."""
    given, generic = lfw(every), open_model(CHECKPOINT)
    torch.manual_seed(0)
    transform = Bottleneck(BACKBONES[generic.backbone].embedding_dim)
    transform.widen.weight *= 100  # it begins near the identity
    network = Personalized(generic.network, transform).eval()
    model = replace(generic, network=network, role="personalized")
    graph = as_onnx(model, place / "p.onnx").features(given.crops)
    line = given.compare(Embedder(model).features(given.crops), graph)
    yield replace(line, what=f"feature transform of random weights: {line.what}")


def decisions(place: Path, every: int) -> Iterator[Line]:
    """Yield how many decisions differ, and what 8-bit integers cost."""
    given, model = lfw(every), open_model(CHECKPOINT)
    crops, of, known = given.crops, given.labels, given.enrolled
    plain = Embedder(replace(model)).features(crops)
    graph = as_onnx(model, place / "m.onnx").features(crops)
    yield given.compare(plain, graph)
    integers = as_onnx(model, place / "q.onnx", crops[:: max(1, len(crops) // CALIBRATION)]).features(crops)
    mine, reduced = (decide(each, of, known) for each in (plain, integers))
    sample = slice(None, None, max(1, len(crops) // 4000))
    cosine = (plain * integers).sum(axis=1)
    rates = [f"{100 * tar(each[sample], of[sample]):.1f} %" for each in (plain, integers)]
    yield Line(
        "8-bit integers against 32-bit floats",
        "",
        f"cosine {cosine.mean():.3f}, least {cosine.min():.3f}; TAR at FAR 1e-3 {rates[0]} and {rates[1]}; "
        f"{int((mine == reduced).sum())} of {len(mine)} decisions equal",
        None,
    )


def speed(place: Path) -> Iterator[Line]:
    """Yield the ratios of the times of one face."""
    crops = faces(sorted(DATA.glob("*/*.jpg"))[:200:50])
    for name in TIMED:
        model = random_model(name, crops)
        plain = Embedder(model)
        graph, integers = as_onnx(model, place / "m.onnx"), as_onnx(model, place / "q.onnx", crops)
        for what, one, other in (
            ("ONNX in floats against PyTorch", plain, graph),
            ("8-bit integers against floats, ONNX", graph, integers),
        ):
            for embedder in (one, other):
                embedder.features(crops[:1])
            found = ratio([(used(one, crops[:1]), used(other, crops[:1])) for _ in range(REPETITIONS)])
            yield Line(f"{name}, {what}", "", f"{1000 * found.fast_seconds:.1f} ms of CPU, {found}", None, ratio=found)


def used(embedder: Embedder, crops: NDArray[np.uint8]) -> float:
    """Return the CPU seconds of one call, which depend less on other work on the machine than its duration."""
    before = time.process_time()
    embedder.features(crops)
    return time.process_time() - before


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    parts = ("backbones", "decisions", "personalized", "speed")
    options.add_argument("parts", nargs="*", choices=[*parts, []], help="by default all")
    options.add_argument("--every", type=int, default=1, help="use every N-th image of LFW for decisions")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    lines: list[Line] = []
    with TemporaryDirectory() as folder, torch.no_grad():
        place = Path(folder)
        for part in given.parts or parts:
            made = {
                "backbones": lambda: backbones(place),
                "decisions": lambda: decisions(place, given.every),
                "personalized": lambda: personalized(place, given.every),
                "speed": lambda: speed(place),
            }[part]()
            lines += made
    answer("onnx_models", lines, threads=given.threads, as_json=given.json)


if __name__ == "__main__":
    main()
