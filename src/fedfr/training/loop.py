"""The training loop of clients, baselines and pre-training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import nn

from fedfr.core.errors import FedfrError
from fedfr.core.memory import keep_freed_memory
from fedfr.core.rng import torch_generator
from fedfr.training.features import Compute, FrozenFeatures, keep_modes
from fedfr.training.finite import first_not_finite
from fedfr.training.objective import Batch, Network, Objective
from fedfr.training.training_set import DeviceFaces, TrainingSet

__all__ = ["Moment", "TrainingPlan", "batches", "train"]


class Moment(NamedTuple):
    """Position of a step in a training.

    ``epoch``: completed passes over the images; ``progress``: the same with the fraction of the present pass;
    ``step``: completed steps.
    """

    epoch: int
    progress: float
    step: int


@dataclass(frozen=True)
class TrainingPlan:
    """Settings of one training: SGD with momentum, its schedule, augmentation, and callbacks.

    ``learning_rate(moment)`` returns the rate of a step. ``learns(moment, name)`` returns whether the network's
    parameter ``name`` is trained in it; None trains all. ``purpose`` names the random draws: the order and flips of
    epoch e are drawn from (seed, *purpose, e). ``clip_norm`` limits the norm of the whole gradient.

    With ``steps`` the training has exactly that many steps of ``batch_size`` images in place of ``epochs``: as many
    passes as needed, the last one cut short. Images of a set smaller than a batch are repeated in it.

    ``on_step`` is called with epoch, step, steps per epoch and the losses as tensors; reading these as numbers waits
    for the device. ``on_epoch`` is called with the epoch, the optimizer and the mean losses of the epoch.
    """

    epochs: int
    batch_size: int
    learning_rate: Callable[[Moment], float]
    momentum: float
    weight_decay: float
    seed: int
    purpose: tuple[int | str, ...]
    steps: int | None = None
    flip: bool = True
    freeze_batchnorm: bool = False
    clip_norm: float | None = None
    learns: Callable[[Moment, str], bool] | None = None
    on_step: Callable[[int, int, int, Mapping[str, torch.Tensor]], None] = field(
        default=lambda epoch, step, steps, losses: None
    )
    on_epoch: Callable[[int, torch.optim.Optimizer, Mapping[str, float]], None] = field(
        default=lambda epoch, optimizer, losses: None
    )

    def steps_of(self, count: int) -> int:
        """Return the number of steps of a training with ``count`` images."""
        return self.epochs * self.steps_per_pass(count) if self.steps is None else self.steps

    def steps_per_pass(self, count: int) -> int:
        """Return the number of steps of one pass over ``count`` images."""
        return max(1, count // self.batch_size)

    def images_of(self, count: int) -> int:
        """Return the number of images that a training with ``count`` images processes, each as often as it is used."""
        return self.steps_of(count) * (min(count, self.batch_size) if self.steps is None else self.batch_size)

    def draw(self, epoch: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw the order, int64, of the images in an epoch, and for each image whether it is flipped, bool (count,)."""
        generator = torch_generator(self.seed, *self.purpose, epoch)
        repetitions = 1 if self.steps is None else math.ceil(self.batch_size / count)
        order = torch.cat([torch.randperm(count, generator=generator) for _ in range(repetitions)])
        flips = torch.rand(count, generator=generator) < 0.5
        return order, flips & self.flip

    def passes(self, count: int, first: int = 0) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """Yield for every pass over ``count`` images, from ``first`` on, its number and what :meth:`draw` returns.

        The order is that of the images in its steps: a last partial batch is left out unless it is the only one.
        """
        total, per_pass = self.steps_of(count), self.steps_per_pass(count)
        for epoch in range(first, math.ceil(total / per_pass)):
            order, flips = self.draw(epoch, count)
            yield epoch, order[: min(per_pass, total - epoch * per_pass) * self.batch_size], flips

    def used(self, count: int) -> torch.Tensor:
        """Return which of ``count`` images occur in a step, unflipped and flipped, bool (2, count)."""
        used = torch.zeros(2, count, dtype=torch.bool)
        for _, order, flips in self.passes(count):
            used[flips[order].long(), order] = True
        return used


def batches(count: int, batch_size: int, order: torch.Tensor) -> Iterator[torch.Tensor]:
    """Split the shuffled indices ``order`` into batches; a last partial batch is dropped unless it is the only one."""
    if count <= batch_size:
        yield order
        return
    for start in range(0, count - batch_size + 1, batch_size):
        yield order[start : start + batch_size]


def train(
    network: Network,
    training_set: TrainingSet,
    objective: Objective,
    plan: TrainingPlan,
    compute: Compute,
    *,
    global_features: FrozenFeatures | None = None,
    previous_features: FrozenFeatures | None = None,
    fixed_features: FrozenFeatures | None = None,
    first_epoch: int = 0,
    optimizer_state: Mapping[int, torch.Tensor] | None = None,
) -> dict[str, float]:
    """Train ``network`` in place on ``training_set``; return the mean of every loss term in the last epoch.

    ``fixed_features``: features of the training set under a backbone that is not trained, which then does not run; None
    trains the backbone. ``first_epoch`` and ``optimizer_state`` (momentum by parameter number) resume an interrupted
    training. On return and after an exception, the training modes and ``requires_grad`` flags of the network are as
    before, without gradients. Raises :class:`FedfrError` if there are no images, or if a loss, a weight or a BatchNorm
    statistic becomes NaN or infinite; ``plan.on_epoch`` is not called for that epoch.
    """
    if len(training_set) == 0:
        raise FedfrError("there are no faces to train on; check the split's training images")
    keep_freed_memory()
    trained = {
        name: parameter
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and not (fixed_features is not None and name.startswith("backbone."))
    }
    optimizer = torch.optim.SGD(
        list(trained.values()),
        lr=0.0,
        momentum=plan.momentum,
        weight_decay=plan.weight_decay,
        fused=True,
    )
    if optimizer_state:
        for number, parameter in enumerate(optimizer.param_groups[0]["params"]):
            # In the parameter's memory layout: the fused optimizer step ignores strides.
            buffer = torch.empty_like(parameter, requires_grad=False).copy_(optimizer_state[number])
            optimizer.state[parameter]["momentum_buffer"] = buffer
    count = len(training_set)
    per_pass = plan.steps_per_pass(count)
    labels = training_set.labels.to(compute.device)
    features_of = (
        _forward(network.backbone, training_set, plan.batch_size, compute)
        if fixed_features is None
        else lambda indices, device_indices, mirrored: fixed_features.of(device_indices, mirrored)
    )
    means: dict[str, float] = {}
    with _restored(network):
        network.train()
        for epoch, order, flips in plan.passes(count, first_epoch):
            steps = math.ceil(len(order) / plan.batch_size)
            # Copied to the device once per epoch, so that the steps never wait for it.
            device_order, device_flips = order.to(compute.device), flips.to(compute.device)
            sums: dict[str, torch.Tensor] = {}
            host, device = (batches(len(order), plan.batch_size, each) for each in (order, device_order))
            for step, (indices, device_indices) in enumerate(zip(host, device, strict=True)):
                moment = Moment(epoch, epoch + step / per_pass, epoch * per_pass + step)
                _select_trained(trained, moment, plan.learns)
                for group in optimizer.param_groups:
                    group["lr"] = plan.learning_rate(moment)
                mirrored = device_flips[device_indices]
                _set_batchnorm_mode(network.backbone, frozen=plan.freeze_batchnorm or min(len(indices), count) == 1)
                batch = Batch(
                    features_of(indices, device_indices, mirrored),
                    labels[device_indices],
                    None if global_features is None else global_features.of(device_indices, mirrored),
                    None if previous_features is None else previous_features.of(device_indices, mirrored),
                )
                loss, values = objective(batch, network)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                if plan.clip_norm is not None:
                    nn.utils.clip_grad_norm_(network.parameters(), plan.clip_norm)
                optimizer.step()
                for name, value in values.items():
                    sums[name] = sums[name] + value if name in sums else value
                plan.on_step(epoch, step, steps, values)
            means = {name: float(value) / steps for name, value in sums.items()}
            _check_finite(network, means, moment, plan)
            plan.on_epoch(epoch, optimizer, means)
    return means


def _forward(
    backbone: nn.Module, training_set: TrainingSet, batch_size: int, compute: Compute
) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return a function for the backbone's features of a batch, given by its indices, their device copy and flips."""
    faces, forward = DeviceFaces(training_set, compute.device), compute.trained(backbone, batch_size)

    def features(indices: torch.Tensor, device_indices: torch.Tensor, mirrored: torch.Tensor) -> torch.Tensor:
        return compute.features(forward, faces.images(indices, device_indices), mirrored)

    return features


@contextmanager
def _restored(network: nn.Module) -> Iterator[None]:
    """Context manager: restore training modes and ``requires_grad`` flags and drop gradients on exit.

    The network may be used for another client afterwards.
    """
    trainable = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    try:
        with keep_modes(network):
            yield
    finally:
        for parameter, requires_grad in trainable:
            parameter.requires_grad_(requires_grad)
            parameter.grad = None


def _check_finite(network: nn.Module, means: Mapping[str, float], moment: Moment, plan: TrainingPlan) -> None:
    """Raise :class:`FedfrError` if a mean loss or, after the last step, an entry of the network is not finite."""
    loss = next((value for value in means.values() if not math.isfinite(value)), None)
    name = first_not_finite(network.state_dict()) if loss is None else None
    if loss is not None or name is not None:
        what = f"the network's {name} became NaN or infinite" if loss is None else f"the loss became {loss}"
        rate = plan.learning_rate(moment)
        text = f"{what} in epoch {moment.epoch + 1}; lower the learning rate (now {rate:g})"
        raise FedfrError(text, shareable=text)


def _select_trained(
    parameters: Mapping[str, nn.Parameter], moment: Moment, learns: Callable[[Moment, str], bool] | None
) -> None:
    """Enable gradients of the parameters trained in this step; the optimizer skips the others and their momentum."""
    if learns is not None:
        for name, parameter in parameters.items():
            parameter.requires_grad_(learns(moment, name))


def _set_batchnorm_mode(backbone: nn.Module, *, frozen: bool) -> None:
    """Set training mode, or with ``frozen`` evaluation mode, in which BatchNorm uses its running statistics.

    A batch of one image has no variance, so BatchNorm has to be frozen for it.
    """
    if backbone.training != (not frozen):
        backbone.train(not frozen)
