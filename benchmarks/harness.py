"""Common parts of the benchmarks: alternating repetitions, the machine's limits, peak memory, output.

A script builds :class:`Line` objects, one per thing compared, and hands them to :func:`answer`, which prints a table
or, with ``--json``, one JSON object that also says where and when it was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from fedfr.core.threads import let_threads_sleep

__all__ = [
    "Line",
    "Peak",
    "Ratio",
    "alternate",
    "answer",
    "best",
    "limits",
    "peak_memory",
    "place",
    "sleeping_threads",
]

PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Ratio:
    """Time of the plain version divided by that of the fast one, per repetition: median, lowest, highest."""

    median: float
    low: float
    high: float
    plain_seconds: float
    fast_seconds: float

    def __str__(self) -> str:
        return f"{self.median:.2f}× ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Line:
    """One row of the results: subject, target, result and further values.

    ``met`` is None where nothing is asked. ``share`` is the part of the machine's limit named in ``limit``.
    """

    what: str
    wanted: str
    found: str
    met: bool | None
    share: float | None = None
    limit: str = ""
    ratio: Ratio | None = None
    peak_bytes: int | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)


def best(work: Callable[[], object], repetitions: int = 3) -> float:
    """Return the seconds of the fastest repetition, after a warm-up."""
    work()
    return min(_seconds(work) for _ in range(repetitions))


def alternate(plain: Callable[[], object], fast: Callable[[], object], repetitions: int = 5) -> Ratio:
    """Run both functions alternately, ``repetitions`` times after a warm-up, so that disturbances affect both."""
    plain(), fast()
    pairs = [(_seconds(plain), _seconds(fast)) for _ in range(repetitions)]
    return ratio(pairs)


def ratio(pairs: Sequence[tuple[float, float]]) -> Ratio:
    """Return the :class:`Ratio` of alternately measured (plain, fast) seconds."""
    ratios = [plain / fast for plain, fast in pairs]
    seconds = (median(plain for plain, _ in pairs), median(fast for _, fast in pairs))
    return Ratio(median(ratios), min(ratios), max(ratios), *seconds)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@dataclass
class Peak:
    """Resident size of this process in bytes: at the start of a block, and its largest increase during the block."""

    start: int = 0
    above: int = 0


@contextmanager
def peak_memory(interval: float = 0.001) -> Any:
    """Sample the resident size while the block runs; the :class:`Peak` is complete when the block ends."""
    peak, stop = Peak(start=_resident()), threading.Event()

    def watch() -> None:
        while not stop.is_set():
            peak.above = max(peak.above, _resident() - peak.start)
            time.sleep(interval)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


@cache
def limits(threads: int) -> Mapping[str, float]:
    """Measure the limits of this machine with this number of threads.

    ``gemm_fp32``, ``gemm_bf16``: FLOP/s of a 4096 × 512 × 4096 product; ``conv_fp32``, ``conv_bf16``: of a 3×3
    convolution, 128 → 128 channels on 28×28; ``bandwidth``: bytes/s of ``a += b`` over 200 MB (two read, one written).
    """
    torch.set_num_threads(threads)
    found: dict[str, float] = {}
    for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        left, right = torch.randn(4096, 512).to(kind), torch.randn(4096, 512).to(kind)
        found[f"gemm_{name}"] = 2 * 4096 * 4096 * 512 / best(partial(torch.mm, left, right.T), 7)
        images = torch.randn(32, 128, 28, 28).to(kind, memory_format=torch.channels_last)
        kernel = torch.randn(128, 128, 3, 3).to(kind, memory_format=torch.channels_last)
        with torch.inference_mode():
            seconds = best(partial(torch.conv2d, images, kernel, padding=1), 7)
        found[f"conv_{name}"] = 2 * 32 * 28 * 28 * 128 * 128 * 9 / seconds
    a, b = torch.zeros(25_000_000), torch.ones(25_000_000)
    found["bandwidth"] = 300e6 / best(lambda: a.add_(b), 7)
    return found


def place() -> dict[str, Any]:
    """Return machine, date and commit."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )
    return {
        "machine": f"{model or platform.machine()}, {os.cpu_count()} cores",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": _commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    return done.stdout.strip() or "unknown"


def sleeping_threads() -> None:
    """Restart this script with sleeping OpenMP threads, because PyTorch is already loaded."""
    wanted = dict(os.environ)
    let_threads_sleep(wanted)
    if wanted != os.environ:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every script."""
    sleeping_threads()
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--threads", type=int, default=os.cpu_count(), help="torch threads")
    made.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    return made


def answer(name: str, lines: Sequence[Line], *, threads: int, as_json: bool) -> None:
    """Print the results."""
    content = {"benchmark": name, **place(), "threads": threads, "lines": [asdict(line) for line in lines]}
    if as_json:
        print(json.dumps(content))
        return
    print(f"{name} · {content['machine']}, {threads} threads · torch {content['torch']} · {content['date']}")
    for line in lines:
        mark = {True: "met", False: "NOT MET", None: ""}[line.met]
        print(f"\n{line.what}\n  {line.found}" + (f"   (wanted {line.wanted}: {mark})" if line.wanted else ""))
        if line.ratio is not None:
            print(f"  plain {line.ratio.plain_seconds:.3f} s, fast {line.ratio.fast_seconds:.3f} s, ratio {line.ratio}")
        if line.share is not None:
            print(f"  {100 * line.share:.0f} % of {line.limit}")
        if line.peak_bytes is not None:
            print(f"  peak {line.peak_bytes / 2**20:.0f} MiB above the start")
        for key, value in line.figures.items():
            print(f"  {key}: {value:,.4g}" if isinstance(value, float) else f"  {key}: {value}")
