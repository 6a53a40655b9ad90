"""Settings of training: backbone, pre-training, local training, rounds and aggregation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fedfr.core.settings import Settings

__all__ = ["FederationConfig", "LocalConfig", "ModelConfig", "Positive", "PretrainConfig", "ServerConfig"]

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


class ModelConfig(Settings):
    """Backbone, and the checkpoint to start from (``scratch``: pre-train on the public images)."""

    backbone: str = "slimface"
    start: str = "scratch"


class PretrainConfig(Settings):
    """Pre-training on the public images before the first round, or tuning of the checkpoint ``model.start``.

    ``prototypes``: with which it begins, random ones, or for tuning the mean features of the public identities.
    ``batchnorm``: ``train``, or ``frozen`` as in the checkpoint.
    """

    epochs: Annotated[int, Field(ge=0)] = 20
    batch_size: Annotated[int, Field(ge=1)] = 128
    learning_rate: Positive = 0.1
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    warmup_epochs: Annotated[int, Field(ge=0)] = 1
    decay_epochs: tuple[Annotated[int, Field(ge=1)], ...] = ()
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    loss: str = "cosface"
    scale: Positive = 30.0
    margin: Annotated[float, Field(ge=0)] = 0.4
    clip_norm: Annotated[float, Field(gt=0)] | None = 5.0
    prototypes: Literal["random", "mean"] = "random"
    batchnorm: Literal["train", "frozen"] = "train"


class LocalConfig(Settings):
    """Local training of a client in a round; ``steps`` of ``batch_size`` images take the place of its epochs."""

    epochs: Literal["adaptive"] | Annotated[int, Field(ge=1)] = "adaptive"
    first_epochs: Annotated[int, Field(ge=1)] = 10
    least_epochs: Annotated[int, Field(ge=1)] = 4
    steps: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=1)] = 256
    learning_rate: Positive = 1e-3
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    decay_at: Annotated[float, Field(gt=0, le=1)] = 0.75
    decay_factor: Share = 0.1
    decay_rounding: Literal["up", "down"] = "up"
    decay_epoch_first_round: Annotated[int, Field(ge=1)] | None = None
    loss: str = "cosface"
    scale: Positive = 30.0
    margin: Annotated[float, Field(ge=0)] = 0.4
    flip: bool = True

    def epochs_in(self, round_number: int) -> int:
        """Return the local epochs E_t of a round (1, 2, …): 10, 8, 6, 4, 4, … for ``adaptive`` with the defaults.

        E_t never increases: if ``first_epochs`` ≤ ``least_epochs``, every round has ``first_epochs``.
        """
        if self.epochs == "adaptive":
            return max(min(self.first_epochs, self.least_epochs), self.first_epochs - 2 * (round_number - 1))
        return self.epochs


class ServerConfig(Settings):
    """Server optimizer: the mean of the clients (FedAvg), or FedAvgM or FedAdam with the mean update as the gradient.

    ``beta1``, ``beta2``, ``tau`` as in Reddi et al. (ICLR 2021); ``momentum`` uses ``beta1``, ``average`` none of them.
    """

    optimizer: Literal["average", "momentum", "adam"] = "average"
    learning_rate: Positive = 1.0
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    tau: Positive = 1e-3


class FederationConfig(Settings):
    """Rounds, participation of clients, and aggregation of their updates."""

    rounds: Annotated[int, Field(ge=1)] = 20
    participation: Share = 1.0
    quorum: Share = 0.5
    weights: Literal["trained", "private"] = "trained"
    batchnorm: Literal["average", "local", "frozen"] = "average"
    average_prototypes: bool = True
    updates: Literal["full", "bf16", "int8"] = "full"
    largest_change: Positive = 1000.0
    largest_count: Annotated[int, Field(ge=1)] = 10_000_000
    server: ServerConfig = ServerConfig()
    keep_rounds: Annotated[int, Field(ge=1)] = 2
