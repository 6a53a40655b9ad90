"""Peak memory of the streaming average: how many models' worth it needs above the start.

Run: ``python benchmarks/aggregation_memory.py --backbone sphereface64 --clients 40 [--json]``. Updates come one after
the other and pass through bytes, as an engine delivers them.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from pathlib import Path

import torch

from fedfr.federation.aggregation import StreamingAverage, check_update
from fedfr.federation.messages import Update, decode_update, encode
from fedfr.models import build_backbone


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def peak_while(stop: threading.Event, peaks: list[int]) -> None:
    """Sample the resident size every millisecond."""
    while not stop.is_set():
        peaks[0] = max(peaks[0], resident())
        time.sleep(0.001)


def measure(backbone: str, clients: int) -> dict[str, float | int | str]:
    """Aggregate ``clients`` updates; sizes in bytes."""
    torch.set_num_threads(1)
    weights = {name: value.detach() for name, value in build_backbone(backbone, 0).state_dict().items()}
    model = sum(value.numel() * value.element_size() for value in weights.values())
    # One message is received again and again, each time decoded afresh; its own bytes belong to the start.
    message = encode(Update(1, "client", weights, None, 1))
    average, stop = StreamingAverage(), threading.Event()
    before = resident()
    peaks = [before]
    watcher = threading.Thread(target=peak_while, args=(stop, peaks))
    watcher.start()
    started = time.perf_counter()
    for number in range(clients):
        update = decode_update(message)
        check_update(update, 1, weights, None)
        average.add(update.weights, number + 1)
        del update
    seconds = time.perf_counter() - started
    stop.set()
    watcher.join()
    return {
        "backbone": backbone,
        "clients": clients,
        "model_bytes": model,
        "peak_bytes_above_start": peaks[0] - before,
        "models": round((peaks[0] - before) / model, 2),
        "seconds_per_update": round(seconds / clients, 3),
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="sphereface64")
    parser.add_argument("--clients", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    figures = measure(given.backbone, given.clients)
    if given.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:<24}{value}")


if __name__ == "__main__":
    main()
