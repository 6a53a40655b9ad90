"""Registry of the losses that train a network to classify identities."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from fedfr.core.named_objects import named_arguments
from fedfr.core.registry import Entry, Extensions, Registry

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LOSSES", "LOSS_ARGUMENTS", "ClassificationLoss"]

ClassificationLoss: TypeAlias = "Callable[..., Tensor]"

LOSS_ARGUMENTS = ("features", "prototypes", "labels", "scale", "margin", "batch", "network")
"""What a loss may ask for by name.

``features`` (b, D), ``prototypes`` (K, D), ``labels`` (b,), the settings ``scale`` and ``margin``, and, for other
terms than a classification, the whole :class:`~fedfr.training.objective.Batch` and
:class:`~fedfr.training.objective.Network`. It returns logits (b, K), whose cross-entropy is minimized, or a scalar.
"""


def _accept(value: Any) -> ClassificationLoss | None:
    named = loss_arguments(value)
    return value if named and {"features", "batch"} & set(named) else None


def loss_arguments(value: Any) -> tuple[str, ...]:
    """Return the names of :data:`LOSS_ARGUMENTS` that a function takes; none if it needs others, or is no function."""
    return named_arguments(value, LOSS_ARGUMENTS)


LOSSES: Registry[ClassificationLoss] = Registry(
    "loss",
    (
        Entry(
            "cosface",
            "fedfr.losses.margin:cosface_logits",
            "softmax with a margin on the cosine: s(cos - m)",
            "Wang et al., CosFace, CVPR 2018 (arXiv 1801.09414)",
        ),
        Entry(
            "arcface",
            "fedfr.losses.margin:arcface_logits",
            "softmax with a margin on the angle: s cos(angle + m)",
            "Deng et al., ArcFace, CVPR 2019 (arXiv 1801.07698)",
        ),
    ),
    Extensions(
        "fedfr.losses",
        f"a function of some of {', '.join(LOSS_ARGUMENTS)} that returns logits or the loss itself",
        _accept,
    ),
)
