"""Rows of a privacy audit, stored in a run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["AUDIT_FILE", "AuditRow"]

AUDIT_FILE = "privacy-audit.json"
"""Stored audit in a run's folder."""


@dataclass(frozen=True)
class AuditRow:
    """What one observer infers of one kind, or in ``left_out`` why that was not measured.

    ``units``: what is counted in ``positives`` and ``negatives``, people or public identities. ``auc`` has the 95 %
    interval ``low`` to ``high``, None with too few units. ``tpr``: TPR at 1 % FPR over ``negative_scores``.
    ``positive_control``: AUC where a leak was planted; ``shuffled``: mean AUC with exchanged truth, between
    ``shuffled_low`` and ``shuffled_high`` in 95 % of the draws. ``epsilon``: empirical lower bound on ε, and
    ``epsilon_most`` the largest one that so many canaries can certify.
    """

    inference: str
    observer: str
    units: str = "people"
    auc: float | None = None
    low: float | None = None
    high: float | None = None
    tpr: float | None = None
    positives: int = 0
    negatives: int = 0
    negative_scores: int = 0
    positive_control: float | None = None
    shuffled: float | None = None
    shuffled_low: float | None = None
    shuffled_high: float | None = None
    epsilon: float | None = None
    epsilon_most: float | None = None
    left_out: str = ""

    def to_dict(self) -> Mapping[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)
