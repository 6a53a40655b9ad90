"""Server's work in a round: from the bytes of updates to their average, time and memory.

Run: ``python benchmarks/aggregation.py [--backbone sphereface64] [--clients 40] [--json]``; under a minute.

Every update is read from its bytes, checked and added. Bytes that must move: the check reads the update once; adding
reads it again, reads the running mean and writes it – four times the model. The bound is that many bytes at the
machine's bandwidth (``harness.limits``: ``a += b`` over 200 MB). Part of those 200 MB may stay in a large cache, which
four models never do; so the same sum over arrays of the model's size, measured in turn with the updates, stands beside
it. The plain way is the safetensors library's reader, ``isfinite`` and a float64 step in pieces of 1 MB.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Mapping

import safetensors.torch
import torch

from fedfr.federation.aggregation import StreamingAverage, check_update
from fedfr.federation.messages import Update, decode_update, encode
from fedfr.models import build_backbone
from harness import Line, alternate, answer, best, limits, parser, peak_memory

CHUNK = 1 << 18
MESSAGES = 3
TIMES_THE_MODEL = 4

State = dict[str, torch.Tensor]


def plain_add(mean: State, message: bytes, share: float) -> None:
    """Add one update in the plain version; raises ValueError if it contains NaN or infinity."""
    update = {name.removeprefix("weights/"): value for name, value in safetensors.torch.load(message).items()}
    for value in update.values():
        if not all(bool(torch.isfinite(part).all()) for part in value.reshape(-1).split(CHUNK)):
            raise ValueError("NaN or infinity")
    for name, value in update.items():
        for old, new in zip(mean[name].view(-1).split(CHUNK), value.reshape(-1).split(CHUNK), strict=True):
            if value.dtype.is_floating_point:
                old.copy_(torch.lerp(old.double(), new.double(), share))
            else:
                torch.maximum(old, new, out=old)


def add(average: StreamingAverage, message: bytes, count: int, expected: Mapping[str, torch.Tensor]) -> None:
    """Add one update as the server does."""
    update = decode_update(message)
    check_update(update, 1, expected, None)
    average.add(update.weights, count)


def main() -> None:
    """Measure the time of an update against plain version and bandwidth, and the peak memory of a round."""
    options = parser(__doc__)
    options.add_argument("--backbone", default="sphereface64")
    options.add_argument("--clients", type=int, default=40)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    weights = {name: value.detach() for name, value in build_backbone(given.backbone, 0).state_dict().items()}
    model = sum(value.numel() * value.element_size() for value in weights.values())
    generator = torch.Generator().manual_seed(0)
    messages = [encode(Update(1, "client", _moved(weights, generator), None, 1)) for _ in range(MESSAGES)]

    # Memory freed after building the messages must not count as available at the start.
    ctypes.CDLL(None).malloc_trim(0)
    round_average = StreamingAverage()
    with peak_memory() as peak:
        for number in range(given.clients):
            # Separate bytes for every update, as received from a socket.
            add(round_average, bytes(memoryview(messages[number % MESSAGES])), number + 1, weights)
        found = round_average.result()
    del round_average

    plain_mean = {name: value.clone() for name, value in decode_update(messages[0]).weights.items()}
    for number in range(1, given.clients):
        plain_add(plain_mean, messages[number % MESSAGES], (number + 1) / ((number + 1) * (number + 2) / 2))
    difference = max(float((found[name].double() - value.double()).abs().max()) for name, value in plain_mean.items())

    average = StreamingAverage()
    average.add(decode_update(messages[0]).weights, 10)
    counter = itertools.count()

    def fast() -> None:
        add(average, messages[next(counter) % MESSAGES], 1, weights)

    against_plain = alternate(lambda: plain_add(plain_mean, messages[next(counter) % MESSAGES], 0.1), fast, 9)
    a, b = torch.zeros(model // 4), torch.ones(model // 4)
    # Fastest of many alternating repetitions: one model takes milliseconds, as long as an interruption.
    in_turn = [(best(lambda: a.add_(b)), best(fast)) for _ in range(7)]
    moved, seconds = (min(times) for times in zip(*in_turn, strict=True))
    bandwidth = limits(given.threads)["bandwidth"]
    bound, bound_same_size = TIMES_THE_MODEL * model / bandwidth, moved * TIMES_THE_MODEL / 3
    times = seconds / bound
    lines = [
        Line(
            f"One update of {given.backbone} ({model / 4e6:.1f} M values): read, checked, added",
            "at most 2 times the bound",
            f"{1e3 * seconds:.1f} ms, {times:.2f} times the bound of {1e3 * bound:.1f} ms",
            times <= 2,
            share=1 / times,
            limit=f"bandwidth for {TIMES_THE_MODEL} times the model, {bandwidth:.3g} B/s",
            ratio=against_plain,
            figures={
                "bandwidth over arrays of the model's size, B/s": 3 * model / moved,
                "times the bound at that bandwidth": seconds / bound_same_size,
                "largest difference from the plain way": difference,
            },
        ),
        Line(
            f"Peak memory of a round of {given.clients} updates, the bytes of the update being added included",
            "at most 3 models",
            f"{peak.above / model:.2f} models",
            peak.above <= 3 * model,
            peak_bytes=peak.above,
            figures={"model bytes": model},
        ),
    ]
    answer("aggregation", lines, threads=given.threads, as_json=given.json)


def _moved(weights: State, generator: torch.Generator) -> State:
    return {
        name: value + 1e-3 * torch.randn(value.shape, generator=generator) if value.dtype.is_floating_point else value
        for name, value in weights.items()
    }


if __name__ == "__main__":
    main()
