"""One round of a client: training data, starting point, stored state and update."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.support.tiny_client import (
    FACES,
    PRIVATE,
    PROTOTYPES,
    PUBLIC,
    STANDSTILL,
    WEIGHTS,
    MakeClient,
    broadcast,
    state_of,
)
from tests.support.tiny_experiment import BACKBONE

from fedfr.config.schema import LocalConfig, load_config
from fedfr.core.errors import FedfrError
from fedfr.federation.local_plan import decay_epoch
from fedfr.federation.messages import decode_broadcast, encode
from fedfr.federation.private_state import PrivateState
from fedfr.federation.public_faces import PublicFaces
from fedfr.models import build_backbone
from fedfr.training.features import extract_features
from fedfr.training.training_set import TrainingSet


@pytest.mark.parametrize(
    ("preset", "epochs", "decays"),
    [("paper", [10, 8, 6, 4, 4], [8, 6, 5, 3, 3]), ("released", [10, 8, 6, 4, 4], [8, 6, 4, 3, 3])],
)
def test_epochs_and_decay(preset: str, epochs: list[int], decays: list[int]) -> None:
    """Paper: once 3/4 of the epochs are done; released: epoch 8 in the first round, then floor(3E/4)."""
    local = load_config(preset).local
    assert [local.epochs_in(number) for number in range(1, 6)] == epochs
    assert [decay_epoch(local, number) for number in range(1, 6)] == decays


@given(
    epochs=st.one_of(st.just("adaptive"), st.integers(1, 30)),
    first=st.integers(1, 30),
    least=st.integers(1, 30),
    own=st.integers(1, 30),
    rounding=st.sampled_from(["up", "down"]),
)
def test_decay_epoch_of_the_first_round(epochs: str | int, first: int, least: int, own: int, rounding: str) -> None:
    """It applies if epochs are adaptive and the first round is longer; otherwise the ordinary rule does."""
    settings = {"epochs": epochs, "first_epochs": first, "least_epochs": least, "decay_rounding": rounding}
    ordinary = LocalConfig.model_validate(settings)
    local = LocalConfig.model_validate({**settings, "decay_epoch_first_round": own})
    counts = epochs == "adaptive" and own < first
    assert decay_epoch(local, 1) == (own if counts else decay_epoch(ordinary, 1))
    for number in (2, 3, 7):
        assert decay_epoch(local, number) == decay_epoch(ordinary, number)
    for number in (1, 2, 3, 7):
        assert decay_epoch(local, number) <= local.epochs_in(number)


def test_released_with_constant_epochs_still_decays() -> None:
    local = load_config("released", ["local.epochs=4"]).local
    assert [decay_epoch(local, number) for number in (1, 2)] == [3, 3]


def test_contents_of_an_update(make_client: MakeClient) -> None:
    client = make_client("method.hard_negatives.threshold=-1.0")
    update = client.update(broadcast())
    assert (update.round, update.client, update.count) == (1, "client-01", 12 + 16)
    assert update.weights.keys() == WEIGHTS.keys()
    assert update.prototypes is not None
    assert update.prototypes.shape == PROTOTYPES.shape
    assert not torch.equal(update.prototypes, PROTOTYPES), "public prototypes are trained too"
    assert all(value.isfinite().all() for value in update.weights.values())
    assert update.metrics["images/hard_negatives"] == 16
    assert all(math.isfinite(value) for value in update.metrics.values())
    state = state_of(client)
    assert state.prototypes.shape == (3, 512)
    assert all(torch.equal(state.backbone[name], value) for name, value in update.weights.items())


@pytest.mark.parametrize(("method", "later"), [("fedfr", True), ("frozen-head", False)])
def test_a_client_that_shares_features_reports_what_they_cost(
    make_client: MakeClient, tmp_path: Path, method: str, later: bool
) -> None:
    """Also where others computed them; a method that leaves the backbone as it is needs them once."""
    clients = [make_client(f"method.name={method}", name=name) for name in ("client-01", "client-02")]
    for client in clients:
        client.public = PublicFaces(PUBLIC, tmp_path / "features")
    first, second = (client.update(broadcast()).metrics for client in clients)
    assert first["feature_seconds"] > 0 == second["feature_seconds"]
    assert second["feature_seconds_alone"] == first["feature_seconds_alone"] > 0
    assert first["cpu_seconds"] > first["feature_seconds"]
    again = clients[1].update(broadcast(2)).metrics
    assert again["feature_seconds"] == 0
    assert (again["feature_seconds_alone"] > 0) == later


def test_a_method_without_public_features_reports_none(make_client: MakeClient) -> None:
    metrics = make_client("method.name=fedavg").update(broadcast()).metrics
    assert (metrics["feature_seconds"], metrics["feature_seconds_alone"]) == (0, 0)


def test_weights_may_count_private_images_only(make_client: MakeClient) -> None:
    settings = ("method.hard_negatives.threshold=-1.0", "federation.weights=private")
    assert make_client(*settings).update(broadcast()).count == 12


def test_equal_weights_give_no_number_of_images_away(make_client: MakeClient) -> None:
    """Neither the count nor the steps that BatchNorm counts, which stay in the client's own state."""
    settings = ("method.hard_negatives.threshold=-1.0",)
    counted = make_client(*settings).update(broadcast())
    client = make_client(*settings, "federation.weights=equal", name="client-02")
    update = client.update(broadcast())
    assert update.count == 1
    counters = {name for name, value in update.weights.items() if not value.is_floating_point()}
    assert counters
    for name in counters:
        assert torch.equal(update.weights[name], WEIGHTS[name])
        assert not torch.equal(state_of(client).backbone[name], WEIGHTS[name])
        assert not torch.equal(counted.weights[name], WEIGHTS[name])


def test_no_public_face_is_similar_enough(make_client: MakeClient) -> None:
    update = make_client("method.hard_negatives.threshold=1.0").update(broadcast())
    assert update.count == 12
    assert update.metrics["images/hard_negatives"] == 0
    assert update.prototypes is not None, "all public prototypes stay in the classifier"


def test_hard_negatives_are_those_of_the_definition(make_client: MakeClient) -> None:
    backbone = build_backbone(BACKBONE, 0).eval()
    client = make_client()
    compute = client.settings.compute
    own, public = (
        torch.nn.functional.normalize(extract_features(backbone, TrainingSet([(faces, None, 0)]), compute))
        for faces in (PRIVATE, PUBLIC)
    )
    nearest = (public @ own.T).amax(dim=1)
    threshold = float(nearest.sort().values[7:9].mean())
    update = make_client(f"method.hard_negatives.threshold={threshold}").update(broadcast())
    assert update.metrics["images/hard_negatives"] == 8


# What a client starts from is seen in its state after training with (almost) no learning rate.


def test_first_participation_starts_from_mean_features(make_client: MakeClient) -> None:
    client = make_client(*STANDSTILL)
    client.update(broadcast())
    state = state_of(client)
    features = extract_features(
        build_backbone(BACKBONE, 0).eval(), TrainingSet([(PRIVATE, None, 0)]), client.settings.compute
    )
    means = torch.stack([features[torch.from_numpy(PRIVATE.labels == label)].mean(dim=0) for label in range(3)])
    assert torch.allclose(state.prototypes, means, atol=1e-5)
    assert torch.allclose(state.dfc["branches.weight"], means, atol=1e-5), "w_i is a copy of the prototypes"
    assert torch.allclose(state.dfc["branches.bias"], torch.zeros(3), atol=1e-9)
    transform = {name: value for name, value in state.dfc.items() if name.startswith("transform")}
    assert torch.allclose(transform["transform.weight"], torch.eye(512), atol=1e-6)
    assert torch.allclose(transform["transform.bias"], torch.zeros(512), atol=1e-6)


def test_random_prototypes_of_the_released_code(make_client: MakeClient) -> None:
    client = make_client(*STANDSTILL, "method.prototypes=random")
    client.update(broadcast())
    values = state_of(client).prototypes
    assert float(values.std()) == pytest.approx(0.01, rel=0.1)
    assert float(values.mean().abs()) < 1e-3


def test_private_state_persists_and_the_backbone_does_not(make_client: MakeClient) -> None:
    first = make_client("local.learning_rate=0.05")
    first.update(broadcast(1))
    kept = state_of(first)
    second = make_client(*STANDSTILL)
    update = second.update(broadcast(2))
    after = state_of(second)
    assert after.round == 2
    assert torch.allclose(after.prototypes, kept.prototypes, atol=1e-5)
    for name, value in kept.dfc.items():
        assert torch.allclose(after.dfc[name], value, atol=1e-5), name
    convolution = "stages.0.0.weight"
    assert torch.allclose(update.weights[convolution], WEIGHTS[convolution], atol=1e-6), "starts from the broadcast"


def test_a_lost_round_is_repeated_from_the_previous_state(make_client: MakeClient) -> None:
    client = make_client()
    client.update(broadcast(1))
    once = client.update(broadcast(2))
    again = make_client().update(broadcast(2))
    assert all(torch.equal(once.weights[name], value) for name, value in again.weights.items())
    assert once.prototypes is not None
    assert again.prototypes is not None
    assert torch.equal(once.prototypes, again.prototypes)


@pytest.mark.parametrize(
    ("images", "why"),
    [([0, 4, 8], "one image per identity"), ([0, 1, 2, 3], "a single identity"), ([5], "a single image")],
)
def test_very_little_data(make_client: MakeClient, images: list[int], why: str) -> None:
    private = FACES.subset(images)
    for settings in ((), ("federation.batchnorm=frozen",)):
        client = make_client(
            "method.hard_negatives.threshold=1.0", *settings, private=private, name=f"c{len(settings)}"
        )
        for number in (1, 2):
            update = client.update(broadcast(number))
            assert update.count == len(images), why
            assert all(value.isfinite().all() for value in update.weights.values())
            assert update.metrics["loss/total"] > 0, "a union smaller than a batch is trained on, never skipped"
        assert not torch.equal(update.weights["fc.weight"], WEIGHTS["fc.weight"])


def test_divergence_is_reported_and_not_sent(make_client: MakeClient) -> None:
    client = make_client("local.learning_rate=1e30")
    with pytest.raises(
        FedfrError, match=r"the .+ became (nan|inf|NaN or infinite) in epoch \d; lower the learning rate"
    ):
        client.update(broadcast())
    assert client.store.latest() is None


def test_an_update_with_too_large_a_change_is_not_stored(make_client: MakeClient) -> None:
    """An update that a server would refuse for its size is not stored as private state."""
    client = make_client("local.learning_rate=1e20", "local.batch_size=64")
    with pytest.raises(FedfrError, match=r"its weights changed by .*\(federation\.largest_change\)"):
        client.update(broadcast())
    assert client.store.latest() is None


def test_a_broadcast_of_another_backbone_is_refused(make_client: MakeClient) -> None:
    wrong = replace(broadcast(), weights=build_backbone("mobilefacenet", 0).state_dict())
    with pytest.raises(FedfrError, match="weights do not fit"):
        make_client().update(wrong)


def test_an_unusable_broadcast_deletes_no_private_state(make_client: MakeClient) -> None:
    """An unusable broadcast of an earlier round must not delete newer private states."""
    client = make_client()
    client.update(broadcast())
    kept = client.store.rounds()
    assert kept == [1]
    wrong = replace(broadcast(), weights={"conv1.weight": torch.ones(3)})
    with pytest.raises(FedfrError, match="weights do not fit"):
        client.update(wrong)
    with pytest.raises(FedfrError, match="the broadcast is of round 0; rounds start at 1"):
        decode_broadcast(encode(replace(broadcast(), round=0)))
    assert client.store.rounds() == kept


def test_the_callers_faces_are_not_changed(make_client: MakeClient) -> None:
    before = PRIVATE.images(np.arange(len(PRIVATE))).copy()
    make_client().update(broadcast())
    assert np.array_equal(PRIVATE.images(np.arange(len(PRIVATE))), before)


def test_the_residual_after_a_refusal_is_the_previous_one(make_client: MakeClient) -> None:
    """The compression error of a refused or lost update is discarded.

    The client hears of it with the next broadcast, however many of its updates were lost in between.
    """
    client = make_client("method.name=fedavg", "federation.updates=int8", "local.learning_rate=0.05")

    def train(number: int, accepted: int) -> PrivateState:
        client.update(replace(broadcast(number), accepted=accepted))
        return state_of(client)

    def same(left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> bool:
        return left.keys() == right.keys() and all(torch.equal(value, right[name]) for name, value in left.items())

    first = train(1, 0)
    assert first.previous_residual == {}
    second = train(2, 1)
    assert same(second.previous_residual, first.residual)
    assert any(bool(value.any()) for value in first.residual.values())
    assert not same(second.residual, first.residual)
    third = train(3, 1)
    assert same(third.previous_residual, first.residual), "round 2 was refused: its own remainder went with it"
    fourth = train(4, 1)
    assert same(fourth.previous_residual, first.residual), "and round 3 was lost"
    assert same(train(5, 4).previous_residual, fourth.residual)
    assert train(6, 9).previous_residual == {}, "of a state that was put back, nobody knows what is owed"
