"""What is tuned: axes of every method's settings, and the methods that have the settings of another."""

from __future__ import annotations

from collections.abc import Sequence

from setting_search import Axis

__all__ = ["RATE", "START", "VARIANTS", "axes_of", "fixed"]

RATE = "local.learning_rate"
START = "pretrained"
"""Row of the starting model; its trials choose ``tuned_start`` of the benchmark's definition."""

# Methods with the rounds of another, or without some of its parts, and the method whose settings they have.
VARIANTS = {
    **dict.fromkeys(("finetune", "distill"), "fedavg"),
    **dict.fromkeys(("branch-cosface", "fedavg-public", "fedfr-hn", "fedfr-hn-con", "fedfr-hn-dfc"), "fedfr"),
    **dict.fromkeys(("fedfr-con-dfc", "finetune-fedfr", "distill-fedfr"), "fedfr"),
}

_FEDFR = (
    Axis("hard_negatives.threshold", 0.4, step=0.1, low=-1, high=1),
    Axis("dfc.weight", 10, factor=2),
)
_SHARE = (Axis("share", 0.5, step=0.25, low=0.05, high=0.95),)
_CONTRAST = (Axis("contrastive.weight", 5, factor=4),)
_OWN: dict[str, Sequence[Axis]] = {
    START: (Axis("pretrain.learning_rate", 0.005, factor=2),),
    "fedprox": (Axis("mu", 0.01, factor=10),),
    "moon": _CONTRAST,
    "moon-projection": _CONTRAST,
    "fedface": (Axis("learning_rate", 0.1, factor=4),),
    "ditto": (Axis("lam", 0.1, factor=10),),
    "distill": _SHARE,
    "distill-fedfr": _SHARE,
    "branch-cosface": (Axis("branch_weight", 1, factor=2),),
    # Its only loss is L_dfc, whose weight acts like the rate.
    "frozen-head": (Axis("dfc.positive_weight", 0.7, step=0.1, low=0.05, high=0.95),),
    "fedfr": _FEDFR,
    "local-fedfr": _FEDFR,
}
# A benchmark gives its variants FedFR's settings. One that is not among VARIANTS keeps the defaults it was tried with.
_STATED = {"frozen-head": {axis.name: axis.centre for axis in _FEDFR}}


def axes_of(method: str, rate: float) -> tuple[Axis, ...]:
    """Return the axes of a method: the learning rate around ``rate``, unless it has another's, and its own settings."""
    common = () if method in VARIANTS or method == START else (Axis(RATE, rate, factor=2),)
    return (*common, *_OWN.get(method, ()))


def fixed(method: str) -> dict[str, float]:
    """Return the settings of a method that are not searched but stated, by dotted name."""
    return dict(_STATED.get(method, {}))
