"""The preset ``orl`` under two settings over seeds, paired by seed: mean differences with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from fedfr.results.result_rows import Row
from harness import Line
from seeded_runs import begun, interval, seeded

__all__ = ["paired"]

Figures = Mapping[tuple[str, str, str], float]


def figures(rows: Sequence[Row]) -> Figures:
    """Return the mean over clients in percent by (protocol, metric, model), without refused metrics."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        if row.value is not None:
            model = row.model if row.model == row.method else f"{row.method} {row.model}"
            values.setdefault((row.protocol, row.metric, model), []).append(100 * row.value)
    return {key: fmean(found) for key, found in values.items()}


def paired(variants: Mapping[str, Sequence[str]], seeds: int, threads: int, out: Path) -> list[Line]:
    """Run the preset ``orl`` with the settings of every variant; return a line per metric of each but the first.

    Every seed has its own split, pre-training and rounds; a run that was interrupted goes on where it stood.
    """
    first, *others = variants
    found: dict[str, list[Figures]] = {name: [] for name in variants}
    for seed in range(seeds):
        for name, settings in variants.items():
            given = [*seeded(seed, threads), *settings, "baselines=[]"]
            beside = None if name == first else out / f"{first}-{seed}"
            found[name].append(figures(begun("orl", out / f"{name}-{seed}", given, beside).run()))
    lines = []
    for other in others:
        for protocol, metric, model in found[first][0]:
            if model == "pretrained":
                continue
            key = (protocol, metric, model)
            before, after = ([figures[key] for figures in found[name]] for name in (first, other))
            mean, low, high = interval([b - a for a, b in zip(before, after, strict=True)])
            told = f"{first} {fmean(before):.1f} %, {other} {fmean(after):.1f} %"
            lines.append(
                Line(
                    what=f"{model}: {protocol} {metric}",
                    wanted="interval holds 0",
                    found=f"{told}, difference {mean:+.1f} [{low:+.1f}, {high:+.1f}]",
                    met=low <= 0 <= high,
                    figures={first: before, other: after, "difference": mean, "interval": [low, high]},
                )
            )
    return lines
