"""BatchNorm policies at a client: average, local, frozen."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from tests.support.tiny_client import (
    BATCHNORM,
    PRIVATE,
    PUBLIC,
    STANDSTILL,
    WEIGHTS,
    MakeClient,
    broadcast,
    state_of,
)
from tests.support.tiny_experiment import BACKBONE

from fedfr.federation.client import Client
from fedfr.federation.method import shared_entries
from fedfr.federation.private_state import PrivateState
from fedfr.models import build_backbone
from fedfr.training.batchnorm import batchnorm_entries
from fedfr.training.features import extract_features
from fedfr.training.training_set import TrainingSet


def test_batchnorm_is_averaged_by_default(make_client: MakeClient) -> None:
    update = make_client().update(broadcast())
    assert update.weights.keys() >= BATCHNORM
    assert not torch.equal(update.weights["features.running_mean"], WEIGHTS["features.running_mean"])


@pytest.mark.parametrize("policy", ["local", "frozen"])
def test_local_batchnorm_is_not_sent(make_client: MakeClient, policy: str) -> None:
    client = make_client(f"federation.batchnorm={policy}")
    update = client.update(broadcast())
    assert update.weights.keys() == WEIGHTS.keys() - BATCHNORM
    backbone = build_backbone(BACKBONE, 0)
    shared = shared_entries(
        client.method, backbone.state_dict(), batchnorm_entries(backbone), client.settings.federation, 1
    )
    assert shared == update.weights.keys()
    kept = state_of(client).backbone
    moved = [name for name in BATCHNORM if not torch.equal(kept[name], WEIGHTS[name])]
    assert (moved == []) == (policy == "frozen")


def test_local_batchnorm_is_used_in_the_next_round(make_client: MakeClient) -> None:
    client = make_client("federation.batchnorm=local", "local.learning_rate=0.05")
    client.update(broadcast(1))
    statistics = state_of(client).backbone["features.bias"]
    make_client("federation.batchnorm=local", *STANDSTILL).update(broadcast(2))
    assert torch.allclose(state_of(client).backbone["features.bias"], statistics, atol=1e-6)


def unlike(weights: Mapping[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """The same backbone with BatchNorm that gives different features of the same faces."""
    generator = torch.Generator().manual_seed(seed)
    changed = dict(weights)
    for name in sorted(BATCHNORM):
        if name.endswith((".weight", ".running_var")):
            changed[name] = weights[name] * (0.2 + 2 * torch.rand(weights[name].shape, generator=generator))
    return changed


def nearest_private(weights: Mapping[str, torch.Tensor], client: Client) -> torch.Tensor:
    """Largest cosine of each public face to a private one, ascending."""
    backbone = build_backbone(BACKBONE, 0)
    backbone.load_state_dict(weights)
    own, public = (
        torch.nn.functional.normalize(
            extract_features(backbone, TrainingSet([(faces, None, 0)]), client.settings.compute)
        )
        for faces in (PRIVATE, PUBLIC)
    )
    return (public @ own.T).amax(dim=1).sort().values


def test_hard_negatives_under_local_batchnorm_are_each_clients_own(make_client: MakeClient) -> None:
    """Clients in one process share the public faces, but not their features under local BatchNorm."""
    names = ("client-01", "client-02")
    weights = {name: unlike(WEIGHTS, seed) for seed, name in enumerate(names)}
    nearest = {name: nearest_private(weights[name], make_client(name=name)) for name in names}
    threshold = float(nearest["client-02"][7:9].mean())
    expected = {name: int((nearest[name] > threshold).sum()) for name in names}
    assert len(set(expected.values())) == 2, "the two must differ for this test to tell"
    settings = ("federation.batchnorm=local", f"method.hard_negatives.threshold={threshold}")
    first, second = (make_client(*settings, name=name) for name in names)
    second.public = first.public
    for client in (first, second):
        client.store.save(PrivateState(1, weights[client.id], torch.randn(3, 512), {}))
    found = {client.id: client.update(broadcast(2)).metrics["images/hard_negatives"] for client in (first, second)}
    assert found == expected
