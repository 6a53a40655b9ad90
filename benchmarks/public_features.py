"""Features of the public faces in one round: with 1 and 8 clients, 1 and 2 workers, and how often they are computed.

Run: ``python benchmarks/public_features.py [--images N] [--json]``, at most a minute. Faces are random images, the
backbone is the CPU's own; each client asks for the public features as in a round and does nothing else. Every worker
has one torch thread. Beside it the first version's way: each worker process computes for itself.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedfr.faces import FaceSet
from fedfr.federation.public_faces import PublicFaces
from fedfr.models import BACKBONES, build_backbone
from fedfr.training.features import Compute
from harness import Line, answer, parser

BACKBONE, IDENTITY_IMAGES, CHUNK = "slimface", 8, 128


class Counting(PublicFaces):
    """Record in a file the number of faces that the network processes."""

    log = Path()

    def _extract(self, start: int, end: int, *how: Any) -> torch.Tensor:
        with self.log.open("a", encoding="ascii") as file:
            file.write(f"{min(end, len(self.faces)) - start}\n")
        return super()._extract(start, end, *how)


_public: list[Counting] = []


def begin(folder: Path, shared: Path | None, log: Path, ready: Any) -> None:
    """Start a worker with one public set for all its clients."""
    torch.set_num_threads(1)
    public = Counting(FaceSet.load(folder), shared, chunk=CHUNK)
    public.log = log
    _public[:] = [public]
    ready.wait()


def client(round_number: int) -> int:
    """Run the first steps of a client in a round: build the generic model, request the public features."""
    compute = Compute(BACKBONES[BACKBONE].preprocessing, torch.device("cpu"))
    backbone = compute.place(build_backbone(BACKBONE, round_number)).eval()
    return len(_public[0].features(backbone, compute))


def one_round(folder: Path, clients: int, workers: int, shared: Path | None, log: Path) -> float:
    """Return the seconds of a round, after the workers have started."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(workers + 1)
    with context.Pool(workers, begin, (folder, shared, log, ready)) as pool:
        ready.wait()
        started = time.perf_counter()
        pool.map(client, [1] * clients, chunksize=1)
        return time.perf_counter() - started


def measure(images: int) -> list[Line]:
    """Measure all combinations alternately, with shared and with separate features."""
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pixels = np.random.default_rng(0).integers(0, 256, (images, 112, 112, 3), np.uint8)
        labels = np.arange(images) // IDENTITY_IMAGES
        FaceSet(pixels, labels, [str(label) for label in range(labels[-1] + 1)]).save(folder / "faces")
        for clients, workers in ((1, 1), (8, 1), (1, 2), (8, 2)):
            seconds, computed = {}, {}
            for way in ("alone", "shared"):
                log = folder / f"{way}-{clients}-{workers}"
                run = partial(one_round, folder / "faces", clients, workers)
                seconds[way] = run(log.with_suffix(".features") if way == "shared" else None, log)
                computed[way] = sum(map(int, log.read_text(encoding="ascii").split())) / images
            lines.append(
                Line(
                    f"{images} public faces, {clients} clients, {workers} workers",
                    "computed once",
                    f"{seconds['shared']:.2f} s, computed {computed['shared']:g} times; each process for itself: "
                    f"{seconds['alone']:.2f} s, {computed['alone']:g} times",
                    computed["shared"] == 1,
                    figures={"images/s": images / seconds["shared"]},
                )
            )
    return lines


def main() -> None:
    """Measure and print the results."""
    options = parser(__doc__)
    options.set_defaults(threads=1)
    options.add_argument("--images", type=int, default=768, help="public faces")
    given = options.parse_args()
    answer("public_features", measure(given.images), threads=1, as_json=given.json)


if __name__ == "__main__":
    main()
