"""Does bf16 cost accuracy? The quickstart in fp32 and in bf16 over seeds, each seed a pair.

Run: ``python benchmarks/precision.py --out runs/precision [--seeds 5] [--json]``; about 3 minutes a seed, so it is no
part of ``make bench``. Every seed has its own split, pre-training and rounds; a run that was interrupted goes on where
it stood. Shown is the mean difference bf16 − fp32 in points, with Student's 95 % interval over the seeds.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, stdev

from scipy.stats import t as student

from harness import Line, answer, parser
from quickstart_seeds import Figures, run


def interval(differences: list[float]) -> tuple[float, float, float]:
    """Mean, and the lower and upper end of its 95 % interval; at least two values."""
    mean = fmean(differences)
    half = float(student.ppf(0.975, len(differences) - 1)) * stdev(differences) / len(differences) ** 0.5
    return mean, mean - half, mean + half


def main() -> None:
    """Run all pairs and answer."""
    options = parser(__doc__)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--seeds", type=int, default=5)
    given = options.parse_args()
    found: dict[str, list[Figures]] = {"fp32": [], "bf16": []}
    for seed in range(given.seeds):
        for precision, figures in found.items():
            settings = [f"runtime.precision={precision}", f"runtime.threads={given.threads}", "baselines=[]"]
            figures.append(run(seed, given.out / f"{precision}-{seed}", settings))
    lines = []
    for protocol, metric, model in found["fp32"][0]:
        if model == "pretrained":
            continue
        key = (protocol, metric, model)
        full, half = ([figures[key] for figures in found[name]] for name in ("fp32", "bf16"))
        mean, low, high = interval([b - a for a, b in zip(full, half, strict=True)])
        told = f"fp32 {fmean(full):.1f} %, bf16 {fmean(half):.1f} %"
        lines.append(
            Line(
                what=f"{model}: {protocol} {metric}",
                wanted="interval holds 0",
                found=f"{told}, difference {mean:+.1f} [{low:+.1f}, {high:+.1f}]",
                met=low <= 0 <= high,
                figures={"fp32": full, "bf16": half, "difference": mean, "interval": [low, high]},
            )
        )
    answer("precision", lines, threads=given.threads, as_json=given.json)


if __name__ == "__main__":
    main()
