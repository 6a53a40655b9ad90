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

from fedfr.results.intervals import estimate
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
# Seeds with which the quickstart's settings were chosen; a run with one of them is shown and not counted.
CHOSEN_WITH = (0, 1)
# Instruction set, threads, seed: every set with both numbers of threads, each run with deals and starts of its own, and
# the seed that users get.
RUNS = (
    ("native", 2, 2),
    ("native", 1, 3),
    ("AVX-512", 2, 4),
    ("AVX-512", 1, 5),
    ("AVX2", 2, 6),
    ("AVX2", 1, 7),
    ("SSE4.1", 2, 8),
    ("SSE4.1", 1, 9),
    ("native", 1, 10),
    ("AVX2", 2, 11),
    ("AVX-512", 1, 12),
    ("AVX2", 1, 13),
    ("native", 2, 0),
)
VARIATION = "mean [variation over deals of these 40 people]"


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


def summary(results: dict[str, Any]) -> tuple[str, str]:
    """Return the differences that hold on every processor as a Markdown table, and a sentence that names the others.

    Runs that are not counted (:data:`CHOSEN_WITH`) have no part in it; results of earlier versions count all.

    One holds if it is above 0 in nine tenths of the runs, and so is the t range of its mean over seeds. How many runs
    settle it by themselves is shown beside it. The value of a seed is the mean of its runs. All seeds deal the same
    people: the range is that of further deals of these, and no interval for other people.
    """
    runs = [run for run in results["runs"] if run.get("counted", True)]
    head = ("difference in points", "people", VARIATION, "positive", "settled by the run alone")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    others = []
    for position, answer in enumerate(runs[0]["answers"]):
        found = [run["answers"][position] for run in runs]
        seeds: dict[int, list[float]] = {}
        for run, each in zip(runs, found, strict=True):
            seeds.setdefault(run["seed"], []).append(100 * each["difference"])
        mean = estimate([fmean(values) for values in seeds.values()])
        low, high = mean.interval() or (float("-inf"), float("inf"))
        positive = sum(each["difference"] > 0 for each in found)
        settled = sum(each["answer"] == "better" for each in found)
        who = "the clients' own" if answer["protocol"].startswith("personalized") else "unseen"
        name, value = f"{answer['one']} − {answer['other']}", f"{mean.mean:+.1f} [{low:+.1f}, {high:+.1f}]"
        if positive >= 0.9 * len(runs) and low > 0:
            lines.append(f"| {name} | {who} | {value} | {positive} of {len(runs)} | {settled} of {len(runs)} |")
        else:
            others.append(f"{name}, {who} people: {value}, {positive} of {len(runs)} positive")
    unsettled = (
        f"Not positive in nine tenths of the runs and in the whole bracket, {VARIATION}: {'; '.join(others)}."
        if others
        else ""
    )
    return "\n".join(lines) if len(lines) > 2 else "No difference holds on every processor.", unsettled


def runs_table(results: dict[str, Any]) -> str:
    """Return every run's differences with their intervals as a Markdown table, and where they were measured."""
    first = results["runs"][0]["answers"]
    titles = [f"{answer['one']} − {answer['other']}, {answer['protocol']}" for answer in first]
    lines = ["| instructions | threads | seed | " + " | ".join(titles) + " | CPU s |", "|---" * (4 + len(titles)) + "|"]
    for run in results["runs"]:
        cells = [_cell(answer) for answer in run["answers"]]
        lines.append(
            f"| {run['instructions']} | {run['threads']} | {_seed(run)} | {' | '.join(cells)} "
            f"| {run['cpu_seconds']:.0f} |"
        )
    where = f"{results['machine']}, torch {results['torch']}, {results['date']}, commit {results['commit']}"
    made = f"`python benchmarks/quickstart_cpus.py --out FOLDER`; {where}"
    return "\n\n".join(filter(None, ("\n".join(lines), summary(results)[1], made)))


def _seed(run: dict[str, Any]) -> str:
    return f"{run['seed']}" if run.get("counted", True) else f"{run['seed']} (not counted)"


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
        made = measure(instructions, threads, seed, given.out / f"{instructions}-threads-{threads}-seed-{seed}")
        runs.append(made | {"counted": seed not in CHOSEN_WITH})
        shown = " ".join(_cell(answer) for answer in runs[-1]["answers"])
        print(f"{instructions}, {threads} threads, seed {seed}: {shown}, {runs[-1]['cpu_seconds']} s", flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({**place(), "runs": runs}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
