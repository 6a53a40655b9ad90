"""One client's local update, FedFR with all loss terms: the library against the plain version.

Run: ``python benchmarks/local_update.py [--backbones …] [--batch N] [--epochs E] [--json]``; about 6 minutes.

The plain way (``examples/fedfr_plain.py``) runs three networks for every image, in fp32, as the published code does,
with the C library's usual handling of freed memory. Measured are E epochs of one batch in turn; from the steps' times
follows the update asked for, 10 epochs over 2 000 images: what comes before the first step and every step grow with the
images, what comes after the last does not. Both ways start alike and see the same batches: their losses are compared.
"""

from __future__ import annotations

import ctypes
import importlib.util
import math
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from fedfr.config.schema import FederationConfig, LocalConfig
from fedfr.core.memory import keep_freed_memory
from fedfr.core.rng import torch_generator
from fedfr.faces import FaceSet
from fedfr.federation.client import Client, ClientSettings
from fedfr.federation.messages import Broadcast
from fedfr.federation.networks import Networks
from fedfr.federation.private_state import PrivateState
from fedfr.federation.private_store import PrivateStore
from fedfr.federation.public_faces import PublicFaces
from fedfr.methods.fedfr import FedFR
from fedfr.models import BACKBONES, DFC, build_backbone
from fedfr.training.features import Compute
from fedfr.training.loop import TrainingPlan
from harness import Line, Ratio, answer, limits, parser, peak_memory, ratio

IMAGES, EPOCHS = 2000, 10
RATE = 1e-3
# Targets for fp32 and bf16, and images per measured batch.
TARGETS = {"sphereface64": (1.4, 3.0, 32), "iresnet18": (1.8, 3.0, 32), "mobilefacenet": (4.0, 5.0, 64)}
IDENTITIES = 8
# The memory allocator's share of the gain, with two repetitions only.
KEPT, KEPT_REPETITIONS = "plain, freed memory kept", 2


class Clock(list[Any]):
    """List that records the time of each entry."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def append(self, entry: Any) -> None:
        """Append an entry and record the time."""
        self.times.append(time.perf_counter())
        super().append(entry)


@dataclass(frozen=True)
class Measured:
    """Seconds of 10 epochs over 2 000 images, seconds per training step, the losses of the measured steps."""

    seconds: float
    step: float
    losses: list[list[float]]


def measured(work: Callable[[Clock], None], batch: int) -> Measured:
    """Run ``work``, which appends the losses of every step to the clock; scale to the target size."""
    clock, started = Clock(), time.perf_counter()
    work(clock)
    ended = time.perf_counter()
    step = (clock.times[-1] - clock.times[0]) / (len(clock.times) - 1)
    before, after = clock.times[0] - step - started, ended - clock.times[-1]
    return Measured((before + EPOCHS * step) * IMAGES / batch + after, step, [list(entry) for entry in clock])


class Timed(Client):
    """Client that appends the losses of every step to a clock, as the plain version does."""

    clock: Clock

    def _plan(self, round_number: int) -> TrainingPlan:
        def on_step(epoch: int, step: int, steps: int, losses: Mapping[str, torch.Tensor]) -> None:
            names = ("margin_softmax", "one_vs_all", "contrastive", "total")
            self.clock.append([losses[name] for name in names])

        return replace(super()._plan(round_number), on_step=on_step)


class Problem:
    """One client with random faces in its second round: it has a previous backbone, prototypes and a DFC module."""

    def __init__(self, backbone: str, batch: int, epochs: int, folder: Path) -> None:
        generator = np.random.default_rng(0)
        self.backbone, self.batch, self.epochs, self.folder = backbone, batch, epochs, folder
        pixels = generator.integers(0, 256, (batch, 112, 112, 3), dtype=np.uint8)
        self.private = FaceSet(pixels, np.arange(batch) % IDENTITIES, [f"person-{k}" for k in range(IDENTITIES)])
        self.public = FaceSet(generator.integers(0, 256, (2, 112, 112, 3), dtype=np.uint8), [0, 0], ["public"])
        self.dim = BACKBONES[backbone].embedding_dim
        draw = torch.Generator().manual_seed(1)
        self.own = torch.randn(IDENTITIES, self.dim, generator=draw)
        self.prototypes = torch.randn(1, self.dim, generator=draw)
        self.generic = build_backbone(backbone, 0)
        self.previous = build_backbone(backbone, 1)

    def plain_version(self, plain: ModuleType) -> Callable[[Clock], None]:
        """Return the update as a function of the plain version."""
        private, public = (
            torch.from_numpy(faces.images(np.arange(len(faces)))).permute(0, 3, 1, 2).float().sub(127.5).div(127.5)
            for faces in (self.private, self.public)
        )
        plain.TAU_HN = 2.0  # type: ignore[attr-defined]  # a module loaded from a file

        def work(clock: Clock) -> None:
            client = plain.PlainClient(private.contiguous(), torch.from_numpy(self.private.labels.copy()))
            client.prototypes, client.previous, client.history = self.own.clone(), self.previous, clock
            client.transform, client.branches = nn.Linear(self.dim, self.dim), nn.Linear(self.dim, IDENTITIES)
            dfc = self._dfc()
            client.transform.load_state_dict(dfc.transform.state_dict())
            client.branches.load_state_dict(dfc.branches.state_dict())
            generators = [torch_generator(0, "local", 2, "client", epoch) for epoch in range(self.epochs)]
            faces = (public.contiguous(), torch.zeros(2, dtype=torch.int64))
            plain.local_update(client, self.generic, self.prototypes, faces, self.epochs, RATE, self.batch, generators)

        return work

    def library_version(self, *, bf16: bool = False, compiled: bool = False) -> Callable[[Clock], None]:
        """Return the update as a function of the library's client, including its private store."""
        local = LocalConfig(epochs=self.epochs, batch_size=self.batch, learning_rate=RATE)
        compute = Compute(BACKBONES[self.backbone].preprocessing, torch.device("cpu"), bf16, compiled)
        settings = ClientSettings(self.backbone, 2, 0, local, FederationConfig(), compute)
        method = FedFR({"hard_negatives": {"threshold": 1.0}})
        store = PrivateStore(self.folder / "client", "client")
        state = PrivateState(1, self.previous.state_dict(), self.own, self._dfc().state_dict())
        store.save(state)
        weights = {name: value.clone() for name, value in self.generic.state_dict().items()}
        # As in a run, where the clients of a process share them; the plain version's models exist already, too.
        networks = Networks(self.backbone, compute)

        def work(clock: Clock) -> None:
            client = Timed("client", self.private, PublicFaces(self.public), method, settings, store, networks)
            client.clock = clock
            client.update(Broadcast(2, weights, self.prototypes))

        return work

    def _dfc(self) -> DFC:
        dfc = DFC(IDENTITIES, self.dim)
        dfc.initialize_branches(self.own)
        return dfc


def load_plain() -> ModuleType:
    """Load ``examples/fedfr_plain.py`` as a module."""
    path = Path(__file__).resolve().parents[1] / "examples" / "fedfr_plain.py"
    spec = importlib.util.spec_from_file_location("fedfr_plain", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is missing")
    module = importlib.util.module_from_spec(spec)
    sys.modules["fedfr_plain"] = module
    spec.loader.exec_module(module)
    return module


def usual_memory() -> None:
    """Set glibc's default: blocks above 32 MiB are returned to the system when freed."""
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(-4, 65536), mallopt(-3, 32 << 20), mallopt(-1, 64 << 20)


def kept_memory() -> None:
    """Set the library's allocator settings."""
    keep_freed_memory.cache_clear()
    keep_freed_memory()


def flops(backbone: str) -> float:
    """Return the operations of a forward pass per image: convolutions and linear layers, 2 per multiply-add."""
    total = 0.0

    def count(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        weight: torch.Tensor = module.weight  # type: ignore[assignment]  # every counted layer has a weight
        total += 2 * weight.numel() * (output[0, 0].numel() if output.dim() == 4 else 1)

    network = build_backbone(backbone, 0).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    spec = BACKBONES[backbone].preprocessing
    with torch.inference_mode():
        network(torch.zeros(1, 3, spec.size[0], spec.columns[1] - spec.columns[0]))
    return total


def difference(a: Measured, b: Measured) -> float:
    """Return the largest relative difference between the losses of the steps."""
    ours, theirs = (torch.tensor([[float(loss) for loss in step] for step in way.losses]) for way in (a, b))
    return float(((ours - theirs).abs() / theirs.abs()).max())


def compare(backbone: str, batch: int, epochs: int, repetitions: int, threads: int) -> list[Line]:
    """Measure all versions alternately on one backbone."""
    plain = load_plain()
    with tempfile.TemporaryDirectory() as folder:
        problem = Problem(backbone, batch, epochs, Path(folder))
        ways: dict[str, tuple[Callable[[], None], Callable[[Clock], None]]] = {
            "plain": (usual_memory, problem.plain_version(plain)),
            KEPT: (kept_memory, problem.plain_version(plain)),
            "fp32": (kept_memory, problem.library_version()),
            "bf16": (kept_memory, problem.library_version(bf16=True)),
            "bf16 compiled": (kept_memory, problem.library_version(bf16=True, compiled=True)),
        }
        found: dict[str, list[Measured]] = {name: [] for name in ways}
        peaks: dict[str, int] = {}
        for repetition in range(repetitions + 1):
            for name, (prepare, work) in ways.items():
                if name == KEPT and repetition > KEPT_REPETITIONS:
                    continue
                prepare()
                with peak_memory(0.01) as peak:
                    result = measured(work, batch)
                if repetition:  # the first repetition warms up caches and compilation
                    found[name].append(result)
                    peaks[name] = max(peaks.get(name, 0), peak.start + peak.above)
    wanted = TARGETS.get(backbone, (math.nan, math.nan, 0))
    operations = 3 * flops(backbone)
    lines = []
    for name, asked in (("fp32", wanted[0]), ("bf16", wanted[1]), ("bf16 compiled", wanted[1])):
        pairs = [(a.seconds, b.seconds) for a, b in zip(found["plain"], found[name], strict=True)]
        kept = [(a.seconds, b.seconds) for a, b in zip(found[KEPT], found[name], strict=False)]
        gained: Ratio = ratio(pairs)
        precision = name.split()[0]
        step = min(result.step for result in found[name])
        apart = difference(found[name][0], found["plain"][0])
        close = precision == "bf16" or apart < 1e-4
        lines.append(
            Line(
                what=f"local update, {backbone}, {name}",
                wanted=f"≥ {asked}×" + (", losses within 1e-4" if precision == "fp32" else ""),
                found=str(gained),
                met=None if math.isnan(asked) else gained.median >= asked and close,
                share=operations * batch / step / limits(threads)[f"conv_{precision}"],
                limit=f"this machine's {precision} 3×3 convolution rate, in a training step",
                ratio=gained,
                peak_bytes=peaks[name],
                figures={
                    "images/s in a training step": batch / step,
                    "images/s, plain": batch / min(result.step for result in found["plain"]),
                    "largest relative difference of the losses": apart,
                    "ratio where the plain way keeps freed memory too": str(ratio(kept)),
                    "measured": f"{epochs} epochs of one batch of {batch}; peak is the whole process",
                },
            )
        )
    return lines


def main() -> None:
    """Measure and print the results."""
    options = parser(__doc__)
    options.add_argument("--backbones", nargs="+", default=list(TARGETS), choices=BACKBONES.names)
    options.add_argument("--batch", type=int, help="images in the measured batch")
    options.add_argument("--epochs", type=int, default=2, help="measured epochs")
    options.add_argument("--repetitions", type=int, default=5)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    lines: list[Line] = []
    for backbone in given.backbones:
        batch = given.batch or TARGETS.get(backbone, (0, 0, 32))[2]
        lines += compare(backbone, batch, given.epochs, given.repetitions, given.threads)
    answer("local_update", lines, threads=given.threads, as_json=given.json)


if __name__ == "__main__":
    main()
