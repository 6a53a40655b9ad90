"""Metrics in the text format of Prometheus; no label names a person."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping

__all__ = ["Metrics", "gauges"]

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 10.0)
Labels = tuple[tuple[str, str], ...]

_HELP = {
    "fedfr_requests_total": ("counter", "Requests by route and status."),
    "fedfr_decisions_total": ("counter", "Decisions by operation and outcome."),
    "fedfr_decision_reasons_total": ("counter", "Reasons of rejects and of missing decisions."),
    "fedfr_lockouts_total": ("counter", "Requests refused after too many rejected faces."),
    "fedfr_request_seconds": ("histogram", "Time from request to response, by route."),
}


class Metrics:
    """Counters and histograms of the service since its start."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[Labels]] = {
            name: Counter() for name, (kind, _) in _HELP.items() if kind == "counter"
        }
        self._seconds: dict[Labels, list[float]] = {}
        self._lock = threading.Lock()

    def count(self, name: str, **labels: str) -> None:
        """Add one to a counter."""
        with self._lock:
            self._counts[name][tuple(labels.items())] += 1

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request and its duration."""
        self.count("fedfr_requests_total", route=route, method=method, status=str(status))
        with self._lock:
            row = self._seconds.setdefault((("route", route),), [0.0] * (len(BUCKETS) + 2))
            for place, most in enumerate(BUCKETS):
                row[place] += seconds <= most
            row[-2] += 1
            row[-1] += seconds

    def text(self) -> Iterable[str]:
        """Yield the lines of the text format."""
        with self._lock:
            counts = {name: dict(counter) for name, counter in self._counts.items()}
            seconds = {labels: list(row) for labels, row in self._seconds.items()}
        for name, rows in counts.items():
            yield from _head(name, *_HELP[name])
            yield from (f"{name}{_labels(labels)} {number}" for labels, number in rows.items())
        name = "fedfr_request_seconds"
        yield from _head(name, *_HELP[name])
        for labels, row in seconds.items():
            for most, number in zip((*BUCKETS, "+Inf"), row[:-1], strict=True):
                yield f"{name}_bucket{_labels((*labels, ('le', str(most))))} {number:g}"
            yield f"{name}_count{_labels(labels)} {row[-2]:g}"
            yield f"{name}_sum{_labels(labels)} {row[-1]:.6f}"


def gauges(values: Mapping[str, tuple[str, float | None]]) -> Iterable[str]:
    """Yield the lines of present values, each given with its help; those that are None are left out."""
    for name, (text, value) in values.items():
        if value is not None:
            yield from _head(name, "gauge", text)
            yield f"{name} {value:g}"


def _head(name: str, kind: str, text: str) -> Iterable[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _labels(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels) + "}" if labels else ""
