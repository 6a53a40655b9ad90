"""Schema of a run's settings: a validated, immutable tree, read from YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from fedfr.config.loading import (
    PRESETS,
    absolute_paths,
    merge,
    parse_overrides,
    read_file,
    read_preset,
    with_source_groups,
)
from fedfr.core.settings import Settings, validate

__all__ = [
    "COMMON_SPLIT_SETTINGS",
    "PRESETS",
    "DeploymentConfig",
    "EvaluationConfig",
    "ExperimentConfig",
    "FaceSource",
    "FacesConfig",
    "FederationConfig",
    "LocalConfig",
    "MethodConfig",
    "MethodSettings",
    "ModelConfig",
    "PretrainConfig",
    "RuntimeConfig",
    "ServerConfig",
    "Settings",
    "SplitConfig",
    "device_fault",
    "load_config",
    "parse_overrides",
    "validate",
]

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Rate = Annotated[float, Field(gt=0, lt=1)]


_DEVICE = re.compile(r"cpu(:\d+)?|cuda(:\d+)?", re.ASCII)
"""Allowed device names; other kinds of devices do not support all operations that are needed, such as float64."""


def _distinct(rates: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(rates)) < len(rates):
        raise ValueError("give each rate once")
    return rates


Rates = Annotated[tuple[Rate, ...], Field(min_length=1), AfterValidator(_distinct)]


class FaceSource(Settings):
    """One of several face sets: name of its importer, path, name of the set, and identities to exclude.

    ``exclude``: a text file with an identity's name in the first column of each line.
    """

    source: str = "folder"
    path: str | None = None
    name: str | None = None
    exclude: str | None = None


def _from_path(given: Any) -> Any:
    return {"path": given} if isinstance(given, str) else given


def _several(given: Any) -> Any:
    """Return a list of private sets from one set or a list; a path alone stands for a set."""
    if given is None:
        return ()
    return [_from_path(each) for each in (given if isinstance(given, list | tuple) else [given])]


class FacesConfig(Settings):
    """Source of the faces: name of an importer and, where it reads files, their path; or several face sets.

    ``public``, ``private`` (one or several) and ``generic`` replace ``source`` and ``path``. ``overlap`` determines the
    handling of people who are in two sets; ``compare_with`` names a model by whose features such people are found.
    """

    source: str = "folder"
    path: str | None = None
    public: Annotated[FaceSource | None, BeforeValidator(_from_path)] = None
    private: Annotated[tuple[FaceSource, ...], BeforeValidator(_several)] = ()
    generic: Annotated[FaceSource | None, BeforeValidator(_from_path)] = None
    overlap: Literal["refuse", "drop", "distinct"] = "refuse"
    compare_with: str | None = None

    @model_validator(mode="after")
    def _one_set_or_several(self) -> FacesConfig:
        if self.sets and self.path is not None:
            raise ValueError("give either faces.path, or faces.public, faces.private and faces.generic")
        if not self.sets and self.compare_with is not None:
            raise ValueError(
                "faces.compare_with compares several face sets; give faces.public, faces.private or faces.generic"
            )
        names = [name.casefold() for name, _, _ in self.sets]
        if len(set(names)) < len(names):
            raise ValueError(f"two face sets have the same name ({', '.join(names)}); give each a different name")
        return self

    @property
    def sets(self) -> tuple[tuple[str, str, FaceSource], ...]:
        """Name, role and source of each of several face sets; empty for the single-set form.

        A set without a name has the name of its role; several private ones are ``private-1``, ``private-2`` and so on.
        """
        several = len(self.private) > 1
        named = [
            *([("public", "public", self.public)] if self.public else []),
            *(
                (f"private-{number}" if several else "private", "private", own)
                for number, own in enumerate(self.private, 1)
            ),
            *([("generic", "generic", self.generic)] if self.generic else []),
        ]
        return tuple((own.name or name, role, own) for name, role, own in named)


COMMON_SPLIT_SETTINGS = ("duplicates", "exclude")
"""Settings that every split recipe has."""


class SplitConfig(Settings):
    """Split of the images: a recipe with its settings, or a saved manifest."""

    recipe: str = "general"
    manifest: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)


class ModelConfig(Settings):
    """Backbone, and the checkpoint to start from (``scratch``: pre-train on the public images)."""

    backbone: str = "slimface"
    start: str = "scratch"


class PretrainConfig(Settings):
    """Pre-training on the public images before the first round."""

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


class LocalConfig(Settings):
    """Local training of a client in a round."""

    epochs: Literal["adaptive"] | Annotated[int, Field(ge=1)] = "adaptive"
    first_epochs: Annotated[int, Field(ge=1)] = 10
    least_epochs: Annotated[int, Field(ge=1)] = 4
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


class MethodConfig(BaseModel):
    """Name of a method, with its own settings, which the method validates.

    ``local``: settings of :class:`LocalConfig` that override those of the run for this method.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = "fedfr"
    local: dict[str, Any] = Field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """The method's own settings, without the name and ``local``."""
        return dict(self.model_extra or {})


class MethodSettings(Settings):
    """Settings common to all methods; baselines take them from the main method."""

    prototypes: Literal["mean-feature", "random"] = "mean-feature"


class EvaluationConfig(Settings):
    """Error rates of the reported metrics, computation of verification thresholds, and evaluated rounds.

    ``every``: interval in rounds, 0 for the last round only. ``protocols``: protocols of other packages, run in
    addition to fedfr's own.
    """

    fars: Rates = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
    fpirs: Rates = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
    verification: Literal["exact", "binned"] = "exact"
    every: Annotated[int, Field(ge=0)] = 0
    protocols: tuple[str, ...] = ()


def device_fault(name: str) -> str | None:
    """Return why ``name`` is not a device that fedfr can use, None if it is one."""
    if name.partition(":")[0] == "mps":
        return f"{name!r} cannot be used: Apple's GPU has no double precision, which fedfr needs; use cpu"
    if _DEVICE.fullmatch(name):
        return None
    return f"{name!r} is not a known device; give cpu, cuda, or cuda:0, cuda:1, …"


def _usable(text: str) -> str:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        fault = device_fault(name)
        if fault is not None:
            raise ValueError(fault)
    if len({name.partition(":")[0] for name in names}) > 1:
        raise ValueError("several devices must be of one kind, so that results do not depend on the device of a client")
    return text


class RuntimeConfig(Settings):
    """Precision, devices and processes; ``workers`` and ``public_features`` alone never change the bits of results."""

    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    device: Annotated[str, AfterValidator(_usable)] = "cpu"
    threads: Annotated[int, Field(ge=1)] = 1
    workers: Annotated[int, Field(ge=1)] = 1
    public_features: Literal["float32", "half"] = "float32"

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices listed in ``device``, separated by commas; the run uses the first, the workers share all."""
        return tuple(name.strip() for name in self.device.split(","))


class DeploymentConfig(Settings):
    """Waiting times of the server in seconds if clients are on other machines; they do not change results.

    ``join``: for all clients to be ready in the first round. ``hello``: for a machine to report its client id.
    ``deadline``: for the replies of a round. ``poll``: interval between two checks for replies.
    """

    join: Annotated[float, Field(ge=0)] = 600.0
    hello: Positive = 120.0
    deadline: Positive = 7200.0
    poll: Positive = 1.0


class ExperimentConfig(Settings):
    """Configuration of an experiment: faces, split, model, training, method, baselines, evaluation, runtime.

    >>> from fedfr import ExperimentConfig
    >>> config = ExperimentConfig(seed=3)
    >>> config.method.name, config.federation.rounds, config.baselines
    ('fedfr', 20, ('local', 'centralized'))
    """

    preset: str | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    faces: FacesConfig = FacesConfig()
    split: SplitConfig = SplitConfig()
    model: ModelConfig = ModelConfig()
    pretrain: PretrainConfig = PretrainConfig()
    local: LocalConfig = LocalConfig()
    federation: FederationConfig = FederationConfig()
    method: MethodConfig = MethodConfig()
    baselines: tuple[str, ...] = ("local", "centralized")
    baseline_settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    evaluation: EvaluationConfig = EvaluationConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    deployment: DeploymentConfig = DeploymentConfig()

    @model_validator(mode="after")
    def _no_baseline_twice(self) -> ExperimentConfig:
        names = [self.method.name, *self.baselines]
        if len(set(names)) != len(names):
            raise ValueError(f"baselines {list(self.baselines)} repeat a method ({self.method.name} is the main one)")
        strange = sorted(self.baseline_settings.keys() - set(self.baselines))
        if strange:
            raise ValueError(
                f"baseline_settings of {strange}, which are not among the baselines {list(self.baselines)}"
            )
        return self

    def __repr__(self) -> str:
        rounds, others = self.federation.rounds, len(self.baselines)
        return (
            f"ExperimentConfig({self.method.name}, {self.model.backbone}, {rounds} rounds, {others} baselines, "
            f"seed {self.seed})"
        )

    def __str__(self) -> str:
        return repr(self)


def load_config(source: str | Path | None, overrides: Sequence[str] | Mapping[str, Any] = ()) -> ExperimentConfig:
    """Read a YAML file or preset and apply overrides: ``a.b=c`` texts, or nested settings.

    ``source`` is the name of a preset, a path, or None for the defaults. A file may name a ``preset:`` to build on.
    Paths in a file are relative to that file, paths in overrides to the current directory. Changing ``method.name`` or
    ``split.recipe`` drops the old one's settings. Raises :class:`FedfrError` for unknown settings and bad values.

    >>> from fedfr import load_config
    >>> config = load_config("quickstart", ["federation.rounds=5", "method.name=fedavg"])
    >>> config.federation.rounds, config.method.name, config.faces.source
    (5, 'fedavg', 'orl')
    """
    layers: list[dict[str, Any]] = []
    if source is not None:
        if str(source) in PRESETS and not Path(source).is_file():
            layers.append(read_preset(str(source)))
        else:
            content = read_file(Path(source))
            preset = content.get("preset")
            layers += [content] if preset is None else [read_preset(str(preset)), content]
    given = overrides if isinstance(overrides, Mapping) else parse_overrides(overrides)
    layers.append(absolute_paths(given, Path.cwd()))
    tree: dict[str, Any] = {"method": {"name": MethodConfig().name}, "baselines": ExperimentConfig().baselines}
    for layer in map(with_source_groups, layers):
        tree = merge(_without_other_recipe(_without_other_method(tree, layer), layer), layer)
    return validate(ExperimentConfig, tree, "defaults" if source is None else str(source))


def _without_other_method(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``below`` without the old method's settings and the repeated baseline if ``above`` changes the method."""
    old, new = below["method"], above.get("method")
    if not isinstance(old, Mapping) or not isinstance(new, Mapping) or new.get("name", old["name"]) == old["name"]:
        return below
    kept = {name: value for name, value in old.items() if name in MethodSettings.model_fields}
    baselines = below["baselines"]
    if isinstance(baselines, Sequence) and not isinstance(baselines, str):
        baselines = [name for name in baselines if name != new["name"]]
    return {**below, "method": kept, "baselines": baselines}


def _without_other_recipe(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``below`` without the old recipe's settings, other than those of all recipes, if ``above`` changes it."""
    old, new = below.get("split"), above.get("split")
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return below
    before = old.get("recipe", SplitConfig().recipe)
    settings = old.get("settings")
    if new.get("recipe", before) == before or not isinstance(settings, Mapping):
        return below
    kept = {name: value for name, value in settings.items() if name in COMMON_SPLIT_SETTINGS}
    return {**below, "split": {**old, "settings": kept}}
