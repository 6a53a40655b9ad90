"""Whether the quickstart's answers depend on the processor: instruction sets, numbers of threads and seeds.

Run: ``python benchmarks/quickstart_cpus.py --out runs/quickstart-cpus``, then ``python benchmarks/all.py --tables``.
Each run is ``fedfr quickstart --seed S`` in a process of its own, with the instruction sets of oneDNN
(``ONEDNN_MAX_CPU_ISA``) and ATen (``ATEN_CPU_CAPABILITY``) limited as on an older processor. A finished run is kept, an
interrupted one starts again, so that its times are whole. Results: ``benchmarks/quickstart/results.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from harness import place

HERE = Path(__file__).parent
RESULTS = HERE / "quickstart" / "results.json"
# Names of instruction sets, and what limits oneDNN and ATen to them.
SETS = {
    "SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"},
    "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    "AVX-512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "ATEN_CPU_CAPABILITY": "avx512"},
    "native": {},
}
# Instruction set, threads, seed. Seed 0, which users get, on all of them; new people and starts on the others.
RUNS = (
    ("native", 2, 0),
    ("native", 1, 0),
    ("AVX2", 1, 0),
    ("AVX-512", 2, 0),
    ("SSE4.1", 1, 0),
    ("AVX2", 2, 2),
    ("native", 2, 3),
    ("AVX2", 1, 4),
    ("AVX-512", 1, 5),
    ("AVX2", 2, 6),
    ("native", 1, 7),
    ("AVX-512", 2, 8),
)


def measure(instructions: str, threads: int, seed: int, folder: Path) -> dict[str, Any]:
    """Run one quickstart, or read the result of a finished one."""
    path = folder.with_suffix(".json")
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "fedfr", "quickstart", "--json", "--seed", str(seed), "--out", str(folder)]
    environment = {**os.environ, **SETS[instructions], "OMP_NUM_THREADS": str(threads)}
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*command, "--set", f"runtime.threads={threads}"], env=environment, stdout=subprocess.PIPE, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = {
        "instructions": instructions,
        "threads": threads,
        "seed": seed,
        "wall_seconds": round(time.monotonic() - begun, 1),
        "cpu_seconds": round(used, 1),
        "answers": json.loads(done.stdout)["answers"],
    }
    path.write_text(json.dumps(found), encoding="utf-8")
    shutil.rmtree(folder)
    return found


def summary_table(results: dict[str, Any]) -> str:
    """Return what the runs have in common, by question, as a Markdown table."""
    runs = results["runs"]
    lines = ["| difference in points | people | mean | lowest, highest | positive | interval above 0 |"]
    lines.append("|---|---|---|---|---|---|")
    for answers in zip(*(run["answers"] for run in runs), strict=True):
        means = [100 * answer["difference"] for answer in answers]
        positive = sum(mean > 0 for mean in means)
        above = sum(answer["low"] > 0 for answer in answers)
        who = "the clients' own" if answers[0]["protocol"].startswith("personalized") else "unseen"
        lines.append(
            f"| {answers[0]['one']} − {answers[0]['other']} | {who} | {fmean(means):+.1f} "
            f"| {min(means):+.1f}, {max(means):+.1f} | {positive} of {len(runs)} | {above} of {len(runs)} |"
        )
    return "\n".join(lines)


def runs_table(results: dict[str, Any]) -> str:
    """Return every run's differences with their intervals as a Markdown table, and where they were measured."""
    first = results["runs"][0]["answers"]
    titles = [f"{answer['one']} − {answer['other']}, {answer['protocol']}" for answer in first]
    lines = ["| instructions | threads | seed | " + " | ".join(titles) + " | CPU s |", "|---" * (4 + len(titles)) + "|"]
    for run in results["runs"]:
        cells = [_cell(answer) for answer in run["answers"]]
        lines.append(
            f"| {run['instructions']} | {run['threads']} | {run['seed']} | {' | '.join(cells)} "
            f"| {run['cpu_seconds']:.0f} |"
        )
    where = f"{results['machine']}, torch {results['torch']}, {results['date']}, commit {results['commit']}"
    return "\n".join([*lines, "", f"`python benchmarks/quickstart_cpus.py --out FOLDER`; {where}"])


def _cell(answer: dict[str, Any]) -> str:
    mean, low, high = (100 * answer[name] for name in ("difference", "low", "high"))
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and keep the results once all runs are finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    runs = []
    for instructions, threads, seed in RUNS:
        runs.append(measure(instructions, threads, seed, given.out / f"{instructions}-threads-{threads}-seed-{seed}"))
        shown = " ".join(_cell(answer) for answer in runs[-1]["answers"])
        print(f"{instructions}, {threads} threads, seed {seed}: {shown}, {runs[-1]['cpu_seconds']} s", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({**place(), "runs": runs}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
