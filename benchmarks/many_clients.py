"""Overhead per client: one round of 10 to 1 000 clients with two images each.

Run: ``python benchmarks/many_clients.py [--clients 10 100 300 1000] [--json]``; about 4 minutes.

FedFR with all loss terms, in one process per number of clients; one identity with two images per client, one epoch,
eight public images. A run is the part of ``fedfr train`` between the starting model and the evaluation: rounds, private
states on disk (fsync and rename), aggregation, journal, events.

Overhead = (seconds of the run − seconds of the computation alone) / clients. The computation alone is the part that no
implementation can omit: features of the client's images under the generic network, upright and mirrored, and the
training epoch, by the library's functions on networks that are already built. It is timed in the same process, between
clients of the run, about 25 times, and this time is subtracted from the run's. The features of the public images are
computed once and count as computation. Modules imported by the first training step are imported before. Memory is
measured in a separate run, in which nothing else allocates.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from client_computation import ClientComputation
from fedfr.config.schema import load_config
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.method_run import MethodRun
from fedfr.faces import FaceSet
from fedfr.reporting.progress import Silent
from harness import PAGE, Line, answer, parser

TARGET_MS = 20.0
# Memory may grow by the client's lines in the report and by its part of the split, not by its model (5 MB).
TARGET_KIB = 16.0
SIZES = (10, 100, 300, 1000)
BACKBONE, BESIDE, MEMORY = "mobilefacenet", ("slimface", 100), 500
IMAGES, PUBLIC, SAMPLES = 2, 4, 25


@dataclass(frozen=True)
class Cost:
    """Cost of one run: milliseconds per client in total, of the computation alone, and the difference; bytes of memory.

    ``peak``: largest resident size during the run above that at its start.
    """

    clients: int
    backbone: str
    total_ms: float
    compute_ms: float
    overhead_ms: float
    peak: int


def faces(count: int) -> FaceSet:
    """Return a face set of coarse random patterns, two images of each of ``count`` identities."""
    generator = np.random.default_rng(0)
    pixels = np.empty((count * IMAGES, 112, 112, 3), np.uint8)
    for image in pixels:
        image[:] = generator.integers(0, 256, (7, 7, 3), dtype=np.uint8).repeat(16, axis=0).repeat(16, axis=1)
    labels = np.repeat(np.arange(count), IMAGES)
    return FaceSet(pixels, labels, [f"person-{number:04d}" for number in range(count)])


def experiment(folder: Path, clients: int, backbone: str, threads: int) -> Experiment:
    """Create a run of one round."""
    faces(clients + PUBLIC).save(folder / "faces")
    settings = {
        "faces.path": folder / "faces",
        "split.settings.public_identities": PUBLIC,
        "split.settings.clients": clients,
        "split.settings.identities_per_client": 1,
        "split.settings.test_count": 0,
        "model.backbone": backbone,
        "pretrain.epochs": 0,
        "local.epochs": 1,
        "federation.rounds": 1,
        # The untrained network gives all pairs high cosines; no public image is selected, so clients train on two.
        "method.hard_negatives.threshold": 1.0,
        "baselines": "[]",
        "runtime.threads": threads,
    }
    return Experiment.create(load_config(None, [f"{name}={value}" for name, value in settings.items()]), folder / "run")


class ComputationTimer(Silent):
    """Progress receiver that times the computation alone after every few clients and records the peak memory."""

    def __init__(self, computation: ClientComputation, clients: int) -> None:
        self.computation, self.interval = computation, max(1, clients // SAMPLES)
        self.seconds: list[float] = []
        self.excluded = 0.0
        self.peak = 0

    def update(self, work: str, done: int, total: int, detail: str = "", unit: str = "") -> None:
        """Record one more client."""
        started = time.perf_counter()
        self.peak = max(self.peak, resident())
        if done % self.interval == 0:
            # The first call waits for the disk to write the last client's private state; it is not counted.
            self.computation.seconds()
            self.seconds.append(self.computation.seconds())
        self.excluded += time.perf_counter() - started


class MemoryRecorder(Silent):
    """Progress receiver that records this process's memory after a fifth of the clients and after the last one."""

    def __init__(self, clients: int) -> None:
        self.early, self.late = clients // 5, clients
        self.bytes: dict[int, int] = {}

    def update(self, work: str, done: int, total: int, detail: str = "", unit: str = "") -> None:
        """Record one more client."""
        if done in (self.early, self.late):
            self.bytes[done] = own_memory()

    def growth(self) -> float:
        """Return the growth between the two in KiB per client."""
        return (self.bytes[self.late] - self.bytes[self.early]) / (self.late - self.early) / 1024


def resident() -> int:
    """Return the resident size of this process in bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE


def own_memory() -> int:
    """Return the resident size of this process in bytes without mapped files."""
    _, pages, shared, *_ = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return (int(pages) - int(shared)) * PAGE


def measure_cost(clients: int, backbone: str, threads: int) -> Cost:
    """Return the cost of one round of this many clients."""
    torch.set_num_threads(threads)
    # On the disk of the repository, because a temporary folder may be in memory.
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        made = experiment(Path(folder), clients, backbone, threads)
        start, computation = made.pretrain(), ClientComputation(made, PUBLIC)
        computation.seconds()
        timer, before = ComputationTimer(computation, clients), resident()
        started = time.perf_counter()
        MethodRun(made.components, "fedfr", made.folder).run(start, progress=timer)
        seconds = time.perf_counter() - started - timer.excluded - computation.public_seconds()
    total, compute = 1e3 * seconds / clients, 1e3 * fmean(timer.seconds)
    return Cost(clients, backbone, total, compute, total - compute, timer.peak - before)


def measure_growth(clients: int, backbone: str, threads: int) -> float:
    """Return the growth of memory after the first fifth of the clients in KiB per client."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        made, recorder = experiment(Path(folder), clients, backbone, threads), MemoryRecorder(clients)
        MethodRun(made.components, "fedfr", made.folder).run(made.pretrain(), progress=recorder)
    return recorder.growth()


def in_own_process(what: str, clients: int, backbone: str, threads: int) -> Any:
    """Measure ``cost`` or ``memory`` in a new process."""
    options = ["--one", what, backbone, "--clients", str(clients), "--threads", str(threads)]
    done = subprocess.run([sys.executable, __file__, *options], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def line(cost: Cost, *, asked: bool) -> Line:
    """Return the row of the table; ``asked``: the target applies to this cost."""
    return Line(
        what=f"{cost.backbone}, {cost.clients} clients",
        wanted=f"≤ {TARGET_MS:.0f} ms per client" if asked else "",
        found=f"{cost.overhead_ms:.1f} ms per client besides {cost.compute_ms:.1f} ms of computation",
        met=cost.overhead_ms <= TARGET_MS if asked else None,
        peak_bytes=cost.peak,
        figures=asdict(cost),
    )


def growth(each: float, clients: int) -> Line:
    """Return the row of the table about memory: its growth per client."""
    return Line(
        what=f"{BACKBONE}, memory from client {clients // 5} to client {clients}",
        wanted=f"≤ {TARGET_KIB:.0f} KiB more per client",
        found=f"{each:.2f} KiB per client",
        met=each <= TARGET_KIB,
        figures={"growth_kib_per_client": each},
    )


def draw(lines: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the cost per client against the number of clients from the lines of a results file."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    costs = [line["figures"] for line in lines if line["figures"].get("backbone") == BACKBONE]
    clients = [cost["clients"] for cost in costs]
    for name, label in (("total_ms", "in all"), ("compute_ms", "computation alone"), ("overhead_ms", "overhead")):
        axes.plot(clients, [cost[name] for cost in costs], marker="o", label=label)
    axes.axhline(TARGET_MS, color="grey", linestyle="--", linewidth=1, label=f"wanted: {TARGET_MS:.0f} ms")
    axes.set_xscale("log")
    axes.set_xticks(clients, [str(count) for count in clients])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("clients in the round")
    axes.set_ylabel("milliseconds per client")
    axes.set_title(f"One round of FedFR, {BACKBONE}, two images per client", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Measure and print the results."""
    options = parser(__doc__)
    options.set_defaults(threads=1)
    options.add_argument("--clients", type=int, nargs="+", default=SIZES)
    options.add_argument("--one", nargs=2, metavar=("WHAT", "BACKBONE"), help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.one:
        (what, backbone), clients = given.one, given.clients[0]
        if what == "memory":
            print(json.dumps(measure_growth(clients, backbone, given.threads)))
        else:
            print(json.dumps(asdict(measure_cost(clients, backbone, given.threads))))
        return
    costs = [Cost(**in_own_process("cost", clients, BACKBONE, given.threads)) for clients in given.clients]
    beside = Cost(**in_own_process("cost", BESIDE[1], BESIDE[0], given.threads))
    memory = growth(in_own_process("memory", MEMORY, BACKBONE, given.threads), MEMORY)
    lines = [*(line(cost, asked=cost is costs[-1]) for cost in costs), memory, line(beside, asked=False)]
    answer("many_clients", lines, threads=given.threads, as_json=given.json)


if __name__ == "__main__":
    main()
