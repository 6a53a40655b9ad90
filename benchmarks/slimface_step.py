"""Images per second in a training step of the quickstart's backbone on a CPU.

Run: ``python benchmarks/slimface_step.py [--json]``; half a minute. How its shape was chosen: ``slimface_shapes.py``.
"""

from __future__ import annotations

import torch

from fedfr.core.memory import keep_freed_memory
from fedfr.models import BACKBONES, build_backbone
from fedfr.training.features import Compute
from harness import Line, alternate, answer, limits, parser
from local_update import flops

BATCH, TARGET = 64, 150


def main() -> None:
    """Measure and print the results."""
    given = parser(__doc__).parse_args()
    torch.set_num_threads(given.threads)
    keep_freed_memory()
    images = torch.randint(0, 256, (BATCH, 112, 112, 3), dtype=torch.uint8)
    steps = []
    for bf16 in (False, True):
        compute = Compute(BACKBONES["slimface"].preprocessing, torch.device("cpu"), bf16)
        network = compute.place(build_backbone("slimface", 0)).train()
        optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4, fused=True)

        def step(
            network: torch.nn.Module = network, compute: Compute = compute, optimizer: torch.optim.SGD = optimizer
        ) -> None:
            optimizer.zero_grad()
            compute.features(network, images).square().mean().backward()
            optimizer.step()

        steps.append(step)
    gained = alternate(steps[0], steps[1], repetitions=7)
    rate = BATCH / gained.fast_seconds
    line = Line(
        what="training step of slimface in bf16, against fp32",
        wanted=f"≥ {TARGET} images/s",
        found=f"{rate:.0f} images/s",
        met=rate >= TARGET,
        share=3 * flops("slimface") * rate / limits(given.threads)["conv_bf16"],
        limit="this machine's bf16 3×3 convolution rate",
        ratio=gained,
        figures={"images/s in fp32": BATCH / gained.plain_seconds, "batch": BATCH},
    )
    answer("slimface_step", [line], threads=given.threads, as_json=given.json)


if __name__ == "__main__":
    main()
