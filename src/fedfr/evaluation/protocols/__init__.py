"""Evaluation protocols by name: features and labels in, metrics out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from fedfr.core.errors import FedfrError
from fedfr.core.named_objects import parameters_of
from fedfr.core.registry import Entry, Extensions, Registry

if TYPE_CHECKING:
    from fedfr.evaluation.metrics import Metric
    from fedfr.evaluation.score_distributions import ScoreCounts

__all__ = [
    "GENERIC_PROTOCOLS",
    "IJB_PROTOCOLS",
    "PAIRS_PROTOCOLS",
    "PERSONALIZED_PROTOCOLS",
    "PROTOCOLS",
    "SCORES",
    "SET_PROTOCOLS",
    "EvaluationProtocol",
    "ProtocolScores",
    "family_of",
    "run_protocol",
]


def __dir__() -> list[str]:
    return sorted(__all__)


EvaluationProtocol: TypeAlias = "Callable[..., list[Metric]]"
ProtocolScores: TypeAlias = "Callable[..., ScoreCounts | None]"

PERSONALIZED_PROTOCOLS = ("personalized-1:1", "personalized-1:N")
"""Protocols of one client's identities; called with features, labels, own, gallery_features, gallery_labels, config."""
GENERIC_PROTOCOLS = ("generic-1:1", "generic-1:N")
"""Protocols among identities no client trained on; called with features, labels, config."""
PAIRS_PROTOCOLS = ("generic-pairs",)
"""Protocols on a split's own pairs of such identities; called with features_a, features_b, same, config."""
SET_PROTOCOLS = ("verification-set",)
"""Protocols on the pairs of a published file, one model at a time; called as :data:`PAIRS_PROTOCOLS`."""
IJB_PROTOCOLS = ("ijb-1:1", "ijb-1:N", "ijb-1:N-merged")
"""Protocols on IJB-B or IJB-C, one model at a time; called with templates, lists (see ``IJB_LISTS``), config."""

FEDFR = "FedFR, AAAI 2022, arXiv 2112.12496"
IJB = "Whitelam et al., CVPR Workshops 2017; Maze et al., ICB 2018"

_BUILTIN = {
    "personalized": PERSONALIZED_PROTOCOLS,
    "generic": GENERIC_PROTOCOLS,
    "pairs": PAIRS_PROTOCOLS,
    "set": SET_PROTOCOLS,
    "ijb": IJB_PROTOCOLS,
}
_ARGUMENTS = {
    "personalized": {"features", "labels", "own", "gallery_features", "gallery_labels"},
    "generic": {"features", "labels"},
    "pairs": {"features_a", "features_b", "same"},
}


def _accept(value: Any) -> EvaluationProtocol | None:
    return value if _family(value) else None


def _family(value: Any) -> str:
    named = set(parameters_of(value))
    return next((name for name, wanted in _ARGUMENTS.items() if named == wanted | {"config"}), "")


PROTOCOLS: Registry[EvaluationProtocol] = Registry(
    "protocol",
    (
        Entry(
            "personalized-1:1",
            "fedfr.evaluation.protocols.personalized:personalized_verification_protocol",
            "a client's own test images against those of all clients: TAR at FAR",
            FEDFR,
        ),
        Entry(
            "personalized-1:N",
            "fedfr.evaluation.protocols.personalized:personalized_identification_protocol",
            "test images of all clients searched in one client's gallery: TPIR at FPIR in both conventions, rank-1",
            FEDFR,
        ),
        Entry(
            "generic-1:1",
            "fedfr.evaluation.protocols.generic:generic_verification_protocol",
            "all pairs of images of identities no client trained on: TAR at FAR",
        ),
        Entry(
            "generic-1:N",
            "fedfr.evaluation.protocols.generic:generic_identification_protocol",
            "identities no client trained on, half of them enrolled: TPIR at FPIR, rank-1",
            "ISO/IEC 19795-1",
        ),
        Entry(
            "generic-pairs",
            "fedfr.evaluation.protocols.generic:generic_pairs_protocol",
            "the split's pairs of identities no client trained on: 10-fold accuracy, TAR at FAR",
            "Huang et al., Labeled Faces in the Wild, 2007",
        ),
        Entry(
            "verification-set",
            "fedfr.evaluation.protocols.pair_sets:verification_set_protocol",
            "a published set of pairs (lfw.bin, cfp_fp.bin, agedb_30.bin, …): 10-fold accuracy, TAR at FAR, EER",
            "Deng et al., ArcFace, CVPR 2019 (arXiv 1801.07698)",
        ),
        Entry(
            "ijb-1:1",
            "fedfr.evaluation.protocols.ijb:ijb_verification_protocol",
            "IJB-B or IJB-C, comparisons of templates: TAR at FAR, exactly and as InsightFace reads it",
            IJB,
        ),
        Entry(
            "ijb-1:N",
            "fedfr.evaluation.protocols.ijb:ijb_identification_protocol",
            "IJB-B or IJB-C, open set, mean over two galleries: TPIR at FPIR, rank-1, -5, -10",
            IJB,
        ),
        Entry(
            "ijb-1:N-merged",
            "fedfr.evaluation.protocols.ijb:ijb_merged_protocol",
            "IJB-B or IJB-C as InsightFace searches it and papers report it: merged galleries, no open set",
            IJB,
        ),
    ),
    Extensions(
        "fedfr.protocols",
        "a function of features, labels and config, or of all arguments of another kind of protocol",
        _accept,
    ),
)


def family_of(name: str) -> str:
    """Return the family of a protocol: personalized, generic, pairs, set (pairs of a published file) or ijb.

    The family of a user's protocol is recognized by its arguments.
    """
    own = next((family for family, names in _BUILTIN.items() if name in names), "")
    return own or _family(PROTOCOLS[name])


def run_protocol(name: str, **given: Any) -> list[Metric]:
    """Run a protocol; raises :class:`FedfrError` if a user's protocol returns anything but metrics."""
    from fedfr.evaluation.metrics import Metric

    metrics = PROTOCOLS[name](**given)
    if not isinstance(metrics, list) or not all(isinstance(each, Metric) for each in metrics):
        raise FedfrError(f"protocol {name!r} returned {type(metrics).__name__}; let it return a list of Metric")
    return metrics


SCORES: Registry[ProtocolScores] = Registry(
    "score distribution",
    (
        Entry(
            "personalized-1:1",
            "fedfr.evaluation.protocols.personalized:personalized_verification_scores",
            "pairs with a client's own test images",
        ),
        Entry(
            "personalized-1:N",
            "fedfr.evaluation.protocols.personalized:personalized_identification_scores",
            "best scores of searches in a client's gallery",
        ),
        Entry(
            "generic-1:1",
            "fedfr.evaluation.protocols.generic:generic_verification_scores",
            "pairs of identities no client trained on",
        ),
        Entry(
            "generic-1:N",
            "fedfr.evaluation.protocols.generic:generic_identification_scores",
            "best scores of searches among identities no client trained on",
        ),
    ),
)
"""By protocol: the score distribution its curves are drawn from; called as the protocol, without ``config``."""
