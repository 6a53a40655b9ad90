"""Training loop: batches, seeded draws, and errors of diverging runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.support.tiny_experiment import BACKBONE
from tests.support.tiny_training import COMPUTE, FACES, OBJECTIVE, PLAN, POOL, entries, network
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from fedfr.models import build_backbone
from fedfr.models.heads import DFC
from fedfr.training.features import FrozenFeatures
from fedfr.training.loop import TrainingPlan, batches, train
from fedfr.training.objective import Batch, Contrastive, MarginSoftmax, Network, Objective, OneVsAll, Term
from fedfr.training.training_set import TrainingSet


@given(st.integers(1, 400), st.integers(1, 100))
def test_batches(count: int, size: int) -> None:
    """A training set smaller than a batch is one batch; otherwise the last partial batch is dropped."""
    order = torch.arange(count)
    found = list(batches(count, size, order))
    assert len(found) >= 1
    if count < size:
        assert [batch.tolist() for batch in found] == [order.tolist()]
    else:
        assert len(found) == count // size
        assert all(len(batch) == size for batch in found)
        assert torch.cat(found).tolist() == order[: count // size * size].tolist()


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 30))
def test_fixed_steps_have_full_batches_in_a_new_order_at_every_pass(count: int, size: int, steps: int) -> None:
    plan = replace(PLAN, batch_size=size, steps=steps)
    assert (plan.steps_of(count), plan.images_of(count)) == (steps, steps * size)
    order, flips = plan.draw(0, count)
    assert len(order) >= size
    assert len(flips) == count
    assert sorted(order[:count].tolist()) == list(range(count)), "every image once before any is repeated"
    assert count < 5 or not torch.equal(order[:count], plan.draw(1, count)[0][:count])


@given(st.integers(1, 40), st.integers(1, 20), st.integers(1, 3), st.none() | st.integers(1, 9), st.booleans())
def test_images_and_flips_of_a_training_are_known_before(
    count: int, size: int, epochs: int, steps: int | None, flip: bool
) -> None:
    plan = replace(PLAN, batch_size=size, epochs=epochs, steps=steps, flip=flip)
    seen = set[tuple[bool, int]]()
    taken = 0
    for _, order, flips in plan.passes(count):
        for batch in batches(len(order), size, order):
            taken += 1
            seen |= set(zip(flips[batch].tolist(), batch.tolist(), strict=True))
    assert taken == plan.steps_of(count)
    used = plan.used(count)
    assert {(bool(flipped), int(image)) for flipped, image in used.nonzero()} == seen


def test_features_of_other_images_and_flips_are_not_used() -> None:
    both, results = torch.randn(2, len(POOL), 4), []
    plan = replace(PLAN, batch_size=4, epochs=1)
    used = plan.used(len(POOL))
    assert 0 < int(used.sum()) < len(POOL) + 1
    for features in (both, both.masked_fill(~used[..., None], torch.nan)):
        made, frozen = network(), FrozenFeatures(features)
        terms = Objective([MarginSoftmax(), Contrastive()])
        train(made, POOL, terms, plan, COMPUTE, global_features=frozen, previous_features=FrozenFeatures(-features))
        results.append(made.state_dict())
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_steps_that_make_whole_epochs_are_these_epochs() -> None:
    """The last pass may be cut short."""

    def trained(plan: TrainingPlan) -> tuple[dict[str, torch.Tensor], list[tuple[int, int]]]:
        made, seen = network(), list[tuple[int, int]]()
        train(
            made,
            POOL,
            OBJECTIVE,
            replace(plan, on_step=lambda epoch, step, steps, losses: seen.append((epoch, step))),
            COMPUTE,
        )
        return entries(made), seen

    epochs, done = trained(replace(PLAN, epochs=3))
    steps, taken = trained(replace(PLAN, epochs=1, steps=6))
    assert all(torch.equal(epochs[name], value) for name, value in steps.items())
    _, fewer = trained(replace(PLAN, steps=5))
    assert done == taken == [*fewer, (2, 1)]


class Counted:
    """A term of weight 0 that records the sizes of batches."""

    name, weight = "counted", 0.0

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def value(self, batch: Batch, network: Network) -> torch.Tensor:
        self.sizes.append(len(batch.labels))
        return batch.features.sum()


@pytest.mark.parametrize("images", [1, 2, 3])
def test_a_set_smaller_than_a_batch_fills_every_step(images: int) -> None:
    few, counted = TrainingSet([(FACES.subset(range(images)), None, 0)]), Counted()
    made = network(build_backbone(BACKBONE, 0))
    train(made, few, Objective([MarginSoftmax(), counted]), replace(PLAN, steps=3), COMPUTE)
    assert counted.sizes == [5, 5, 5]
    assert all(value.isfinite().all() for value in made.state_dict().values())


def test_draws_depend_on_the_purpose() -> None:
    order, flips = PLAN.draw(0, 50)
    again = PLAN.draw(0, 50)
    assert torch.equal(order, again[0])
    assert torch.equal(flips, again[1])
    assert sorted(order.tolist()) == list(range(50))
    others = [PLAN.draw(1, 50), replace(PLAN, seed=1).draw(0, 50), replace(PLAN, purpose=("other",)).draw(0, 50)]
    assert not any(torch.equal(order, other) for other, _ in others)
    share = float(torch.stack([PLAN.draw(epoch, 400)[1] for epoch in range(20)]).float().mean())
    assert share == pytest.approx(0.5, abs=0.03)
    assert not replace(PLAN, flip=False).draw(0, 50)[1].any()


def test_training_depends_only_on_seed_and_purpose() -> None:
    results = []
    for seed in (0, 0, 1):
        made = network()
        train(made, POOL, OBJECTIVE, replace(PLAN, seed=seed), COMPUTE)
        results.append(entries(made))
    assert all(torch.equal(results[0][name], value) for name, value in results[1].items())
    assert not torch.equal(results[0]["backbone.fc.weight"], results[2]["backbone.fc.weight"])


class Waits(TorchDispatchMode):
    """Counts operations whose result's value or shape the host can only know by waiting for the device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masks = name == "index" and any(index is not None and index.dtype == torch.bool for index in args[1])
        self.count += masks or name in ("_local_scalar_dense", "nonzero", "masked_select", "equal")
        return func(*args, **(kwargs or {}))


def test_an_epoch_does_not_wait_for_the_device() -> None:
    """With all terms, ten steps per epoch synchronize as often as one step."""
    features = FrozenFeatures(torch.randn(2, len(POOL), 4))
    terms: list[Term] = [MarginSoftmax(negative_repeats=2), Contrastive(), OneVsAll()]
    counts = []
    for batch_size in (1, len(POOL)):
        made = network()
        made.dfc = DFC(3, 4)
        with Waits() as waits:
            plan = replace(PLAN, batch_size=batch_size, epochs=1, clip_norm=1.0)
            train(made, POOL, Objective(terms), plan, COMPUTE, global_features=features, previous_features=features)
        counts.append(waits.count)
    # When the epoch is over: one per reported loss, and whether the network holds nothing but numbers.
    assert counts[0] == counts[1] == 5


def test_the_global_generator_is_unchanged() -> None:
    made = network()
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    train(made, POOL, OBJECTIVE, PLAN, COMPUTE)
    assert torch.equal(torch.rand(3), expected)


def test_steps_are_sgd_with_momentum_and_weight_decay_on_everything() -> None:
    """v ← 0.9 v + g + 5e-4 θ; θ ← θ − lr v, with the learning rate of the epoch."""
    rates = [0.05, 0.005]
    made, twin = network(), network()
    plan = replace(PLAN, learning_rate=lambda moment: rates[moment.epoch])
    train(made, POOL, OBJECTIVE, plan, COMPUTE)
    velocity = {name: torch.zeros_like(value) for name, value in twin.named_parameters()}
    for epoch in range(2):
        order, flips = plan.draw(epoch, len(POOL))
        for indices in batches(len(POOL), 5, order):
            images = POOL.images(indices)
            images = torch.where(flips[indices][:, None, None, None], images.flip(2), images)
            inputs = (images.permute(0, 3, 1, 2).float() - 127.5) / 127.5
            u = nn.functional.normalize(twin.backbone(inputs))
            cosine = u @ nn.functional.normalize(twin.private).T
            labels = POOL.labels[indices]
            logits = 30 * (cosine - 0.4 * nn.functional.one_hot(labels, 3))
            gradients = torch.autograd.grad(nn.functional.cross_entropy(logits, labels), list(twin.parameters()))
            with torch.no_grad():
                for (name, parameter), gradient in zip(twin.named_parameters(), gradients, strict=True):
                    velocity[name] = 0.9 * velocity[name] + gradient + 5e-4 * parameter
                    parameter.sub_(rates[epoch] * velocity[name])
    for name, value in entries(made).items():
        assert torch.allclose(value, twin.state_dict()[name], rtol=1e-4, atol=1e-6), name


def test_returned_losses_are_the_mean_of_the_last_epoch() -> None:
    seen: list[tuple[int, float]] = []
    plan = replace(PLAN, on_step=lambda epoch, step, steps, losses: seen.append((epoch, float(losses["total"]))))
    means = train(network(), POOL, OBJECTIVE, plan, COMPUTE)
    assert [epoch for epoch, _ in seen] == [0, 0, 1, 1]
    assert means["total"] == pytest.approx((seen[2][1] + seen[3][1]) / 2)


def test_frozen_batchnorm_keeps_its_statistics() -> None:
    made = network(build_backbone(BACKBONE, 0))
    before = entries(made)
    train(made, POOL, OBJECTIVE, replace(PLAN, freeze_batchnorm=True), COMPUTE)
    statistics = [name for name in before if "running_" in name or "num_batches" in name]
    assert len(statistics) == 9
    assert all(torch.equal(before[name], made.state_dict()[name]) for name in statistics)
    assert not torch.equal(before["backbone.fc.weight"], made.state_dict()["backbone.fc.weight"])
