"""Results of a benchmark: rows with their cell and cost, written to and read from ``results.csv``."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fedfr.core.errors import FedfrError
from fedfr.core.files import write_atomically
from fedfr.experiments.experiment import Experiment
from fedfr.results.costs import RoundCost, total
from fedfr.results.result_rows import Row

__all__ = ["Result", "read_results", "results_of", "write_results"]


@dataclass(frozen=True)
class Result:
    """A row with its cell and the cost of the method's rounds in that seed, see :class:`RoundCost`."""

    cell: str
    row: Row
    wall_seconds: float
    client_seconds: float | None
    bytes_up: int
    bytes_down: int
    peak_bytes: int | None
    steps: int | None = None
    images: int | None = None
    alone_seconds: float | None = None

    @classmethod
    def of(cls, cell: str, row: Row, cost: RoundCost) -> Result:
        """Return the result of a row and the total cost of the method's rounds."""
        return cls(cell, row, **{name: getattr(cost, name) for name in _COSTS})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as in the CSV."""
        return {"cell": self.cell} | self.row.to_dict() | {name: getattr(self, name) for name in _COSTS}


_COSTS = [field.name for field in fields(Result) if field.name not in ("cell", "row")]


def write_results(path: Path, results: Sequence[Result]) -> None:
    """Write results as a CSV with a header."""
    text = io.StringIO()
    columns = ["cell", *(field.name for field in fields(Row)), *_COSTS]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(result.to_dict() for result in results)
    write_atomically(path, text.getvalue().encode())


def read_results(path: str | Path) -> list[Result]:
    """Read a ``results.csv``, also without the last columns; raises :class:`FedfrError` for any other file."""
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        return [
            Result(
                line["cell"],
                Row(
                    line["method"],
                    int(line["seed"]),
                    int(line["round"]),
                    line["client"],
                    line["model"],
                    line["protocol"],
                    line["metric"],
                    float(line["value"]) if line["value"] else None,
                    int(line["genuine"]),
                    int(line["impostor"]),
                    line["refused"],
                ),
                float(line["wall_seconds"]),
                float(line["client_seconds"]) if line["client_seconds"] else None,
                int(line["bytes_up"]),
                int(line["bytes_down"]),
                int(line["peak_bytes"]) if line["peak_bytes"] else None,
                int(line["steps"]) if line.get("steps") else None,
                int(line["images"]) if line.get("images") else None,
                float(line["alone_seconds"]) if line.get("alone_seconds") else None,
            )
            for line in lines
        ]
    except (OSError, csv.Error, KeyError, ValueError, TypeError) as error:
        raise FedfrError(f"{path} is not a results.csv of a benchmark ({error}); give such a file") from error


def results_of(cell: str, run: Experiment) -> list[Result]:
    """Return the results of a finished run with the cost of each method."""
    spent = {cost.method: cost for cost in map(total, filter(None, run.costs().values()))}
    spent.setdefault("pretrained", run.starting_cost())
    free = RoundCost("", run.config.seed, 0, steps=0, images=0)
    return [Result.of(cell, row, spent.get(row.method, free)) for row in run.results()]
