"""What is tuned: axes of every method's settings, and the methods that have the settings of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from setting_search import Axis

__all__ = ["RATE", "START", "VARIANTS", "axes_of", "fixed", "known_axes", "personal"]

RATE, START_RATE, START_EPOCHS = "local.learning_rate", "pretrain.learning_rate", "pretrain.epochs"
START = "pretrained"
"""Row of the starting model; its trials choose ``tuned_start`` of the benchmark's definition."""

# Methods with the rounds of another, or without some of its parts, and the method whose settings they have.
VARIANTS = {
    **dict.fromkeys(("finetune", "distill"), "fedavg"),
    **dict.fromkeys(("branch-cosface", "fedavg-public", "fedfr-hn", "fedfr-hn-con", "fedfr-hn-dfc"), "fedfr"),
    **dict.fromkeys(("fedfr-con-dfc", "finetune-fedfr", "distill-fedfr"), "fedfr"),
}

# A control that is compared with FedFR itself; its faces are as many as FedFR's, but its rate is not FedFR's.
_OWN_RATE = frozenset({"fedavg-public"})

# The last axis is the one for which trials run out: the term that has had no effect. The faces come before the weights,
# which depend on them. With the best rate at its centre, eight trials bracket all: 3, 1, 2 and 2.
# No threshold below the paper's: 0.3 on LFW finds so many hard negatives that a run takes four times as long.
_FEDFR = (
    Axis("hard_negatives.threshold", 0.4, step=0.1, low=0.4, high=1),
    Axis("dfc.weight", 10, factor=2),
    Axis("contrastive.weight", 5, factor=4),
)
_SHARE = (Axis("share", 0.5, step=0.25, low=0.05, high=0.95, personal=True),)
_CONTRAST = (Axis("contrastive.weight", 5, factor=4),)
_OWN: dict[str, Sequence[Axis]] = {
    START: (Axis(START_RATE, 0.005, factor=2), Axis(START_EPOCHS, 3, factor=2, low=1, whole=True)),
    "fedprox": (Axis("mu", 0.01, factor=10),),
    "moon": _CONTRAST,
    "moon-projection": _CONTRAST,
    "fedface": (Axis("learning_rate", 0.1, factor=4),),
    "ditto": (Axis("lam", 0.1, factor=10, personal=True),),
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
    common = method in _OWN_RATE or (method not in VARIANTS and method != START)
    return (*((Axis(RATE, rate, factor=2),) if common else ()), *_OWN.get(method, ()))


def known_axes(method: str, rate: float, known: Mapping[str, Mapping[str, float]], carry: bool) -> tuple[Axis, ...]:
    """Return the axes of a method from settings that are known by method and dotted name, perhaps of another benchmark.

    A known learning rate is the centre of its axis; a variant without one begins at that of its base. With ``carry``,
    the other known settings are not searched.
    """
    own = {**known.get(VARIANTS.get(method, method), {}), **known.get(method, {})}

    def known_axis(axis: Axis) -> Axis:
        if axis.name in own and axis.name in (RATE, START_RATE):
            return axis.centred(own[axis.name])
        return axis.centred(own[axis.name]).pinned() if axis.name in own and carry else axis

    return tuple(known_axis(axis) for axis in axes_of(method, rate))


def personal(method: str) -> bool:
    """Whether a setting of the method concerns its personalized model alone."""
    return any(axis.personal for axis in _OWN.get(method, ()))


def fixed(method: str) -> dict[str, float]:
    """Return the settings of a method that are not searched but stated, by dotted name."""
    return dict(_STATED.get(method, {}))
