"""Pre-training on the public images, which gives the first global backbone θ⁰ and public prototypes Φ_g⁰."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from fedfr.config.schema import PretrainConfig
from fedfr.core.errors import FedfrError
from fedfr.core.files import write_atomically
from fedfr.core.rng import torch_generator
from fedfr.models import load_weights
from fedfr.training.batchnorm import batchnorm_entries, train_all_but
from fedfr.training.classification import classification_term
from fedfr.training.features import Compute, keep_modes
from fedfr.training.loop import TrainingPlan, train
from fedfr.training.objective import Network, Objective
from fedfr.training.training_set import TrainingSet

__all__ = ["learning_rate", "pretrain"]


def learning_rate(config: PretrainConfig, epoch: int, progress: float) -> float:
    """Return the learning rate at ``progress`` epochs, a fraction within epoch ``epoch`` (from 0).

    Linear warm-up over ``config.warmup_epochs``, then the schedule of the configuration.
    """
    if progress < config.warmup_epochs:
        return config.learning_rate * max(progress, 0.02) / config.warmup_epochs
    if config.schedule == "cosine":
        span = max(1, config.epochs - config.warmup_epochs)
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - config.warmup_epochs) / span)))
    if config.schedule == "step":
        return config.learning_rate * 0.1 ** sum(epoch >= decay for decay in config.decay_epochs)
    return config.learning_rate


def pretrain(
    backbone: nn.Module,
    training_set: TrainingSet,
    num_identities: int,
    config: PretrainConfig,
    compute: Compute,
    *,
    seed: int,
    checkpoint: Path,
    prototypes: Callable[[], torch.Tensor] | None = None,
    on_step: Callable[[int, int, int], None] = lambda epoch, step, steps: None,
    on_epoch: Callable[[int, Mapping[str, float], float], None] = lambda epoch, losses, rate: None,
) -> torch.Tensor:
    """Train ``backbone`` in place on ``training_set``; return the prototypes (num_identities, D), float32 on the CPU.

    ``prototypes`` returns those to begin with; without it they are random. After every epoch, ``on_epoch`` is called
    with its number (from 0), its mean losses and its last learning rate; then weights, prototypes and momentum are
    written to ``checkpoint``. If that file exists, training resumes from it and gives the same bits as without
    interruption; ``on_epoch`` may then be called twice for the epoch interrupted before its checkpoint was written.
    Raises :class:`FedfrError` if the checkpoint cannot be read.
    """
    if prototypes is None or checkpoint.exists():
        shape = (num_identities, _embedding_dim(backbone, compute))
        start = 0.01 * torch.randn(shape, generator=torch_generator(seed, "pretrain", "prototypes"))
    else:
        start = prototypes()
    network = Network(backbone, start).to(compute.device)
    if config.batchnorm == "frozen":
        train_all_but(backbone, batchnorm_entries(backbone))
    first, momentum = _resume(checkpoint, network)

    def save(epoch: int, optimizer: torch.optim.Optimizer, losses: Mapping[str, float]) -> None:
        # Reported first: otherwise a run killed in between would never report this epoch.
        on_epoch(epoch, losses, optimizer.param_groups[0]["lr"])
        parameters = optimizer.param_groups[0]["params"]
        buffers = [optimizer.state[parameter].get("momentum_buffer") for parameter in parameters]
        tensors = {f"network/{name}": value.contiguous().cpu() for name, value in network.state_dict().items()}
        tensors |= {
            f"momentum/{number}": value.contiguous().cpu() for number, value in enumerate(buffers) if value is not None
        }
        write_atomically(
            checkpoint, lambda path: safetensors.torch.save_file(tensors, str(path), {"epochs": str(epoch + 1)})
        )

    plan = TrainingPlan(
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=lambda moment: learning_rate(config, moment.epoch, moment.progress),
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        seed=seed,
        purpose=("pretrain",),
        freeze_batchnorm=config.batchnorm == "frozen",
        clip_norm=config.clip_norm,
        on_step=lambda epoch, step, steps, _: on_step(epoch, step, steps),
        on_epoch=save,
    )
    objective = Objective([classification_term(config.loss, config.scale, config.margin)])
    train(network, training_set, objective, plan, compute, first_epoch=first, optimizer_state=momentum)
    train_all_but(backbone, ())
    return network.private.detach().cpu()


def _embedding_dim(backbone: nn.Module, compute: Compute) -> int:
    """Return the length D of the features of ``backbone``, measured with a blank image."""
    with keep_modes(backbone), torch.inference_mode():
        backbone.eval()
        blank = torch.zeros(1, 112, 112, 3, dtype=torch.uint8, device=compute.device)
        return int(compute.features(backbone, blank).shape[1])


def _resume(checkpoint: Path, network: Network) -> tuple[int, dict[int, torch.Tensor] | None]:
    """Load a checkpoint into ``network``; return the number of epochs done and the momentum by parameter number."""
    if not checkpoint.exists():
        return 0, None
    try:
        with safe_open(str(checkpoint), "pt") as file:
            epochs = int((file.metadata() or {})["epochs"])
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
        steps = {int(name.removeprefix("momentum/")): name for name in tensors if name.startswith("momentum/")}
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise FedfrError(
            f"pre-training checkpoint {checkpoint} cannot be read ({error}); remove it to restart pre-training"
        ) from error
    state = {name.removeprefix("network/"): value for name, value in tensors.items() if name.startswith("network/")}
    load_weights(network, state)
    return epochs, {number: tensors[name] for number, name in steps.items()}
