"""What a run is made of: one validated, immutable tree of settings, read from YAML and written back resolved."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fedfr.errors import FedfrError

__all__ = [
    "PRESETS",
    "EvaluationConfig",
    "ExperimentConfig",
    "FacesConfig",
    "FederationConfig",
    "LocalConfig",
    "MethodConfig",
    "ModelConfig",
    "PretrainConfig",
    "RuntimeConfig",
    "Settings",
    "SplitConfig",
    "load_config",
    "parse_overrides",
    "validate",
]

PRESETS: Mapping[str, str] = {
    "quickstart": "FedFR on the 40 people of ORL in minutes on a CPU; the settings were chosen by measurement",
    "lfw-fed": "the project's own benchmark on Labeled Faces in the Wild: 10 clients, 15 identities each",
    "paper": "FedFR as the paper's text has it (AAAI 2022): sphereface64, 40 clients of 100 identities",
    "released": "FedFR as the authors' released code has it, its defects included",
}

S = TypeVar("S", bound=BaseModel)

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Rate = Annotated[float, Field(gt=0, lt=1)]


class Settings(BaseModel):
    """Base of every group of settings: unknown names are errors, values never change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FacesConfig(Settings):
    """Where the faces come from: an importer's name and, for those that read files, the folder."""

    source: str = "folder"
    path: str | None = None


class SplitConfig(Settings):
    """Which recipe divides the faces, with the recipe's own settings, or a manifest saved before."""

    recipe: str = "general"
    manifest: str | None = None
    settings: dict[str, Any] = {}


class ModelConfig(Settings):
    """The backbone, and the checkpoint to start from (``scratch``: pre-train on the public faces)."""

    backbone: str = "slimface"
    start: str = "scratch"


class PretrainConfig(Settings):
    """Central training on the public set before the first round (method, section 2)."""

    epochs: Annotated[int, Field(ge=0)] = 20
    batch_size: Annotated[int, Field(ge=1)] = 128
    learning_rate: Positive = 0.1
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    warmup_epochs: Annotated[int, Field(ge=0)] = 1
    decay_epochs: tuple[int, ...] = ()
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    loss: Literal["cosface", "arcface"] = "cosface"
    scale: Positive = 30.0
    margin: Annotated[float, Field(ge=0)] = 0.4
    clip_norm: Annotated[float, Field(gt=0)] | None = 5.0


class LocalConfig(Settings):
    """One client's local training in a round (method, section 3.4)."""

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
    scale: Positive = 30.0
    margin: Annotated[float, Field(ge=0)] = 0.4
    flip: bool = True

    def epochs_in(self, round_number: int) -> int:
        """Local epochs E_t of the round (1, 2, …): 10, 8, 6, 4, 4, … when adaptive with the defaults."""
        if self.epochs == "adaptive":
            return max(self.least_epochs, self.first_epochs - 2 * (round_number - 1))
        return self.epochs


class FederationConfig(Settings):
    """Rounds, who takes part, and how the server combines what comes back."""

    rounds: Annotated[int, Field(ge=1)] = 20
    participation: Share = 1.0
    quorum: Share = 0.5
    weights: Literal["trained", "private"] = "trained"
    batchnorm: Literal["average", "local", "frozen"] = "average"
    average_prototypes: bool = True
    keep_rounds: Annotated[int, Field(ge=1)] = 2


class MethodConfig(BaseModel):
    """A method's name; its other settings are the method's own and are checked by it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = "fedfr"

    @property
    def settings(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


class EvaluationConfig(Settings):
    """Error rates to report at, how verification thresholds are found, and after which rounds (0: the last only)."""

    fars: tuple[Rate, ...] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
    fpirs: tuple[Rate, ...] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
    verification: Literal["exact", "binned"] = "exact"
    every: Annotated[int, Field(ge=0)] = 0


class RuntimeConfig(Settings):
    """How the work is done; of these only ``precision``, ``device`` and ``threads`` can change a last bit."""

    precision: Literal["fp32", "bf16"] = "fp32"
    device: str = "cpu"
    threads: Annotated[int, Field(ge=1)] = 1
    workers: Annotated[int, Field(ge=1)] = 1
    public_features: Literal["float32", "half"] = "float32"


class ExperimentConfig(Settings):
    """A whole job: faces, split, starting model, method, baselines, evaluation."""

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
    evaluation: EvaluationConfig = EvaluationConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    @model_validator(mode="after")
    def _no_baseline_twice(self) -> ExperimentConfig:
        names = [self.method.name, *self.baselines]
        if len(set(names)) != len(names):
            raise ValueError(f"baselines {list(self.baselines)} repeat a method ({self.method.name} is the main one)")
        return self


def validate(kind: type[S], content: Mapping[str, Any], where: str) -> S:
    """Check ``content`` against a settings class; the first mistake becomes one line naming its place and value."""
    try:
        return kind.model_validate(dict(content))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        if first["type"] == "extra_forbidden":
            raise FedfrError(f"{where}: unknown setting {place!r}; {_known(kind, first['loc'])}") from error
        reason = first["msg"].removeprefix("Value error, ")
        given = "" if isinstance(first["input"], dict) else f" = {first['input']!r}"
        raise FedfrError(f"{where}: {place}{given}: {reason[:1].lower()}{reason[1:]}") from error


def _known(kind: type[BaseModel], place: Sequence[int | str]) -> str:
    for part in place[:-1]:
        field = kind.model_fields.get(str(part))
        if field is None or not isinstance(field.annotation, type) or not issubclass(field.annotation, BaseModel):
            break
        kind = field.annotation
    return f"known here: {', '.join(kind.model_fields)}"


def load_config(source: str | Path | None, overrides: Sequence[str] = (), base: str | None = None) -> ExperimentConfig:
    """Read a YAML file or preset and apply ``a.b=c`` overrides.

    ``source`` is a preset's name, a path, or None for the defaults. A file may name a ``preset:`` it builds on.
    Paths inside a file are relative to that file. Raises :class:`FedfrError` on anything unknown or out of range.
    """
    tree: dict[str, Any] = _preset(base) if base else {}
    where = str(source) if source is not None else (base or "defaults")
    if source is not None:
        if str(source) in PRESETS and not Path(source).is_file():
            tree = _merge(tree, _preset(str(source)))
        else:
            tree = _merge(tree, _read_file(Path(source)))
    return validate(ExperimentConfig, _merge(tree, parse_overrides(overrides)), where)


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """``a.b=c`` texts as one nested mapping; values are read as YAML."""
    tree: dict[str, Any] = {}
    for override in overrides:
        tree = _merge(tree, _parse_override(override))
    return tree


def _preset(name: str) -> dict[str, Any]:
    if name not in PRESETS:
        raise FedfrError(f"unknown preset {name!r}; known: {', '.join(PRESETS)}")
    text = files("fedfr").joinpath("presets", f"{name}.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return {**content, "preset": name}


def _read_file(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise FedfrError(f"configuration {path} does not exist; give a YAML file or a preset: {', '.join(PRESETS)}")
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise FedfrError(f"configuration {path} is not readable YAML ({_reason(error)}); mend the file") from error
    if not isinstance(content, dict):
        raise FedfrError(f"configuration {path} holds {type(content).__name__}; it must be a mapping of settings")
    preset = content.get("preset")
    tree = _merge({} if preset is None else _preset(str(preset)), content)
    _resolve_paths(tree, path.parent)
    return tree


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    return " ".join(str(error).split())


def _resolve_paths(content: dict[str, Any], folder: Path) -> None:
    for group, key in (("faces", "path"), ("split", "manifest"), ("model", "start")):
        settings = content.get(group)
        if not isinstance(settings, dict) or not isinstance(settings.get(key), str):
            continue
        if (group, settings[key]) != ("model", "scratch"):
            settings[key] = os.path.normpath(folder.resolve() / Path(settings[key]).expanduser())


def _parse_override(text: str) -> dict[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise FedfrError(f"--set {text!r} is not of the form a.b=value, for example --set federation.rounds=3")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise FedfrError(f"--set {text!r}: the value is not readable YAML") from error
    if isinstance(parsed, str):
        # YAML 1.1 reads 1e-3 (no point) as text; people write it all the time.
        with contextlib.suppress(ValueError):
            parsed = float(parsed)
    tree: Any = parsed
    for part in reversed(name.strip().split(".")):
        tree = {part: tree}
    return dict(tree)


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged
