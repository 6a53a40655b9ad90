"""Score histograms with bins chosen by the number of scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedfr.reporting.chart import Axis, Cells, Chart, Key, Line, line_of
from fedfr.reporting.table import column_title
from fedfr.results.curve_records import Curve

__all__ = ["by_model", "histogram", "scores_chart"]

_LOW, _HIGH = -1.0, 1.0


def by_model(curves: Sequence[Curve]) -> dict[Key, list[Curve]]:
    """Group curves by model; the curves of a model are those of its seeds."""
    found: dict[Key, list[Curve]] = {}
    for curve in curves:
        found.setdefault((curve.method, curve.model), []).append(curve)
    return found


def histogram(counts: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return edges and counts of bins with the width of Freedman and Diaconis (1981): 2 · IQR / n^(1/3).

    ``counts`` are those of narrow bins that divide -1 … 1; the wider bins consist of whole narrow ones. Empty bins at
    the ends are omitted; without scores there are no bins.
    """
    narrow = np.asarray(counts, np.int64)
    filled, total = np.flatnonzero(narrow), int(narrow.sum())
    if not total:
        return np.empty(0), np.empty(0, np.int64)
    width = (_HIGH - _LOW) / len(narrow)
    low, high = (int(np.searchsorted(np.cumsum(narrow), share * total)) for share in (0.25, 0.75))
    # If half of the scores share a narrow bin: Sturges' rule, which needs only the range.
    wanted = 2 * (high - low) / total ** (1 / 3) or (filled[-1] - filled[0] + 1) / (np.log2(total) + 1)
    joined = max(1, round(float(wanted)))
    first = int(filled[0]) // joined
    last = int(filled[-1]) // joined + 1
    padded = np.zeros(last * joined, np.int64)
    padded[: min(len(narrow), len(padded))] = narrow[: len(padded)]
    edges = _LOW + width * joined * np.arange(first, last + 1)
    return np.minimum(edges, _HIGH), padded.reshape(-1, joined).sum(axis=1)[first:]


def scores_chart(protocol: str, curves: Sequence[Curve]) -> Chart:
    """Return the genuine and impostor scores of the model that a client would use."""
    lines: list[Line] = []
    table: list[Cells] = [("method", "model", "pairs", "from", "to", "count")]
    models = by_model(curves)
    for key, ours in models.items():
        if key[1] == "generic" and (key[0], "personalized") in models:
            continue
        for what, parts in (("genuine", [curve.genuine for curve in ours]), ("impostor", [c.impostor for c in ours])):
            edges, counts = histogram(_added(parts))
            table += [
                (*key, what, round(start, 4), round(end, 4), count)
                for start, end, count in zip(edges[:-1].tolist(), edges[1:].tolist(), counts.tolist(), strict=True)
            ]
            density = counts / max(int(counts.sum()), 1) / np.maximum(np.diff(edges), 1e-9)
            line = line_of(key, edges.tolist(), density.tolist(), marked=False)
            label = column_title(*key) if what == "genuine" else ""
            lines.append(
                Line(
                    label,
                    line.x,
                    line.y,
                    line.colour,
                    line.method,
                    "solid" if what == "genuine" else "dashed",
                    line.width,
                    steps=True,
                )
            )
    return Chart(
        f"scores-{protocol.replace(':', '-')}",
        f"Scores: {protocol}",
        "Density of the genuine and impostor pairs by cosine over all clients and seeds, of personalized models where "
        "a method has them. The less the two overlap, the better. The width of bins follows the number of pairs "
        "(Freedman–Diaconis).",
        lines,
        Axis("cosine"),
        Axis("density of pairs"),
        table,
        (("genuine pairs", "solid"), ("impostor pairs", "dashed")),
    )


def _added(parts: Sequence[Sequence[int]]) -> list[int]:
    """Add the counts of several seeds; if bin widths differ (older versions have wider ones), in the wider bins."""
    length = min(map(len, parts))
    joined = [np.asarray(counts, np.int64).reshape(length, -1).sum(axis=1) for counts in parts]
    return [int(count) for count in np.sum(joined, axis=0)]
