"""Results as tidy rows, as used in evaluation files, ``--json`` output and tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, get_args

from fedfr.config.schema import Scoring
from fedfr.core.short_repr import Brief
from fedfr.evaluation import Metric
from fedfr.evaluation.protocols import SET_PROTOCOLS

__all__ = ["ALL_CLIENTS", "NO_MODEL", "PLAIN", "SCORINGS", "Row", "rows_from", "scored_protocol", "scoring_of"]

PLAIN = "plain"
SCORINGS = get_args(Scoring)

ALL_CLIENTS = ""
NO_MODEL = "no model: "
"""Prefix of a refusal because there is no usable model; the reason follows."""


@dataclass(frozen=True, repr=False)
class Row(Brief):
    """One metric of one model; ``client`` is empty for protocols without clients.

    ``value`` is None where the metric is refused, and ``refused`` gives the reason. ``genuine`` and ``impostor`` count
    comparisons (1:1) or mated and non-mated probes (1:N).
    """

    shown_whole: ClassVar[frozenset[str]] = frozenset({"refused"})

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
        """Whether the metric is refused because there is no usable model."""
        return self.refused.startswith(NO_MODEL)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def scored_protocol(protocol: str, scoring: str) -> str:
    """Return the name under which a protocol's results with this scoring are reported: its own name for ``plain``.

    >>> from fedfr.results.result_rows import scored_protocol
    >>> scored_protocol("personalized-1:1", "plain"), scored_protocol("personalized-1:1", "flip+as-norm")
    ('personalized-1:1', 'personalized-1:1 flip+as-norm')
    """
    return protocol if scoring == PLAIN else f"{protocol} {scoring}"


def scoring_of(protocol: str) -> str:
    """Return the scoring in a name that :func:`scored_protocol` made; ``plain`` for others.

    >>> from fedfr.results.result_rows import scoring_of
    >>> scoring_of("personalized-1:1"), scoring_of("personalized-1:1 flip+as-norm")
    ('plain', 'flip+as-norm')
    """
    base, _, last = protocol.rpartition(" ")
    # The name of a verification set follows its protocol; it is no scoring.
    return last if last in SCORINGS and base not in SET_PROTOCOLS else PLAIN


def rows_from(
    metrics: Iterable[Metric], *, method: str, seed: int, round_number: int, client: str, model: str, protocol: str
) -> list[Row]:
    """Return the rows of one protocol's metrics."""
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
