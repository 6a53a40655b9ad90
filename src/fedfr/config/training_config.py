"""Settings of training: backbone, pre-training, local training, rounds and aggregation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from fedfr.core.settings import Settings

__all__ = [
    "FederationConfig",
    "LocalConfig",
    "ModelConfig",
    "Positive",
    "PretrainConfig",
    "PrivacyConfig",
    "ServerConfig",
]

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


def _off(given: Any) -> Any:
    """Return "off" for false, as which YAML reads the word."""
    return "off" if given is False else given


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
    """Rounds, participation of clients, and aggregation of their updates.

    ``aggregation``: the rule that makes one model of the updates; ``trim`` and ``clip_norm`` are settings of the rules
    ``trimmed`` and ``norm-clipped``. ``prototypes``: clients ``keep`` their trained public prototypes and begin
    every round with the initial ones, or ``share`` them, as the paper does.
    """

    rounds: Annotated[int, Field(ge=1)] = 20
    participation: Share = 1.0
    quorum: Share = 0.5
    weights: Literal["trained", "private", "equal"] = "trained"
    aggregation: str = "mean"
    trim: Annotated[int, Field(ge=1)] = 1
    clip_norm: Positive | None = None
    batchnorm: Literal["average", "local", "frozen"] = "average"
    prototypes: Literal["share", "keep"] = "keep"
    updates: Literal["full", "bf16", "int8"] = "full"
    secure: Annotated[Literal["off", "sum"], BeforeValidator(_off)] = "off"
    secure_threshold: Annotated[int, Field(ge=2)] | None = None
    largest_change: Positive = 1000.0
    largest_count: Annotated[int, Field(ge=1)] = 10_000_000
    server: ServerConfig = ServerConfig()
    keep_rounds: Annotated[int, Field(ge=1)] = 2

    @model_validator(mode="before")
    @classmethod
    def _former_name(cls, given: Any) -> Any:
        """Accept ``average_prototypes`` of earlier configurations; false had the results of ``keep``."""
        if not isinstance(given, Mapping) or type(average := given.get("average_prototypes")) is not bool:
            return given
        if "prototypes" in given:
            raise ValueError("average_prototypes is the former name of prototypes; give prototypes alone")
        rest = {name: value for name, value in given.items() if name != "average_prototypes"}
        return {**rest, "prototypes": "share" if average else "keep"}


class PrivacyConfig(Settings):
    """Differential privacy for an enrolled person in the main method's run.

    ``dp``: ``off``; ``site`` if every client adds the whole noise to what it sends; ``sum`` if clients share the noise
    inside a secure sum. ``colluding``: number of clients that may tell the server their noise, by default a third.
    ``people``: largest number of persons at a client, an agreed number, which is also the weight of its update.
    ``clip``: largest norm of a person's change of the model. ``epsilon`` and ``delta``: budget of a person for all
    rounds. ``hard_negatives``: cosine above which a public image is a hard negative of a person.
    """

    dp: Annotated[Literal["off", "site", "sum"], BeforeValidator(_off)] = "off"
    colluding: Annotated[int, Field(ge=0)] | None = None
    people: Annotated[int, Field(ge=1)] | None = None
    clip: Positive = 1.0
    epsilon: Positive = 8.0
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    hard_negatives: Annotated[float, Field(ge=-1, le=1)] = 0.4
