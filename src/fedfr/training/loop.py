"""The one training loop: clients, baselines and pre-training all go through it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from fedfr.core.errors import FedfrError
from fedfr.core.memory import keep_freed_memory
from fedfr.core.rng import torch_generator
from fedfr.training.features import Compute, FrozenFeatures, keep_modes
from fedfr.training.finite import first_not_finite
from fedfr.training.objective import Batch, Network, Objective
from fedfr.training.training_set import DeviceFaces, TrainingSet

__all__ = ["TrainingPlan", "batches", "train"]


@dataclass(frozen=True)
class TrainingPlan:
    """How to train: SGD with these settings, and the learning rate of every epoch (0, 1, …) and step.

    ``learns``: by epoch and name in the network, whether a parameter learns in it; None: all do.
    ``purpose`` names the run's random draws: order and flips of epoch e come from (seed, *purpose, e). ``on_step`` is
    told epoch, step, steps per epoch and the step's losses as tensors: reading them as numbers waits for the device.
    """

    epochs: int
    batch_size: int
    learning_rate: Callable[[int, float], float]
    momentum: float
    weight_decay: float
    seed: int
    purpose: tuple[int | str, ...]
    flip: bool = True
    freeze_batchnorm: bool = False
    clip_norm: float | None = None
    learns: Callable[[int, str], bool] | None = None
    on_step: Callable[[int, int, int, Mapping[str, torch.Tensor]], None] = field(
        default=lambda epoch, step, steps, losses: None
    )
    on_epoch: Callable[[int, torch.optim.Optimizer, Mapping[str, float]], None] = field(
        default=lambda epoch, optimizer, losses: None
    )

    def draw(self, epoch: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Order of the ``count`` images in an epoch (int64), and by image whether it is mirrored (bool)."""
        generator = torch_generator(self.seed, *self.purpose, epoch)
        order = torch.randperm(count, generator=generator)
        flips = torch.rand(count, generator=generator) < 0.5
        return order, flips & self.flip


def batches(count: int, batch_size: int, order: torch.Tensor) -> Iterator[torch.Tensor]:
    """Index batches of a shuffled epoch: the last partial one is dropped, but never the only one."""
    if count <= batch_size:
        yield order
        return
    for start in range(0, count - batch_size + 1, batch_size):
        yield order[start : start + batch_size]


def train(
    network: Network,
    pool: TrainingSet,
    objective: Objective,
    plan: TrainingPlan,
    compute: Compute,
    *,
    global_features: FrozenFeatures | None = None,
    previous_features: FrozenFeatures | None = None,
    first_epoch: int = 0,
    optimizer_state: Mapping[int, torch.Tensor] | None = None,
) -> dict[str, float]:
    """Train in place; returns the mean of every loss term over the last epoch's steps.

    Whatever happens, the network comes back with its layers in the modes and its parameters as trainable as they were,
    and without gradients. Raises :class:`FedfrError` when there is nothing to train on, or when a loss, a weight or a
    statistic of BatchNorm stops being a number; ``plan.on_epoch`` is not told of such an epoch.
    """
    if len(pool) == 0:
        raise FedfrError("there are no faces to train on; check the split's training images")
    keep_freed_memory()
    trained = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    optimizer = torch.optim.SGD(
        list(trained.values()),
        lr=0.0,
        momentum=plan.momentum,
        weight_decay=plan.weight_decay,
        fused=True,
    )
    if optimizer_state:
        for number, parameter in enumerate(optimizer.param_groups[0]["params"]):
            # In the parameter's own layout: the fused step walks both through memory, whatever their strides say.
            buffer = torch.empty_like(parameter, requires_grad=False).copy_(optimizer_state[number])
            optimizer.state[parameter]["momentum_buffer"] = buffer
    steps = max(1, len(pool) // plan.batch_size)
    labels = pool.labels.to(compute.device)
    faces, forward = DeviceFaces(pool, compute.device), compute.trained(network.backbone, plan.batch_size)
    means: dict[str, float] = {}
    with _lent(network):
        network.train()
        for epoch in range(first_epoch, plan.epochs):
            _let_learn(trained, epoch, plan.learns)
            order, flips = plan.draw(epoch, len(pool))
            # Sent once per epoch: inside it the device is never waited for.
            order_here, flips_here = order.to(compute.device), flips.to(compute.device)
            sums: dict[str, torch.Tensor] = {}
            whole, whole_here = (batches(len(pool), plan.batch_size, whose) for whose in (order, order_here))
            for step, (indices, here) in enumerate(zip(whole, whole_here, strict=True)):
                for group in optimizer.param_groups:
                    group["lr"] = plan.learning_rate(epoch, epoch + step / steps)
                mirrored = flips_here[here]
                _normalize_as(network.backbone, frozen=plan.freeze_batchnorm or len(indices) == 1)
                batch = Batch(
                    compute.features(forward, faces.images(indices, here), mirrored),
                    labels[here],
                    None if global_features is None else global_features.of(here, mirrored),
                    None if previous_features is None else previous_features.of(here, mirrored),
                )
                total, values = objective(batch, network)
                optimizer.zero_grad(set_to_none=True)
                total.backward()
                if plan.clip_norm is not None:
                    nn.utils.clip_grad_norm_(network.parameters(), plan.clip_norm)
                optimizer.step()
                for name, value in values.items():
                    sums[name] = sums[name] + value if name in sums else value
                plan.on_step(epoch, step, steps, values)
            means = {name: float(value) / steps for name, value in sums.items()}
            _check_finite(network, means, epoch, plan)
            plan.on_epoch(epoch, optimizer, means)
    return means


@contextmanager
def _lent(network: nn.Module) -> Iterator[None]:
    """Put modes and trainability back and drop gradients, however training ends: somebody else may be next."""
    trainable = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    try:
        with keep_modes(network):
            yield
    finally:
        for parameter, requires_grad in trainable:
            parameter.requires_grad_(requires_grad)
            parameter.grad = None


def _check_finite(network: nn.Module, means: Mapping[str, float], epoch: int, plan: TrainingPlan) -> None:
    """The losses show what the steps began with, the network what the last of them ended with."""
    loss = next((value for value in means.values() if not math.isfinite(value)), None)
    name = first_not_finite(network.state_dict()) if loss is None else None
    if loss is not None or name is not None:
        what = f"the network's {name} became NaN or infinite" if loss is None else f"the loss became {loss}"
        rate = plan.learning_rate(epoch, float(epoch))
        text = f"{what} in epoch {epoch + 1}; lower the learning rate (now {rate:g})"
        raise FedfrError(text, shareable=text)


def _let_learn(parameters: Mapping[str, nn.Parameter], epoch: int, learns: Callable[[int, str], bool] | None) -> None:
    """Parameters that do not learn get no gradient; the optimizer then leaves them and their momentum as they are."""
    for name, parameter in parameters.items():
        parameter.requires_grad_(learns is None or learns(epoch, name))


def _normalize_as(backbone: nn.Module, *, frozen: bool) -> None:
    """Training mode for everything; BatchNorm by its running statistics where ``frozen``.

    A batch of one image has no variance of its own: BatchNorm then uses the running statistics instead of failing.
    """
    if backbone.training != (not frozen):
        backbone.train(not frozen)
