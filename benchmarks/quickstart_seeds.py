"""The quickstart over several seeds, to compare models independently of a single seed.

Run: ``python benchmarks/quickstart_seeds.py --seeds 5 --out runs/seeds [--set local.learning_rate=0.01] [--json]``.
Every seed has its own split (who is public, whose client, unseen), its own pre-training and its own rounds. A run that
was interrupted goes on where it stood. Figures are percent; a personalized figure is the mean over a seed's clients.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from fedfr.config.schema import load_config
from fedfr.experiments.experiment import Experiment
from fedfr.results.result_rows import Row
from harness import sleeping_threads

COMPARISONS = (
    ("fedfr generic", "pretrained"),
    ("fedfr personalized", "pretrained"),
    ("fedfr personalized", "local"),
)
Figures = Mapping[tuple[str, str, str], float]


def figures(rows: Sequence[Row]) -> Figures:
    """Return the mean over clients in percent by (protocol, metric, model), without refused metrics."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        if row.value is not None:
            model = row.model if row.model == row.method else f"{row.method} {row.model}"
            values.setdefault((row.protocol, row.metric, model), []).append(100 * row.value)
    return {key: fmean(found) for key, found in values.items()}


def run(seed: int, folder: Path, settings: Sequence[str], beside: Path | None = None) -> Figures:
    """Run or resume one seed; an equal starting model of the run ``beside`` is reused."""
    if not (folder / "config.yaml").exists():
        Experiment.create(load_config("quickstart", [f"seed={seed}", f"split.settings.seed={seed}", *settings]), folder)
        if beside is not None:
            Experiment.open(folder).reuse_start(beside)
    return figures(Experiment.open(folder).run())


def summary(seeds: Sequence[Figures]) -> list[dict[str, Any]]:
    """Return a line per metric of a model (mean and spread over seeds) and per paired comparison of two models."""
    lines: list[dict[str, Any]] = []
    for protocol, metric, model in seeds[0]:
        values = [found[protocol, metric, model] for found in seeds if (protocol, metric, model) in found]
        lines.append(_line(protocol, metric, model, values))
    for protocol, metric in dict.fromkeys((protocol, metric) for protocol, metric, _ in seeds[0]):
        for better, worse in COMPARISONS:
            pairs = [(s.get((protocol, metric, better)), s.get((protocol, metric, worse))) for s in seeds]
            differences = [a - b for a, b in pairs if a is not None and b is not None]
            if differences:
                won = sum(difference > 0 for difference in differences)
                lines.append(_line(protocol, metric, f"{better} - {worse}", differences) | {"won": won})
    return sorted(lines, key=lambda line: (line["protocol"], line["metric"]))


def _line(protocol: str, metric: str, model: str, values: Sequence[float]) -> dict[str, Any]:
    spread = stdev(values) if len(values) > 1 else 0.0
    given = {"protocol": protocol, "metric": metric, "model": model}
    return given | {"mean": round(fmean(values), 1), "deviation": round(spread, 1), "seeds": len(values)}


def main() -> None:
    """Run all seeds, print the summary."""
    sleeping_threads()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="A.B=C")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    lines = summary(
        [
            run(seed, given.out / f"seed-{seed}", given.settings)
            for seed in range(given.first, given.first + given.seeds)
        ]
    )
    if given.json:
        print(json.dumps(lines, indent=2))
        return
    for line in lines:
        won = f"  won {line['won']} of {line['seeds']}" if "won" in line else ""
        where = f"{line['protocol']} {line['metric']}"
        print(f"{where:<36}{line['model']:<36}{line['mean']:>6} ± {line['deviation']}{won}")


if __name__ == "__main__":
    main()
