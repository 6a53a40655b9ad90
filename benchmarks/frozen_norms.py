"""BatchNorm with fixed statistics as part of the convolutions, against BatchNorm in passes of its own.

Run: ``python benchmarks/frozen_norms.py [--json]``; four minutes. The plain version runs the same network layer by
layer. Measured are features of fixed networks and training steps with ``federation.batchnorm=frozen``, in fp32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from fedfr.core.memory import keep_freed_memory
from fedfr.models import BACKBONES, build_backbone
from fedfr.training.batchnorm import batchnorm_entries, train_all_but
from fedfr.training.features import Compute
from harness import Line, alternate, answer, parser

BATCH, ASKED = 32, 1.4


def layer_by_layer(network: nn.Module, work: Callable[[], torch.Tensor]) -> torch.Tensor:
    """Do ``work`` with convolutions and BatchNorm one after the other: so run layers with hooks."""
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    handles = [layer.register_forward_hook(lambda layer, given, out: None) for layer in norms]
    try:
        return work()
    finally:
        for handle in handles:
            handle.remove()


def compare(name: str) -> list[Line]:
    """Measure features and training steps of one backbone; the results of both versions are compared."""
    compute = Compute(BACKBONES[name].preprocessing, torch.device("cpu"))
    network = compute.place(build_backbone(name, 0)).eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.get_buffer("running_mean"), 0, 0.1)
            nn.init.uniform_(layer.get_buffer("running_var"), 0.5, 2)
    train_all_but(network, batchnorm_entries(network))
    images = torch.randint(0, 256, (BATCH, 112, 112, 3), dtype=torch.uint8)

    def features() -> torch.Tensor:
        with torch.inference_mode():
            return compute.features(network, images)

    def step() -> torch.Tensor:
        network.zero_grad()
        loss = compute.features(network, images).square().mean()
        loss.backward()
        return loss

    folded, plain = features(), layer_by_layer(network, features)
    apart = float((folded - plain).norm() / plain.norm())
    lines = []
    for what, work, wanted in (("features", features, f"≥ {ASKED}×, within 1e-5"), ("training steps", step, "")):
        found = alternate(partial(layer_by_layer, network, work), work, repetitions=9)
        lines.append(
            Line(
                what=f"{what}, {name}",
                wanted=wanted,
                found=f"{found}; relative difference of the features {apart:.0e}",
                met=found.median >= ASKED and apart < 1e-5 if wanted else None,
                ratio=found,
                figures={"ms per image": 1e3 * found.fast_seconds / BATCH, "relative difference": apart},
            )
        )
    return lines


def main() -> None:
    """Measure and print the results."""
    given = parser(__doc__).parse_args()
    torch.set_num_threads(given.threads)
    keep_freed_memory()
    lines = [line for name in ("mobilefacenet", "iresnet18", "slimface") for line in compare(name)]
    answer("frozen_norms", lines, threads=given.threads, as_json=given.json)


if __name__ == "__main__":
    main()
