"""Check, before a run begins, that its rule of aggregation fits the methods, the clients and the other settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fedfr.config.schema import FederationConfig
from fedfr.core.client_ids import POOLED
from fedfr.core.errors import FedfrError
from fedfr.core.rng import torch_generator
from fedfr.faces import Split
from fedfr.federation.method import Method
from fedfr.federation.rule_registry import AGGREGATIONS, AggregationRule
from fedfr.federation.server import sample_size
from fedfr.federation.stored_updates import apply_rule

__all__ = ["check_aggregation"]


def check_aggregation(federation: FederationConfig, methods: Mapping[str, Method], split: Split) -> None:
    """Raise :class:`FedfrError` for a rule that is unknown, does not work on an example, or does not fit the run.

    It does not fit a method that reveals identities, ``int8`` unless it is linear, and too few clients.
    """
    name = federation.aggregation
    rule = AGGREGATIONS[name]
    if rule.combine is None:
        return
    this = f"federation.aggregation = {name}"
    revealing = [each for each, method in methods.items() if method.reveals_identities]
    if revealing:
        raise FedfrError(
            f"{this} does not cover the private prototypes that {revealing[0]} sends, each from one client alone; "
            "use mean, or another method"
        )
    if federation.updates == "int8" and not rule.linear:
        raise FedfrError(
            f"{this} cannot be used with federation.updates = int8: rounded values, whose errors later updates "
            "compensate, have another median; use full or bf16"
        )
    least, share = rule.least(federation), federation.participation
    for each, method in methods.items():
        participants = method.participants(split)
        sampled = sample_size(len(participants), share) if participants else 0
        if sampled < least and set(participants) != {POOLED}:
            trim = f" with federation.trim = {federation.trim}" if "trim" in rule.arguments else ""
            raise FedfrError(
                f"{this}{trim} needs the updates of at least {least} clients, and {sampled} take part in a round of "
                f"{each} ({len(participants)} clients, federation.participation = {share:g}); "
                f"{'lower federation.trim, ' if trim and least > 3 else ''}let more take part, or use another rule"
            )
    _try(name, rule, federation, max(least, 5))


def _try(name: str, rule: AggregationRule, federation: FederationConfig, clients: int) -> None:
    """Raise :class:`FedfrError` if the rule fails on random changes, or does not treat each value by itself."""
    generator = torch_generator(0, "example of an aggregation")
    values, before = torch.randn(clients, 8, generator=generator), torch.zeros(8)
    norms, counts = values.double().norm(dim=1), torch.arange(1.0, clients + 1, dtype=torch.float64)

    def aggregate(start: int, stop: int) -> torch.Tensor:
        given: dict[str, Any] = {
            "values": values[:, start:stop].clone(),
            "before": before[start:stop].clone(),
            "norms": norms.clone(),
            "counts": counts.clone(),
            "trim": federation.trim,
            "clip_norm": federation.clip_norm,
        }
        return apply_rule(name, rule, given)

    whole, parts = aggregate(0, 8), torch.cat([aggregate(0, 3), aggregate(3, 8)])
    if not torch.equal(whole, parts):
        raise FedfrError(
            f"federation.aggregation = {name} gives a block other values than its parts; it must treat every value by "
            "itself, since it is called with one block after another"
        )
    if not bool(torch.isfinite(whole).all()):
        raise FedfrError(f"federation.aggregation = {name} returns NaN or infinity for finite values")
