"""A person's influence is bounded exactly for any other people; training in a shared batch does not bound it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from fedfr.core.errors import FedfrError
from fedfr.privacy.person_dp import Mechanism, PersonSum, person_change

Weights = dict[str, torch.Tensor]
TRIALS = 300


def mechanism_for(weights: Weights, clip: float = 1.0) -> Mechanism:
    return Mechanism(sum(value.numel() for value in weights.values()), clip, 1 << 19, 1 << 38, 2)


def exact_norm_squared(change: np.ndarray) -> int:
    return sum(int(value) ** 2 for value in change)


def random_weights(generator: torch.Generator, like: Weights, size: float) -> Weights:
    return {name: value + size * torch.randn(value.shape, generator=generator) for name, value in like.items()}


def test_removing_one_moves_the_sum_by_at_most_the_bound() -> None:
    """Changes of every size, sparse ones, and ones that are exactly on the bound."""
    generator = torch.Generator().manual_seed(0)
    like = {"layer.weight": torch.zeros(4, 5), "layer.bias": torch.zeros(3)}
    for trial in range(TRIALS):
        start = random_weights(generator, like, 0.1)
        clip = 10.0 ** (trial % 7 - 3)
        mechanism = mechanism_for(start, clip)
        sizes = 10.0 ** torch.randint(-6, 30, (4,), generator=generator).double()
        trained = [random_weights(generator, start, float(size)) for size in sizes]
        axis = {name: value.clone() for name, value in start.items()}
        axis["layer.bias"][trial % 3] += clip
        everyone = PersonSum(mechanism, 5)
        for person in (*trained, axis):
            everyone.add(start, person)
        for left_out in (*trained, axis):
            others = PersonSum(mechanism, 5)
            for person in (*trained, axis):
                if person is not left_out:
                    others.add(start, person)
            assert exact_norm_squared(everyone.total - others.total) <= mechanism.sensitivity**2


def test_is_the_clipped_change_to_one_step() -> None:
    generator = torch.Generator().manual_seed(1)
    start = {"a": torch.randn(50, 7, generator=generator), "b": torch.randn(9, generator=generator)}
    for size in (1e-5, 1e-3, 0.1, 10.0):
        trained = random_weights(generator, start, size)
        mechanism = mechanism_for(start, 0.5)
        difference = torch.cat([(trained[name].double() - start[name].double()).reshape(-1) for name in start])
        shrunk = 0.5 * (1 - mechanism.rounding_error / mechanism.steps)
        clipped = difference * min(1.0, shrunk / float(difference.norm()))
        change = person_change(start, trained, mechanism)
        assert np.abs(change * mechanism.unit - clipped.numpy()).max() <= 0.5001 * mechanism.unit


# One step of training with a cosine softmax, of a linear network on random faces: enough for people to be coupled.
Train = Callable[[torch.Tensor, Sequence[torch.Tensor], torch.Tensor], list[torch.Tensor]]


def loss_of(weight: torch.Tensor, faces: torch.Tensor, prototypes: torch.Tensor, label: int) -> torch.Tensor:
    logits = 16 * normalize(faces @ weight.T) @ normalize(prototypes).T
    logits = logits - 16 * 0.4 * torch.nn.functional.one_hot(torch.tensor(label), len(prototypes))
    return cross_entropy(logits, torch.full((len(faces),), label))


def alone(weight: torch.Tensor, people: Sequence[torch.Tensor], public: torch.Tensor) -> list[torch.Tensor]:
    """Each person from the start: own images and prototype, public prototypes as negatives."""
    trained = []
    for faces in people:
        own = weight.clone().requires_grad_()
        prototype = (faces @ weight.T).mean(0, keepdim=True)
        (slope,) = torch.autograd.grad(loss_of(own, faces, torch.cat([prototype, public]), 0), own)
        trained.append(weight - slope)
    return trained


def in_one_batch(weight: torch.Tensor, people: Sequence[torch.Tensor], public: torch.Tensor) -> list[torch.Tensor]:
    """The gradient of each person's loss in a batch of all, where the others' prototypes are negatives."""
    prototypes = torch.cat([*[(faces @ weight.T).mean(0, keepdim=True) for faces in people], public])
    trained = []
    for label, faces in enumerate(people):
        shared = weight.clone().requires_grad_()
        (slope,) = torch.autograd.grad(loss_of(shared, faces, prototypes, label), shared)
        trained.append(weight - slope)
    return trained


def moved_beyond_the_bound(train: Train) -> int:
    """Count the trials in which the sum without one person differs by more than the bound."""
    generator = torch.Generator().manual_seed(2)
    beyond = 0
    for _ in range(TRIALS):
        weight = torch.randn(4, 6, generator=generator)
        people = [torch.randn(2, 6, generator=generator) for _ in range(3)]
        public = torch.randn(3, 4, generator=generator)
        mechanism = mechanism_for({"w": weight}, 0.5)
        sums = []
        for present in (people, people[1:]):
            total = PersonSum(mechanism, 3)
            for after in train(weight, present, public):
                total.add({"w": weight}, {"w": after})
            sums.append(total.total)
        beyond += exact_norm_squared(sums[0] - sums[1]) > mechanism.sensitivity**2
    return beyond


def test_training_alone_bounds_a_person_and_a_shared_batch_does_not() -> None:
    assert moved_beyond_the_bound(alone) == 0
    assert moved_beyond_the_bound(in_one_batch) > TRIALS / 10


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_diverged_person_counts_as_zero(value: float) -> None:
    start = {"w": torch.zeros(3)}
    total = PersonSum(mechanism_for(start), 2)
    total.add(start, {"w": torch.tensor([0.1, value, 0.2])})
    total.add(start, {"w": torch.tensor([0.1, 0.0, 0.0])})
    assert (total.people, total.empty) == (2, 1)
    assert exact_norm_squared(total.total) == round(0.1 * (1 << 19)) ** 2


WRONG: list[tuple[Weights, str]] = [
    ({"w": torch.zeros(3), "v": torch.zeros(1)}, r"the same entries before and after training; \['v'\] are in one"),
    ({"w": torch.zeros(2)}, r"w has shape \(2,\) after training and \(3,\) before"),
    ({"w": torch.zeros(3, dtype=torch.int64)}, "w is of type torch.int64; only trained floating-point parameters"),
]


@pytest.mark.parametrize(("trained", "message"), WRONG)
def test_refuses_what_is_no_change_of_the_model(trained: Weights, message: str) -> None:
    start = {"w": torch.zeros(3)}
    with pytest.raises(FedfrError, match=message):
        person_change(start, trained, mechanism_for(start))


def test_refuses_other_sizes_models_and_numbers_of_persons() -> None:
    start = {"w": torch.zeros(3)}
    with pytest.raises(FedfrError, match="has 3 values; 4 were agreed"):
        person_change(start, start, Mechanism(4, 1.0, 1000, 64, 1))
    broken = {"w": torch.tensor([0.0, torch.nan, 0.0])}
    with pytest.raises(FedfrError, match="the starting model has NaN or infinity in w"):
        person_change(broken, start, mechanism_for(start))
    total = PersonSum(mechanism_for(start), 1)
    total.add(start, start)
    with pytest.raises(FedfrError, match="a site has more than 1 persons"):
        total.add(start, start)
