"""Schema of a run's settings: a validated, immutable tree, read from YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from fedfr.config.faces_config import COMMON_SPLIT_SETTINGS, FacesConfig, FaceSource, SplitConfig
from fedfr.config.loading import (
    PRESETS,
    absolute_paths,
    merge,
    parse_overrides,
    read_preset,
    read_settings_file,
    with_source_groups,
)
from fedfr.config.training_config import (
    FederationConfig,
    LocalConfig,
    ModelConfig,
    Positive,
    PretrainConfig,
    PrivacyConfig,
    ServerConfig,
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
    "PrivacyConfig",
    "Report",
    "RuntimeConfig",
    "ServerConfig",
    "Settings",
    "SplitConfig",
    "device_fault",
    "load_config",
    "parse_overrides",
    "validate",
]


Rate = Annotated[float, Field(gt=0, lt=1)]

_DEVICE = re.compile(r"cpu(:\d+)?|cuda(:\d+)?", re.ASCII)
"""Allowed device names; other kinds of devices do not support all operations that are needed, such as float64."""


def _distinct(rates: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(rates)) < len(rates):
        raise ValueError("give each rate once")
    return rates


Rates = Annotated[tuple[Rate, ...], Field(min_length=1), AfterValidator(_distinct)]


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


Scoring = Literal["plain", "flip", "as-norm", "flip+as-norm"]

_SET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", re.ASCII)


def _files_by_name(given: Any) -> Any:
    """Check verification sets: a mapping of names, which title results and files of tables, to paths."""
    if not isinstance(given, Mapping) or not all(isinstance(path, str) and path for path in given.values()):
        raise ValueError("give the path of each verification set by a name, for example {lfw: lfw.bin}")
    seen: set[str] = set()
    for name in given:
        if not isinstance(name, str) or not _SET_NAME.fullmatch(name):
            raise ValueError(f"name {name!r}: give at most 40 letters, digits, hyphens and underscores")
        if name in get_args(Scoring):
            raise ValueError(f"name {name!r} is that of a scoring; give another one")
        if (plain := name.casefold().replace("_", "-")) in seen:
            raise ValueError(f"name {name!r} differs from another only in case, hyphens or underscores; rename one")
        seen.add(plain)
    return given


class EvaluationConfig(Settings):
    """Error rates of the reported metrics, computation of verification thresholds, and evaluated rounds.

    ``every``: interval in rounds, 0 for the last round only. ``protocols``: protocols of other packages, run in
    addition to fedfr's own. ``scoring``: comparisons of images that every protocol is run with. ``people``: keep the
    outcomes of every test person, from which intervals over people are computed. ``cohort``: largest number of public
    identities, with one image each, by which scores are normalized. ``sets``: verification sets, ``.bin`` files by
    name, that every generic model is evaluated on.
    """

    fars: Rates = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
    fpirs: Rates = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
    verification: Literal["exact", "binned"] = "exact"
    every: Annotated[int, Field(ge=0)] = 0
    protocols: tuple[str, ...] = ()
    scoring: Annotated[tuple[Scoring, ...], Field(min_length=1)] = ("plain",)
    people: bool = False
    cohort: Annotated[int, Field(ge=2)] = 1000
    sets: Annotated[dict[str, str], BeforeValidator(_files_by_name)] = Field(default_factory=dict)


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


Report = Literal["none", "losses", "all"]
"""Metrics that a site reports beside its update."""


class DeploymentConfig(Settings):
    """Settings for clients on other machines; they do not change results.

    Waiting times of the server in seconds. ``join``: for all clients to be ready in the first round. ``hello``: for a
    machine to report its client id. ``deadline``: for the replies of a round. ``stage_deadline``: for the replies of
    each stage of a secure sum. ``poll``: interval between two checks for replies. ``remedy``: what a site does with its
    own models after a person was forgotten, as part of the agreement: ``retrain`` removes them, ``note`` keeps them
    without the person's rows. ``report``: metrics that sites report beside their updates, as part of the agreement:
    ``none``, mean ``losses``, or ``all``.
    """

    join: Annotated[float, Field(ge=0)] = 600.0
    hello: Positive = 120.0
    deadline: Positive = 7200.0
    stage_deadline: Positive = 600.0
    poll: Positive = 1.0
    remedy: Literal["note", "retrain"] = "note"
    report: Report = "none"


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
    privacy: PrivacyConfig = PrivacyConfig()
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
        unknown = sorted(self.baseline_settings.keys() - set(self.baselines))
        if unknown:
            raise ValueError(
                f"baseline_settings of {unknown}, which are not among the baselines {list(self.baselines)}"
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
            content = read_settings_file(Path(source))
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
