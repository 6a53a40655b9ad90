"""Record of the trials by which settings were chosen: ``trials.csv``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from fedfr.config.loading import merge
from fedfr.core.errors import FedfrError
from fedfr.core.files import write_atomically
from fedfr.results.metric_groups import metric_groups, shared_metrics, summaries
from fedfr.results.result_rows import Row
from paper_claims import GENERIC, SEARCH, VERIFY
from setting_search import Point, preference
from tuned_methods import START, VARIANTS, fixed, personal

__all__ = [
    "Trial",
    "chosen",
    "chosen_start",
    "metrics_of",
    "read_trials",
    "settings_by_name",
    "settings_tree",
    "tuned",
    "write_trials",
]

_COLUMNS = ("method", "trial", "settings", "steps", "metrics", "score", "seconds", "chosen")


@dataclass(frozen=True)
class Trial:
    """One trial of a method: its settings by dotted name, and its metrics by model, empty if training diverged.

    ``seconds``: time of the rounds, without evaluation. ``steps``: the settings as steps from the centres.
    """

    method: str
    number: int
    settings: Mapping[str, float]
    metrics: Mapping[str, Mapping[str, float]]
    seconds: float
    steps: Point = ()

    @property
    def score(self) -> float | None:
        """Mean of the metrics of the models that are judged; None if training diverged.

        Of the models the better one is judged, or the personalized one where a setting concerns it alone: the other
        model would hide the setting.
        """
        return fmean(self._judged(models) for models in self.metrics.values()) if self.metrics else None

    def _judged(self, models: Mapping[str, float]) -> float:
        return models["personalized"] if personal(self.method) and "personalized" in models else max(models.values())

    @property
    def order(self) -> tuple[float, float, Point]:
        """Sort key: the best trial of a method first."""
        point = self.steps or tuple(self.settings.values())
        return preference(float("-inf") if self.score is None else self.score, point)


def metrics_of(rows: Sequence[Row], method: str) -> dict[str, dict[str, float]]:
    """Return the metrics that a trial is judged by: the strictest shared one of each protocol, by model of the method.

    The value of a model is the mean over clients.
    """
    groups = {(group.protocol, group.metric): group for group in metric_groups(rows)}
    found = {}
    for protocol in (GENERIC, VERIFY, SEARCH):
        for metric in shared_metrics(rows, protocol)[:1]:
            every = summaries(groups[protocol, metric]).items()
            means = {model: round(each.mean, 6) for (name, model), each in every if name == method}
            if means:
                found[f"{protocol} {metric}"] = means
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


def settings_by_name(tree: Mapping[str, Any], before: str = "") -> dict[str, float]:
    """Return nested settings by dotted name: the reverse of :func:`settings_tree`. Only numbers are settings here."""
    found: dict[str, float] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= settings_by_name(value, f"{before}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[before + name] = value
    return found


def chosen_start(trials: Sequence[Trial]) -> dict[str, Any]:
    """Return the chosen settings of the starting model, as in ``tuned_start`` of a definition; empty without trials."""
    best = chosen(trials).get(START)
    return {} if best is None else dict(settings_tree(best.settings)["pretrain"])


def write_trials(path: Path, trials: Sequence[Trial]) -> None:
    """Write the record of all trials, by method and number."""
    text, best = io.StringIO(), chosen(trials).values()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for trial in sorted(trials, key=lambda each: (each.method, each.number)):
        score = "" if trial.score is None else f"{trial.score:.6f}"
        settings, metrics = json.dumps(trial.settings), json.dumps(trial.metrics)
        steps, seconds, mark = json.dumps(trial.steps), f"{trial.seconds:.1f}", "yes" if trial in best else ""
        writer.writerow((trial.method, trial.number, settings, steps, metrics, score, seconds, mark))
    write_atomically(path, text.getvalue().encode())


def read_trials(path: Path) -> list[Trial]:
    """Read the record of trials; empty if there is none. Raises :class:`FedfrError` for any other file.

    Records may have one value per metric, that of the better model, and no steps.
    """
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [
                Trial(
                    line["method"],
                    int(line["trial"]),
                    json.loads(line["settings"]),
                    _by_model(json.loads(line["metrics"]).items()),
                    float(line["seconds"]),
                    tuple(json.loads(line.get("steps") or "[]")),
                )
                for line in csv.DictReader(file)
            ]
    except (OSError, csv.Error, KeyError, ValueError, TypeError) as error:
        raise FedfrError(f"{path} is not a record of trials ({error}); remove it to repeat the trials") from error


def _by_model(metrics: Iterable[tuple[str, Mapping[str, float] | float]]) -> dict[str, Mapping[str, float]]:
    return {name: {"better": value} if isinstance(value, float) else value for name, value in metrics}
