"""Metrics from features: exact error rates for 1:1 and 1:N, and the protocols that ask for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedfr.core.lazy import exports

if TYPE_CHECKING:
    from fedfr.evaluation.identification import (
        NON_MATED,
        gallery_templates,
        open_set_identification,
        probe_labels,
        released_identification,
    )
    from fedfr.evaluation.metrics import MINIMUM_IMPOSTORS, Metric, rate_label
    from fedfr.evaluation.protocols import (
        GENERIC_PROTOCOLS,
        IJB_PROTOCOLS,
        PAIRS_PROTOCOLS,
        PERSONALIZED_PROTOCOLS,
        PROTOCOLS,
        SCORES,
        SET_PROTOCOLS,
        EvaluationProtocol,
        ProtocolScores,
    )
    from fedfr.evaluation.score_distributions import RATES, ScoreCounts
    from fedfr.evaluation.verification import (
        all_pairs_verification,
        pairs_verification,
        personalized_verification,
        tar_at_far,
    )
else:
    __getattr__ = exports(
        __name__,
        {
            "score_distributions": "RATES ScoreCounts",
            "metrics": "MINIMUM_IMPOSTORS Metric rate_label",
            "identification": "NON_MATED gallery_templates open_set_identification probe_labels "
            "released_identification",
            "protocols": "GENERIC_PROTOCOLS IJB_PROTOCOLS PAIRS_PROTOCOLS PERSONALIZED_PROTOCOLS PROTOCOLS SCORES "
            "SET_PROTOCOLS EvaluationProtocol ProtocolScores",
            "verification": "all_pairs_verification pairs_verification personalized_verification tar_at_far",
        },
    )

__all__ = [
    "GENERIC_PROTOCOLS",
    "IJB_PROTOCOLS",
    "MINIMUM_IMPOSTORS",
    "NON_MATED",
    "PAIRS_PROTOCOLS",
    "PERSONALIZED_PROTOCOLS",
    "PROTOCOLS",
    "RATES",
    "SCORES",
    "SET_PROTOCOLS",
    "EvaluationProtocol",
    "Metric",
    "ProtocolScores",
    "ScoreCounts",
    "all_pairs_verification",
    "gallery_templates",
    "open_set_identification",
    "pairs_verification",
    "personalized_verification",
    "probe_labels",
    "rate_label",
    "released_identification",
    "tar_at_far",
]


def __dir__() -> list[str]:
    return sorted(__all__)
