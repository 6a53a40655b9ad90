"""Objects that a configuration alone determines: method, local training, compute settings, model contract."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Mapping

import torch

from fedfr.config.loading import merge
from fedfr.config.schema import ExperimentConfig, LocalConfig, MethodSettings, validate
from fedfr.core.errors import FedfrError
from fedfr.experiments.devices import check_device, open_device
from fedfr.federation.method import Method
from fedfr.losses import LOSSES
from fedfr.methods import METHODS
from fedfr.models import BACKBONES, Contract
from fedfr.training.bf16_screening import has_fast_bf16
from fedfr.training.features import Compute

__all__ = ["generic_contract", "local_training", "make_compute", "make_method", "with_loss", "with_method"]


def make_compute(config: ExperimentConfig, worker: int = 0) -> Compute:
    """Return preprocessing, device and precision; raises :class:`FedfrError` for a missing device or compiler.

    Several devices are assigned to workers in turn. Warns of bfloat16 on a device that emulates it.
    """
    if config.runtime.compile and not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        raise FedfrError("runtime.compile = true needs a C++ compiler; install g++ or leave it false")
    names = config.runtime.devices
    for name in names:
        check_device(name, "runtime.device")
    device = open_device(names[worker % len(names)], "runtime.device")
    bf16 = config.runtime.precision == "bf16"
    if bf16 and not has_fast_bf16(device):
        # On a CPU with AVX2 alone, a training step of MobileFaceNet took 14 times as long as in fp32.
        warnings.warn(
            f"runtime.precision = bf16, for which {device} has no instructions: emulated, it takes ten times as long "
            "as fp32 and more; use fp32 here",
            UserWarning,
            stacklevel=2,
        )
    spec = BACKBONES[config.model.backbone]
    return Compute(spec.preprocessing, device, bf16, config.runtime.compile)


def make_method(config: ExperimentConfig, name: str) -> Method:
    """Return the named method: the main method with its settings, or a baseline with its own.

    A baseline shares the settings common to all methods with the main method, and a variant of the main method shares
    all of them, so that an ablation differs from it in nothing else.
    """
    settings, kind = config.method.settings, METHODS[name]
    if name != config.method.name:
        if not issubclass(kind.settings_type, METHODS[config.method.name].settings_type):
            settings = {key: value for key, value in settings.items() if key in MethodSettings.model_fields}
        own = config.baseline_settings.get(name, {})
        settings = merge(settings, {key: value for key, value in own.items() if key != "local"})
    return kind(settings, f"method {name}")


def with_method(config: ExperimentConfig, method: type[Method] | Method) -> ExperimentConfig:
    """Return the configuration with another method, given as a class or an instance with its settings.

    Settings that every method has are kept where an instance does not state them; ``local`` is kept as well.
    """
    given = method.settings.model_dump(mode="json", exclude_unset=True) if isinstance(method, Method) else {}
    name = METHODS.name_of(type(method) if isinstance(method, Method) else method)
    old = config.method.model_dump(mode="json")
    if name != config.method.name:
        old = {key: value for key, value in old.items() if key in (*MethodSettings.model_fields, "local")}
    others = [each for each in config.baselines if each != name]
    own = {each: value for each, value in config.baseline_settings.items() if each in others}
    tree = config.model_dump(mode="json") | {"baselines": others, "baseline_settings": own}
    return validate(ExperimentConfig, tree | {"method": merge(old, given) | {"name": name}}, f"method {name}")


def with_loss(config: ExperimentConfig, loss: Callable[..., torch.Tensor]) -> ExperimentConfig:
    """Return the configuration with a function in the place of ``local.loss``; it holds for the main method as well."""
    tree = config.model_dump(mode="json")
    tree["local"]["loss"] = name = LOSSES.name_of(loss)
    tree["method"]["local"].pop("loss", None)
    return validate(ExperimentConfig, tree, f"loss {name}")


def local_training(config: ExperimentConfig, name: str) -> LocalConfig:
    """Return the local training of the named method: the run's ``local`` with the method's own settings."""
    main = name == config.method.name
    own = config.method.local if main else config.baseline_settings.get(name, {}).get("local", {})
    if not isinstance(own, Mapping):
        raise FedfrError(
            f"local training of {name} = {own!r}; give settings of `local`, such as {{learning_rate: 0.01}}"
        )
    return validate(LocalConfig, merge(config.local.model_dump(), own), f"local training of {name}")


def generic_contract(config: ExperimentConfig, space: str, role: str = "generic") -> Contract:
    """Return the preprocessing contract of a model of this run."""
    spec = BACKBONES[config.model.backbone]
    return Contract(config.model.backbone, spec.embedding_dim, spec.preprocessing, space, role)
