"""What a client costs besides its training: one round of 10 to 1 000 clients with two images each.

Run: ``python benchmarks/many_clients.py [--clients 10 100 300 1000] [--json]``; about 4 minutes.

FedFR with every part on, in one process, each number of clients in a process of its own; one identity with two
images per client, one epoch, eight public images. A run is what ``fedfr train`` does between the starting model and
the evaluation: rounds, private states on disk (fsync and rename), aggregation, journal, events.

Overhead = (seconds of the run − seconds of the computation alone) / clients. The computation alone is what no
implementation can leave out: features of the client's images under the generic network, upright and mirrored, and the
training epoch, by the library's own functions on a network that is there already. It is timed in the same process,
between clients of the run, about 25 times, and its time is taken out of the run's. The features of the public images
are computed once and count as computation too. What is imported late by the first training step is imported before.
Memory is looked at in a run of its own, in which nothing else allocates any.
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

from fedfr.config.schema import load_config
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.method_run import MethodRun
from fedfr.faces import FaceSet
from fedfr.models import DFC, build_backbone
from fedfr.reporting.progress import Silent
from fedfr.training.features import extract_features, freeze
from fedfr.training.loop import TrainingPlan, train
from fedfr.training.objective import Contrastive, MarginSoftmax, Network, Objective, OneVsAll
from fedfr.training.training_set import TrainingSet
from harness import PAGE, Line, answer, parser

WANTED_MS = 20.0
# Memory may grow by the client's lines in the report and by its part of the split, not by its model (5 MB).
WANTED_KIB = 16.0
SIZES = (10, 100, 300, 1000)
BACKBONE, BESIDE, MEMORY = "mobilefacenet", ("slimface", 100), 500
IMAGES, PUBLIC, SAMPLES = 2, 4, 25


@dataclass(frozen=True)
class Cost:
    """Of one run: milliseconds per client in all, of the computation alone, and the rest; bytes of memory.

    ``peak``: largest resident size during the run above that at its start.
    """

    clients: int
    backbone: str
    total_ms: float
    compute_ms: float
    overhead_ms: float
    peak: int


def faces(count: int) -> FaceSet:
    """Coarse random patterns, two images of each of ``count`` identities."""
    generator = np.random.default_rng(0)
    pixels = np.empty((count * IMAGES, 112, 112, 3), np.uint8)
    for image in pixels:
        image[:] = generator.integers(0, 256, (7, 7, 3), dtype=np.uint8).repeat(16, axis=0).repeat(16, axis=1)
    labels = np.repeat(np.arange(count), IMAGES)
    return FaceSet(pixels, labels, [f"person-{number:04d}" for number in range(count)])


def experiment(folder: Path, clients: int, backbone: str, threads: int) -> Experiment:
    """A configured run of one round."""
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
        # An untrained network finds all faces alike; no public face joins, so that every client trains on two.
        "method.hard_negatives.threshold": 1.0,
        "baselines": "[]",
        "runtime.threads": threads,
    }
    return Experiment.create(load_config(None, [f"{name}={value}" for name, value in settings.items()]), folder / "run")


class Alone:
    """The computation of one client, again and again, on a network that is there already."""

    def __init__(self, made: Experiment) -> None:
        components = made.components
        self.compute, backbone = components.compute, made.config.model.backbone
        self.generic = components.compute.place(build_backbone(backbone, 0)).eval()
        self.training_set = TrainingSet(
            [(components.faces.subset(next(iter(components.split.clients.values())).train), None, 0)]
        )
        self.public = TrainingSet([(components.faces.subset(components.split.public), None, 0)])
        trained = components.compute.place(build_backbone(backbone, 0))
        draw = torch.Generator().manual_seed(0)
        self.network = Network(
            trained, torch.randn(1, 512, generator=draw), torch.randn(PUBLIC, 512, generator=draw), DFC(1, 512)
        )
        self.objective = Objective([MarginSoftmax(), OneVsAll(), Contrastive()])
        local = made.config.local
        self.plan = TrainingPlan(
            epochs=1,
            batch_size=local.batch_size,
            learning_rate=lambda epoch, progress: local.learning_rate,
            momentum=local.momentum,
            weight_decay=local.weight_decay,
            seed=0,
            purpose=("alone",),
        )

    def seconds(self) -> float:
        """Of one client."""
        started = time.perf_counter()
        upright = extract_features(self.generic, self.training_set, self.compute)
        frozen = freeze(self.generic, self.training_set, self.compute, flips=True, upright=upright)
        train(
            self.network,
            self.training_set,
            self.objective,
            self.plan,
            self.compute,
            global_features=frozen,
            previous_features=frozen,
        )
        return time.perf_counter() - started

    def public_seconds(self) -> float:
        """Of the features of the public images."""
        started = time.perf_counter()
        extract_features(self.generic, self.public, self.compute)
        return time.perf_counter() - started


class Between(Silent):
    """Told of every client of the run; now and then it times the computation alone and looks at the memory."""

    def __init__(self, alone: Alone, clients: int) -> None:
        self.alone, self.every = alone, max(1, clients // SAMPLES)
        self.taken: list[float] = []
        self.outside = 0.0
        self.peak = 0

    def update(self, work: str, done: int, total: int, detail: str = "", unit: str = "") -> None:
        """One more client."""
        started = time.perf_counter()
        self.peak = max(self.peak, resident())
        if done % self.every == 0:
            # The first one waits with the last client's private state for the disk; it does not count.
            self.alone.seconds()
            self.taken.append(self.alone.seconds())
        self.outside += time.perf_counter() - started


class Watch(Silent):
    """Notes this process's memory after a fifth of the clients and at the last one."""

    def __init__(self, clients: int) -> None:
        self.early, self.late = clients // 5, clients
        self.bytes: dict[int, int] = {}

    def update(self, work: str, done: int, total: int, detail: str = "", unit: str = "") -> None:
        """One more client."""
        if done in (self.early, self.late):
            self.bytes[done] = own_memory()

    def growth(self) -> float:
        """KiB per client between the two."""
        return (self.bytes[self.late] - self.bytes[self.early]) / (self.late - self.early) / 1024


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE


def own_memory() -> int:
    """Bytes of this process in memory that are no file's."""
    _, pages, shared, *_ = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return (int(pages) - int(shared)) * PAGE


def measured(clients: int, backbone: str, threads: int) -> Cost:
    """One round of so many clients."""
    torch.set_num_threads(threads)
    # On the disk of the repository: a temporary folder in memory would not be waited for.
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        made = experiment(Path(folder), clients, backbone, threads)
        start, alone = made.pretrain(), Alone(made)
        alone.seconds()
        between, before = Between(alone, clients), resident()
        started = time.perf_counter()
        MethodRun(made.components, "fedfr", made.folder).run(start, progress=between)
        seconds = time.perf_counter() - started - between.outside - alone.public_seconds()
    total, compute = 1e3 * seconds / clients, 1e3 * fmean(between.taken)
    return Cost(clients, backbone, total, compute, total - compute, between.peak - before)


def growing(clients: int, backbone: str, threads: int) -> float:
    """KiB of memory per client, once the first fifth of them is through."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:
        made, watch = experiment(Path(folder), clients, backbone, threads), Watch(clients)
        MethodRun(made.components, "fedfr", made.folder).run(made.pretrain(), progress=watch)
    return watch.growth()


def in_own_process(what: str, clients: int, backbone: str, threads: int) -> Any:
    """``cost`` or ``memory`` in a fresh process, whose memory nothing else has touched."""
    options = ["--one", what, backbone, "--clients", str(clients), "--threads", str(threads)]
    done = subprocess.run([sys.executable, __file__, *options], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def line(cost: Cost, *, asked: bool) -> Line:
    """As one row of the table; ``asked``: the figures asked for are its own."""
    return Line(
        what=f"{cost.backbone}, {cost.clients} clients",
        wanted=f"≤ {WANTED_MS:.0f} ms per client" if asked else "",
        found=f"{cost.overhead_ms:.1f} ms per client besides {cost.compute_ms:.1f} ms of computation",
        met=cost.overhead_ms <= WANTED_MS if asked else None,
        peak_bytes=cost.peak,
        figures=asdict(cost),
    )


def growth(each: float, clients: int) -> Line:
    """Whether memory is flat in the number of clients."""
    return Line(
        what=f"{BACKBONE}, memory from client {clients // 5} to client {clients}",
        wanted=f"≤ {WANTED_KIB:.0f} KiB more per client",
        found=f"{each:.2f} KiB per client",
        met=each <= WANTED_KIB,
        figures={"growth_kib_per_client": each},
    )


def draw(lines: Sequence[dict[str, Any]], path: Path) -> None:
    """Cost per client against the number of clients, from the lines of a results file."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    costs = [line["figures"] for line in lines if line["figures"].get("backbone") == BACKBONE]
    clients = [cost["clients"] for cost in costs]
    for name, label in (("total_ms", "in all"), ("compute_ms", "computation alone"), ("overhead_ms", "overhead")):
        axes.plot(clients, [cost[name] for cost in costs], marker="o", label=label)
    axes.axhline(WANTED_MS, color="grey", linestyle="--", linewidth=1, label=f"wanted: {WANTED_MS:.0f} ms")
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
    """Measure and answer."""
    options = parser(__doc__)
    options.set_defaults(threads=1)
    options.add_argument("--clients", type=int, nargs="+", default=SIZES)
    options.add_argument("--one", nargs=2, metavar=("WHAT", "BACKBONE"), help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.one:
        (what, backbone), clients = given.one, given.clients[0]
        if what == "memory":
            print(json.dumps(growing(clients, backbone, given.threads)))
        else:
            print(json.dumps(asdict(measured(clients, backbone, given.threads))))
        return
    costs = [Cost(**in_own_process("cost", clients, BACKBONE, given.threads)) for clients in given.clients]
    beside = Cost(**in_own_process("cost", BESIDE[1], BESIDE[0], given.threads))
    memory = growth(in_own_process("memory", MEMORY, BACKBONE, given.threads), MEMORY)
    lines = [*(line(cost, asked=cost is costs[-1]) for cost in costs), memory, line(beside, asked=False)]
    answer("many_clients", lines, threads=given.threads, as_json=given.json)


if __name__ == "__main__":
    main()
