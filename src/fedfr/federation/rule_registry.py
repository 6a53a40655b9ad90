"""Registry of the rules that aggregate the updates of the clients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fedfr.config.training_config import FederationConfig
from fedfr.core.named_objects import named_arguments
from fedfr.core.registry import Entry, Extensions, Registry

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["AGGREGATIONS", "RULE_ARGUMENTS", "AggregationRule"]

RULE_ARGUMENTS = ("values", "before", "norms", "counts", "trim", "clip_norm")
"""What a rule may ask for by name.

``values`` (n, m): a block of one entry of the model, as each client sent it, in the order of client ids; ``before``
(m,): the same block as the server sent it; ``norms`` (n,): Euclidean norm of each client's change; ``counts`` (n,): the
weights n_i; and the settings ``trim`` and ``clip_norm``. It returns the aggregate (m,) in the dtype of ``values``.
"""


def _one(federation: FederationConfig) -> int:
    return 1


@dataclass(frozen=True)
class AggregationRule:
    """Rule of aggregation.

    ``combine``: function of some of :data:`RULE_ARGUMENTS`, called with one block of values after another, so it must
    treat every value by itself; None for the weighted mean, which needs one update in memory at a time and no files.
    ``least``: least number of updates in a round under these settings. ``linear``: the aggregate is a weighted sum of
    the updates, so that compression errors, which clients add to their next change, cancel out.
    """

    combine: Callable[..., Tensor] | None
    least: Callable[[FederationConfig], int] = _one
    linear: bool = False

    @cached_property
    def arguments(self) -> frozenset[str]:
        """Names of the arguments that ``combine`` asks for."""
        return frozenset(named_arguments(self.combine, RULE_ARGUMENTS))


def _accept(value: Any) -> AggregationRule | None:
    if isinstance(value, AggregationRule):
        return value
    return AggregationRule(value) if "values" in named_arguments(value, RULE_ARGUMENTS) else None


AGGREGATIONS: Registry[AggregationRule] = Registry(
    "aggregation rule",
    (
        Entry(
            "mean",
            "fedfr.federation.robust_rules:MEAN",
            "mean weighted by federation.weights; one client can move it anywhere",
            "McMahan et al., AISTATS 2017",
        ),
        Entry(
            "norm-clipped",
            "fedfr.federation.robust_rules:NORM_CLIPPED",
            "weighted mean of changes clipped to federation.clip_norm, or to the round's median norm",
            "Sun et al. 2019, arXiv 1911.07963",
        ),
        Entry(
            "median",
            "fedfr.federation.robust_rules:MEDIAN",
            "median of the clients for every value by itself",
            "Yin et al., ICML 2018, arXiv 1803.01498",
        ),
        Entry(
            "trimmed",
            "fedfr.federation.robust_rules:TRIMMED",
            "mean of the clients for every value by itself, without the federation.trim largest and smallest",
            "Yin et al., ICML 2018, arXiv 1803.01498",
        ),
    ),
    Extensions(
        "fedfr.aggregations",
        f"a function of values and some of {', '.join(RULE_ARGUMENTS[1:])} that returns the aggregate, or a "
        "fedfr.federation.rule_registry.AggregationRule",
        _accept,
    ),
)
