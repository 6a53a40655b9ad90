"""Results as tidy rows, the same everywhere: evaluation files, ``--json``, tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from fedfr.core.short_repr import Brief
from fedfr.evaluation import Metric

__all__ = ["ALL_CLIENTS", "NO_MODEL", "Row", "rows_from"]

ALL_CLIENTS = ""
NO_MODEL = "no model: "
"""How a refusal begins that is for want of a usable model; the reason follows."""


@dataclass(frozen=True, repr=False)
class Row(Brief):
    """One metric of one model; ``client`` is empty for protocols that concern no client.

    ``value`` is None where the metric was refused, ``refused`` then says why. ``genuine`` and ``impostor`` are the
    comparisons (1:1) or mated and non-mated probes (1:N) behind it.
    """

    method: str
    seed: int
    round: int
    client: str
    model: str
    protocol: str
    metric: str
    value: float | None
    genuine: int
    impostor: int
    refused: str = ""

    @property
    def lacks_model(self) -> bool:
        """Whether there was no usable model to measure."""
        return self.refused.startswith(NO_MODEL)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Row:
        """Inverse of :meth:`to_dict`."""
        return cls(**{field.name: content[field.name] for field in fields(cls)})


def rows_from(
    metrics: Iterable[Metric], *, method: str, seed: int, round_number: int, client: str, model: str, protocol: str
) -> list[Row]:
    """Metrics of one protocol with their context."""
    return [
        Row(
            method,
            seed,
            round_number,
            client,
            model,
            protocol,
            measured.name,
            measured.value,
            measured.genuine,
            measured.impostor,
            measured.refused,
        )
        for measured in metrics
    ]
