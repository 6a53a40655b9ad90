"""Reused networks of a process: the previous client does not affect the state of the next."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tests.support.tiny_experiment import BACKBONE

from fedfr.federation.messages import Broadcast
from fedfr.federation.networks import Networks
from fedfr.models import build_backbone
from fedfr.models.preprocessing import Preprocessing
from fedfr.training.features import Compute

WEIGHTS = build_backbone(BACKBONE, 0).state_dict()


def test_a_reused_network_is_always_reset() -> None:
    networks, broadcast = (
        Networks(BACKBONE, Compute(Preprocessing(), torch.device("cpu"))),
        Broadcast(1, WEIGHTS, torch.zeros(1, 512)),
    )
    ways: list[Callable[[], torch.nn.Module]] = [lambda: networks.working(WEIGHTS), lambda: networks.generic(broadcast)]
    for lend in ways:
        network = lend()
        for number, parameter in enumerate(network.parameters()):
            parameter.requires_grad_(number % 2 == 0)
            parameter.grad = torch.ones_like(parameter)
        for number, layer in enumerate(network.modules()):
            layer.training = number % 2 == 0
        again = lend()
        assert again is network
        assert not any(layer.training for layer in again.modules())
        assert all(parameter.requires_grad and parameter.grad is None for parameter in again.parameters())
        assert all(torch.equal(value, WEIGHTS[name]) for name, value in again.state_dict().items())
