"""Shapes of a narrow plain-convolution backbone for CPUs: accuracy after pre-training against images per second.

Run: ``python benchmarks/slimface_shapes.py --faces FOLDER [--epochs N] [--json]`` with the aligned faces of LFW (or a
saved face set); about 5 minutes a shape, so it is no part of ``make bench``. Every shape is pre-trained in bf16 on the
public identities of the split ``lfw-fed`` with the preset's settings, and meets the identities nobody trained on.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import nn

from fedfr.config.schema import EvaluationConfig, load_config
from fedfr.evaluation import PROTOCOLS
from fedfr.faces import FaceSet, Split, import_folder, make_split
from fedfr.models import Preprocessing
from fedfr.models.backbones import SlimFace
from fedfr.training.features import Compute, extract_features
from fedfr.training.pretraining import pretrain
from fedfr.training.training_set import TrainingSet
from harness import Line, answer, best, parser

Four = tuple[int, int, int, int]
# Widths of the four stages, residual blocks in each.
SHAPES: tuple[tuple[Four, Four], ...] = (
    ((32, 64, 160, 256), (0, 2, 4, 1)),
    ((32, 64, 160, 256), (0, 1, 2, 1)),
    ((24, 48, 128, 256), (0, 2, 4, 1)),
    ((32, 64, 128, 256), (1, 2, 2, 1)),
    ((48, 96, 192, 384), (0, 1, 3, 1)),
)
COMPUTE = Compute(Preprocessing(), torch.device("cpu"), bf16=True)
BATCH = 64


def made(shape: tuple[Four, Four]) -> nn.Module:
    """Return the backbone with seeded weights."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return COMPUTE.place(SlimFace(*shape))


def images_per_second(shape: tuple[Four, Four]) -> float:
    """Return the images per second of a training step in bf16: forward, backward, SGD."""
    network = made(shape).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4, fused=True)
    images = torch.randint(0, 256, (BATCH, 112, 112, 3), dtype=torch.uint8)

    def step() -> None:
        optimizer.zero_grad()
        COMPUTE.features(network, images).square().mean().backward()
        optimizer.step()

    return BATCH / best(step, 7)


def accuracy(shape: tuple[Four, Four], faces: FaceSet, split: Split, epochs: int) -> dict[str, float]:
    """Return the TAR of unseen identities after pre-training."""
    public = faces.subset(split.public)
    settings = load_config("lfw-fed").pretrain.model_copy(update={"epochs": epochs})
    network = made(shape)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "state.safetensors"
        training_set = TrainingSet([(public, None, 0)])
        pretrain(network, training_set, public.num_identities, settings, COMPUTE, seed=0, checkpoint=checkpoint)
    unseen = faces.subset(sorted(set(split.generic) - set(split.distractors)))
    features = extract_features(network, TrainingSet([(unseen, None, 0)]), COMPUTE).numpy()
    config = EvaluationConfig(fars=(1e-2, 1e-3, 1e-4))
    figures = PROTOCOLS["generic-1:1"](features=features, labels=unseen.labels, config=config)
    return {figure.name: 100 * figure.value for figure in figures if figure.value is not None}


def main() -> None:
    """Measure and print the results."""
    options = parser(__doc__)
    options.add_argument("--faces", type=Path, required=True)
    options.add_argument("--epochs", type=int, default=20)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    saved = (given.faces / "faces.json").is_file()
    faces = FaceSet.load(given.faces) if saved else import_folder(given.faces)
    split = make_split(faces, "lfw-fed")
    # Rates first and in direct succession, because the machine's speed varies over half an hour.
    rates, lines = {shape: images_per_second(shape) for shape in SHAPES}, []
    for shape, rate in rates.items():
        found = accuracy(shape, faces, split, given.epochs)
        size = sum(p.numel() for p in SlimFace(*shape).parameters())
        told = ", ".join(f"{metric} {value:.1f} %" for metric, value in found.items())
        figures = {"images/s": rate, "parameters": size, **found}
        lines.append(
            Line(f"widths {shape[0]}, blocks {shape[1]}", "", f"{rate:.0f} images/s, {told}", None, figures=figures)
        )
    answer("slimface_shapes", lines, threads=given.threads, as_json=given.json)


if __name__ == "__main__":
    main()
