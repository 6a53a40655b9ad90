"""Local training that cannot go on: nothing to train on, divergence, interruptions, faces that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.support.tiny_experiment import BACKBONE
from tests.support.tiny_training import COMPUTE, FACES, OBJECTIVE, PLAN, POOL, network

from fedfr.core.errors import FedfrError
from fedfr.models import build_backbone
from fedfr.training.features import extract_features
from fedfr.training.loop import Moment, train
from fedfr.training.training_set import TrainingSet


def test_a_batch_of_one_image() -> None:
    made = network(build_backbone(BACKBONE, 0))
    train(made, TrainingSet([(FACES.subset([0]), None, 0)]), OBJECTIVE, PLAN, COMPUTE)
    assert all(value.isfinite().all() for value in made.state_dict().values())


def test_nothing_to_train_on() -> None:
    with pytest.raises(FedfrError, match="there are no faces to train on"):
        train(network(), TrainingSet([(FACES.subset([]), None, 0)]), OBJECTIVE, PLAN, COMPUTE)


def test_divergence_names_epoch_and_learning_rate() -> None:
    plan = replace(PLAN, epochs=30, learning_rate=lambda moment: 1e30)
    with pytest.raises(
        FedfrError,
        match=r"the .+ became (nan|inf|NaN or infinite) in epoch \d+; lower the learning rate \(now 1e\+30\)",
    ):
        train(network(), POOL, OBJECTIVE, plan, COMPUTE)


def test_a_last_step_with_weights_that_are_not_finite_is_divergence() -> None:
    """The loss is finite, the weights after the last step are not: no epoch is reported."""
    told: list[int] = []
    plan = replace(
        PLAN,
        epochs=1,
        batch_size=len(POOL),
        learning_rate=lambda moment: 1e300,
        on_epoch=lambda epoch, optimizer, losses: told.append(epoch),
    )
    with pytest.raises(FedfrError, match=r"the network's \w+ became NaN or infinite in epoch 1; lower the learning"):
        train(network(), POOL, OBJECTIVE, plan, COMPUTE)
    assert told == []


def stop(*given: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({}, None),
        ({"learning_rate": lambda moment: 1e300}, FedfrError),
        ({"on_step": stop}, KeyboardInterrupt),
    ],
    ids=["finished", "diverged", "interrupted"],
)
def test_the_network_is_restored_after_an_error(change: dict[str, Any], error: type[BaseException] | None) -> None:
    """Modes, trainable parameters and gradients of the network are restored."""
    made = network(build_backbone(BACKBONE, 0))
    layers = dict(made.backbone.named_modules())
    made.backbone.eval()
    layers["features"].train()
    made.private.requires_grad_(False)
    before = [(layer, layer.training) for layer in made.modules()], [each.requires_grad for each in made.parameters()]
    learns: Callable[[Moment, str], bool] = lambda moment, name: "fc" in name  # noqa: E731
    plan = replace(PLAN, learns=learns, **change)
    if error is None:
        train(made, POOL, OBJECTIVE, plan, COMPUTE)
    else:
        with pytest.raises(error):
            train(made, POOL, OBJECTIVE, plan, COMPUTE)
    after = [(layer, layer.training) for layer in made.modules()], [each.requires_grad for each in made.parameters()]
    assert after == before
    assert all(each.grad is None for each in made.parameters())


class Torn(TrainingSet):
    """Faces whose file cannot be read."""

    def images(self, indices: torch.Tensor) -> torch.Tensor:
        """Never returns."""
        raise OSError("Input/output error")


def test_modes_are_restored_when_faces_cannot_be_read() -> None:
    backbone = build_backbone(BACKBONE, 0).train()
    backbone.get_submodule("features").eval()
    before = [layer.training for layer in backbone.modules()]
    with pytest.raises(OSError, match="Input/output"):
        extract_features(backbone, Torn([(FACES, None, 0)]), COMPUTE)
    assert [layer.training for layer in backbone.modules()] == before
    extract_features(backbone, POOL, COMPUTE)
    assert [layer.training for layer in backbone.modules()] == before
