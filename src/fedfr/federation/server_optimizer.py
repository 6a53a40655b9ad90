"""Server optimizers: take the mean of the clients' models, or use the step towards it as a gradient."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from fedfr.config.schema import ServerConfig
from fedfr.federation.method import GenericModel

__all__ = ["optimizer_step"]

_PROTOTYPES = "prototypes"


def optimizer_step(
    generic: GenericModel, average: GenericModel, config: ServerConfig, statistics: frozenset[str]
) -> GenericModel:
    """Return the next generic model from the present one and the clients' mean; moments go to ``server_state``.

    With Δ = mean − θ: ``average`` takes the mean. ``momentum``, FedAvgM (Hsu et al. 2019, arXiv 1909.06335):
    v ← β₁v + Δ, θ ← θ + ηv. ``adam``, FedAdam (Reddi et al., ICLR 2021, arXiv 2003.00295, algorithm 2):
    m ← β₁m + (1 − β₁)Δ, v ← β₂v + (1 − β₂)Δ², θ ← θ + ηm/(√v + τ), without bias correction and with v = τ² at first.
    Entries that no client shared, integers and BatchNorm's ``statistics`` are taken from the mean unchanged.
    """
    if config.optimizer == "average":
        return average
    before = {**generic.weights, _PROTOTYPES: generic.prototypes}
    mean = {**average.weights, _PROTOTYPES: average.prototypes}
    kept = dict(average.server_state)
    stepped: dict[str, torch.Tensor] = {}
    for name, value in mean.items():
        still = name in statistics or not value.dtype.is_floating_point or value is before[name]
        stepped[name] = value if still else _step(name, before[name], value, config, generic.server_state, kept)
    prototypes = stepped.pop(_PROTOTYPES)
    return GenericModel(stepped, prototypes, kept)


def _step(
    name: str,
    before: torch.Tensor,
    mean: torch.Tensor,
    config: ServerConfig,
    old: Mapping[str, torch.Tensor],
    new: dict[str, torch.Tensor],
) -> torch.Tensor:
    step, first, second = mean - before, f"server/first/{name}", f"server/second/{name}"
    moment = old[first] if first in old else torch.zeros_like(before)
    if config.optimizer == "momentum":
        new[first] = config.beta1 * moment + step
        return before + config.learning_rate * new[first]
    square = old[second] if second in old else torch.full_like(before, config.tau**2)
    new[first] = config.beta1 * moment + (1 - config.beta1) * step
    new[second] = config.beta2 * square + (1 - config.beta2) * step.square()
    return before + config.learning_rate * new[first] / (new[second].sqrt() + config.tau)
