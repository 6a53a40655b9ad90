"""Start-up time of commands that print only: ``--help`` and ``fedfr list``.

Run: ``python benchmarks/startup.py [--repetitions 9] [--json]``; half a minute. Each command is a process of its own,
in turn with ``python -c pass`` (what no Python program can go below) and ``python -c 'import torch'`` (what a command
would cost that imports it needlessly). One round is not counted: it fills the disk cache.
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

from harness import Line, answer, parser

TARGETS = 0.5
COMMANDS = (
    "--help",
    "faces --help",
    *(f"list {kind}{how}" for kind in ("methods", "backbones", "protocols", "presets") for how in ("", " --json")),
)
BESIDE = {"python -c pass": "pass", "python -c 'import torch'": "import torch"}


def seconds(code: str, *arguments: str) -> float:
    """Return the seconds of one process that runs ``code``; raise if it fails."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def main() -> None:
    """Measure all alternately, so that disturbances affect each alike."""
    options = parser(__doc__)
    options.add_argument("--repetitions", type=int, default=9)
    given = options.parse_args()
    fedfr = "from fedfr.cli import main; main()"
    found: dict[str, list[float]] = {name: [] for name in (*COMMANDS, *BESIDE)}
    for repetition in range(given.repetitions + 1):
        for name, values in found.items():
            taken = seconds(BESIDE[name]) if name in BESIDE else seconds(fedfr, *name.split())
            if repetition:
                values.append(taken)
    lines = []
    for name, values in found.items():
        middle = median(values)
        lines.append(
            Line(
                what=name if name in BESIDE else f"fedfr {name}",
                wanted="" if name in BESIDE else f"≤ {TARGETS} s",
                found=f"{middle:.3f} s ({min(values):.3f} to {max(values):.3f})",
                met=None if name in BESIDE else middle <= TARGETS,
                figures={"median_s": middle, "low_s": min(values), "high_s": max(values)},
            )
        )
    answer("startup", lines, threads=given.threads, as_json=given.json)


if __name__ == "__main__":
    main()
