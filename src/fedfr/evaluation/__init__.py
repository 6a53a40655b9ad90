"""Metrics from features: exact 1:1 verification and 1:N identification, IJB templates, and evaluation protocols.

All functions take plain arrays, lists or torch tensors and need no experiment:

=============================================================  ===================================================
:func:`verify`                                                 all pairs of a labelled set: TAR at FAR
:func:`verify_pairs`                                           given pairs: k-fold accuracy, TAR at FAR
:func:`identify`                                               open-set search: TPIR at FPIR, rank-1
:func:`media_templates`, :func:`verify_templates`              IJB-style templates and their comparisons
=============================================================  ===================================================

>>> from fedfr import evaluation
>>> features = [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]]
>>> evaluation.verify(features, labels=[0, 0, 1, 1], fars=[0.25], minimum_impostors=1)
[Metric(name='TAR@FAR=2.5e-1', value=1, genuine=2, impostor=4, impostors_above=1, threshold=0.1104)]
>>> evaluation.MINIMUM_IMPOSTORS, evaluation.NON_MATED, len(evaluation.RATES)
(10, -1, 71)
>>> evaluation.PERSONALIZED_PROTOCOLS + evaluation.GENERIC_PROTOCOLS + evaluation.PAIRS_PROTOCOLS
('personalized-1:1', 'personalized-1:N', 'generic-1:1', 'generic-1:N', 'generic-pairs')
>>> evaluation.SET_PROTOCOLS + evaluation.IJB_PROTOCOLS
('verification-set', 'ijb-1:1', 'ijb-1:N', 'ijb-1:N-merged')

:data:`PROTOCOLS` and :data:`SCORES` are registries of :data:`EvaluationProtocol` and :data:`ProtocolScores`:

>>> [metric.name for metric in evaluation.PROTOCOLS["generic-1:1"](features, [0, 0, 1, 1])][:2]
['TAR@FAR=1e-1', 'TAR@FAR=1e-2']
>>> evaluation.SCORES["generic-1:1"](features, [0, 0, 1, 1]).genuine.sum()
np.int64(2)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedfr.core.lazy import exports

if TYPE_CHECKING:
    from fedfr.evaluation.identification import (
        NON_MATED,
        gallery_rows,
        gallery_templates,
        identify,
        open_set_identification,
        released_identification,
    )
    from fedfr.evaluation.ijb import media_templates, verify_templates
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
    from fedfr.evaluation.verification import personalized_verification, tar_at_far, verify, verify_pairs
else:
    __getattr__ = exports(
        __name__,
        {
            "score_distributions": "RATES ScoreCounts",
            "metrics": "MINIMUM_IMPOSTORS Metric rate_label",
            "identification": "NON_MATED gallery_rows gallery_templates identify open_set_identification "
            "released_identification",
            "ijb": "media_templates verify_templates",
            "protocols": "GENERIC_PROTOCOLS IJB_PROTOCOLS PAIRS_PROTOCOLS PERSONALIZED_PROTOCOLS PROTOCOLS SCORES "
            "SET_PROTOCOLS EvaluationProtocol ProtocolScores",
            "verification": "personalized_verification tar_at_far verify verify_pairs",
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
    "gallery_rows",
    "gallery_templates",
    "identify",
    "media_templates",
    "open_set_identification",
    "personalized_verification",
    "rate_label",
    "released_identification",
    "tar_at_far",
    "verify",
    "verify_pairs",
    "verify_templates",
]


def __dir__() -> list[str]:
    return sorted(__all__)
