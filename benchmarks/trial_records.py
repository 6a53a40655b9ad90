"""Record of the trials by which settings were chosen: ``trials.csv``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from fedfr.config.loading import merge
from fedfr.core.errors import FedfrError
from fedfr.core.files import write_atomically
from fedfr.results.comparison import metric_groups, shared_metrics, summaries
from fedfr.results.result_rows import Row
from paper_claims import GENERIC, SEARCH, VERIFY
from tuned_methods import START, VARIANTS, fixed

__all__ = ["Trial", "chosen", "metrics_of", "read_trials", "settings_tree", "tuned", "write_trials"]

_COLUMNS = ("method", "trial", "settings", "metrics", "score", "seconds", "chosen")


@dataclass(frozen=True)
class Trial:
    """One trial of a method: its settings by dotted name, and its metrics, empty if training diverged.

    ``seconds``: time of the rounds, without evaluation.
    """

    method: str
    number: int
    settings: Mapping[str, float]
    metrics: Mapping[str, float]
    seconds: float

    @property
    def score(self) -> float | None:
        """Mean of the metrics; None if training diverged."""
        return fmean(self.metrics.values()) if self.metrics else None

    @property
    def order(self) -> tuple[float, tuple[float, ...]]:
        """Sort key: the highest score first, of equal ones the smaller settings."""
        return (float("inf") if self.score is None else -round(self.score, 9)), tuple(self.settings.values())


def metrics_of(rows: Sequence[Row], method: str) -> dict[str, float]:
    """Return the metrics that a trial is judged by: the strictest shared one of each protocol that the method has.

    Of the method's models the better one counts, by the mean over clients.
    """
    groups = {(group.protocol, group.metric): group for group in metric_groups(rows)}
    found = {}
    for protocol in (GENERIC, VERIFY, SEARCH):
        for metric in shared_metrics(rows, protocol)[:1]:
            means = [each.mean for key, each in summaries(groups[protocol, metric]).items() if key[0] == method]
            if means:
                found[f"{protocol} {metric}"] = round(max(means), 6)
    return found


def chosen(trials: Sequence[Trial]) -> dict[str, Trial]:
    """Return the best trial of every method."""
    return {
        name: min((each for each in trials if each.method == name), key=lambda trial: trial.order)
        for name in dict.fromkeys(trial.method for trial in trials)
    }


def settings_tree(settings: Mapping[str, float]) -> dict[str, Any]:
    """Return settings by dotted name as nested settings of a method."""
    tree: dict[str, Any] = {}
    for name, value in settings.items():
        *groups, last = name.split(".")
        leaf: dict[str, Any] = {last: value}
        for group in reversed(groups):
            leaf = {group: leaf}
        tree = merge(tree, leaf)
    return tree


def tuned(trials: Sequence[Trial]) -> dict[str, dict[str, Any]]:
    """Return every method's chosen settings, in the form of ``tuned`` in a benchmark's definition."""
    best = {name: trial for name, trial in chosen(trials).items() if name != START}
    found = {name: settings_tree({**fixed(name), **trial.settings}) for name, trial in best.items()}
    variants = {name: merge(found[base], found.get(name, {})) for name, base in VARIANTS.items() if base in found}
    return found | variants


def write_trials(path: Path, trials: Sequence[Trial]) -> None:
    """Write the record of all trials, by method and number."""
    text, best = io.StringIO(), chosen(trials).values()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for trial in sorted(trials, key=lambda each: (each.method, each.number)):
        score = "" if trial.score is None else f"{trial.score:.6f}"
        settings, metrics = json.dumps(trial.settings), json.dumps(trial.metrics)
        seconds, mark = f"{trial.seconds:.1f}", "yes" if trial in best else ""
        writer.writerow((trial.method, trial.number, settings, metrics, score, seconds, mark))
    write_atomically(path, text.getvalue().encode())


def read_trials(path: Path) -> list[Trial]:
    """Read the record of trials; empty if there is none. Raises :class:`FedfrError` for any other file."""
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                Trial(
                    line["method"],
                    int(line["trial"]),
                    json.loads(line["settings"]),
                    json.loads(line["metrics"]),
                    float(line["seconds"]),
                )
                for line in csv.DictReader(file)
            ]
    except (OSError, csv.Error, KeyError, ValueError, TypeError) as error:
        raise FedfrError(f"{path} is not a record of trials ({error}); remove it to repeat the trials") from error
