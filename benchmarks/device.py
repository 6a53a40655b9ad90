"""Images per second on an accelerator, their share of its peak rate, and one round of ``lfw-fed``.

Run: ``python benchmarks/device.py [--device cuda] [--faces FOLDER] [--json]``. Without a device it says so and measures
nothing; ``--device cpu`` runs the same code. ``--faces`` (LFW, aligned, or a saved face set) adds the round. Training
steps run with the device's own check that the host never waits for it inside an epoch.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from fedfr.config.schema import load_config
from fedfr.experiments.experiment import Experiment
from fedfr.faces import FaceSet
from fedfr.models import BACKBONES, build_backbone
from fedfr.results.result_rows import Row
from fedfr.training.features import Compute, extract_features
from fedfr.training.loop import TrainingPlan, train
from fedfr.training.objective import MarginSoftmax, Network, Objective
from fedfr.training.training_set import TrainingSet
from harness import Line, answer, best, parser
from local_update import flops

NAMES = ("sphereface64", "iresnet50", "mobilefacenet")


def peak_rate(device: torch.device) -> float:
    """Return the FLOP/s of a large matrix product in bf16."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device).bfloat16() for _ in range(2))

    def product() -> None:
        torch.mm(a, b)
        wait(device)

    return 2 * size**3 / best(product, 5)


def wait(device: torch.device) -> None:
    """Wait until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def training(name: str, compute: Compute, batch: int, steps: int) -> float:
    """Return the images per second of training epochs with faces on the device."""
    images = np.random.default_rng(0).integers(0, 256, (batch * steps, 112, 112, 3), dtype=np.uint8)
    faces = FaceSet(images, np.arange(len(images)) % 100, [f"person-{k}" for k in range(100)])
    network = Network(compute.place(build_backbone(name, 0)), torch.randn(100, BACKBONES[name].embedding_dim))
    ends: list[float] = []

    def on_epoch(*_: object) -> None:
        wait(compute.device)
        ends.append(time.perf_counter())
        if compute.device.type == "cuda":
            # The first epoch uploads and tunes; from the second on, synchronization is an error.
            torch.cuda.set_sync_debug_mode("default" if len(ends) > 2 else "warn")

    plan = TrainingPlan(
        epochs=3,
        batch_size=batch,
        learning_rate=lambda moment: 1e-4,
        momentum=0.9,
        weight_decay=5e-4,
        seed=0,
        purpose=("benchmark",),
        on_epoch=on_epoch,
    )
    train(network.to(compute.device), TrainingSet([(faces, None, 0)]), Objective([MarginSoftmax()]), plan, compute)
    return batch * steps / min(np.diff(ends))


def features(name: str, compute: Compute, batch: int, steps: int) -> float:
    """Return the images per second of frozen features with images from the host."""
    images = np.random.default_rng(0).integers(0, 256, (batch * steps, 112, 112, 3), dtype=np.uint8)
    faces = FaceSet(images, np.zeros(len(images), np.int64), ["person"])
    network = compute.place(build_backbone(name, 0))
    return batch * steps / best(lambda: extract_features(network, TrainingSet([(faces, None, 0)]), compute), 3)


def lfw_round(device: str, faces: Path) -> Line:
    """Measure one round of the preset with all ten clients, including starting model and evaluation."""
    settings = [f"faces.path={faces}", f"runtime.device={device}", "runtime.precision=bf16", "federation.rounds=1"]
    with tempfile.TemporaryDirectory() as folder:
        config = load_config("lfw-fed", [*settings, "baselines=[]", "pretrain.epochs=2"])
        started = time.perf_counter()
        experiment = Experiment.create(config, Path(folder) / "run")
        rows: list[Row] = experiment.run()
        seconds = time.perf_counter() - started
        record = next(iter(experiment.method_runs())).journal.records()[-1]
    clients = [float(client["seconds"]) for client in record["clients"]]
    return Line(
        what=f"lfw-fed, one round on {device}: 2 epochs of pre-training, 10 clients, evaluation",
        wanted="",
        found=f"{seconds:.0f} s in all, {np.median(clients):.1f} s a client",
        met=None,
        figures={"seconds": seconds, "seconds per client": clients, "results": len(rows)},
    )


def main() -> None:
    """Measure and print the results."""
    options = parser(__doc__)
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "")
    options.add_argument("--faces", type=Path)
    options.add_argument("--batch", type=int, default=256)
    options.add_argument("--steps", type=int, default=8)
    options.add_argument("--backbones", nargs="+", default=NAMES, choices=BACKBONES.names)
    given = options.parse_args()
    if not given.device:
        nothing = Line("training on an accelerator", "", "no device here: nothing was measured", None)
        answer("device", [nothing], threads=given.threads, as_json=given.json)
        return
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "this CPU"
    limit, lines = peak_rate(device), []
    for backbone in given.backbones:
        for bf16, compiled in ((False, False), (True, False), (True, True)):
            compute = Compute(BACKBONES[backbone].preprocessing, device, bf16, compiled)
            rate = training(backbone, compute, given.batch, given.steps)
            kind = ("bf16" if bf16 else "fp32") + (", compiled" if compiled else "")
            figures = {"images/s in training": rate, "device": name, "peak FLOP/s in bf16": limit}
            if not compiled:
                figures["images/s of frozen features"] = features(backbone, compute, given.batch, given.steps)
            lines.append(
                Line(
                    what=f"{backbone}, {kind}, batch {given.batch}, on {name}",
                    wanted="",
                    found=f"{rate:.0f} images/s in training",
                    met=None,
                    share=3 * flops(backbone) * rate / limit,
                    limit="the device's bf16 matrix product",
                    figures=figures,
                )
            )
    if given.faces is not None:
        lines.append(lfw_round(given.device, given.faces))
    answer("device", lines, threads=given.threads, as_json=given.json)


if __name__ == "__main__":
    main()
