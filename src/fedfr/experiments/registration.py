"""Code of other packages in a run: registering it by name, and the names that configurations store for it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, overload

from fedfr.config.schema import ExperimentConfig, validate
from fedfr.core.errors import FedfrError
from fedfr.core.lazy import resolve
from fedfr.core.named_objects import is_dotted
from fedfr.core.registry import Registry

__all__ = [
    "Register",
    "check_portable",
    "foreign_names",
    "register_aggregation",
    "register_backbone",
    "register_importer",
    "register_loss",
    "register_method",
    "register_protocol",
    "register_split",
    "stored_config",
    "stored_names",
]

V = TypeVar("V")
C = TypeVar("C", bound=Callable[..., Any])

_METHODS, _BACKBONES = "fedfr.methods:METHODS", "fedfr.models.backbone_registry:BACKBONES"
_LOSSES, _PROTOCOLS = "fedfr.losses:LOSSES", "fedfr.evaluation.protocols:PROTOCOLS"
_IMPORTERS, _SPLITS = "fedfr.faces:IMPORTERS", "fedfr.faces:SPLITS"
_AGGREGATIONS = "fedfr.federation.rule_registry:AGGREGATIONS"

_PLACES: Mapping[tuple[str, ...], str] = {
    ("method", "name"): _METHODS,
    ("baselines",): _METHODS,
    ("baseline_settings",): _METHODS,
    ("baseline_settings", "*", "local", "loss"): _LOSSES,
    ("method", "local", "loss"): _LOSSES,
    ("local", "loss"): _LOSSES,
    ("pretrain", "loss"): _LOSSES,
    ("model", "backbone"): _BACKBONES,
    ("evaluation", "protocols"): _PROTOCOLS,
    ("faces", "source"): _IMPORTERS,
    ("faces", "public", "source"): _IMPORTERS,
    ("faces", "private", "source"): _IMPORTERS,
    ("faces", "generic", "source"): _IMPORTERS,
    ("split", "recipe"): _SPLITS,
    ("federation", "aggregation"): _AGGREGATIONS,
}
"""Settings that hold names of registries: a name, a list of names, or settings by name (``*``)."""


class Register:
    """Registers an object of another package under a name, as a decorator or as a call.

    The name is valid in this process. Stored configurations name the module and the object instead, so that other
    processes (workers, ``fedfr resume``) import it. Without a name the object's own is used: ``my-method`` for
    ``MyMethod``. Raises :class:`FedfrError` for a name that is taken and for an object of another kind.
    """

    def __init__(self, registry: str, example: str) -> None:
        self._registry = registry
        self.__doc__ = f"{type(self).__doc__}\n    Example:\n{example}"

    @overload
    def __call__(self, name: str, /, *, description: str = "", paper: str = "") -> Callable[[V], V]: ...

    @overload
    def __call__(self, name: str, value: V, /, *, description: str = "", paper: str = "") -> V: ...

    @overload
    def __call__(self, value: C, /, *, description: str = "", paper: str = "") -> C: ...

    def __call__(self, *given: Any, description: str = "", paper: str = "") -> Any:
        """Register ``value`` under ``name``; without a value return a decorator."""
        module = str(sys._getframe(1).f_globals.get("__name__", ""))
        registry: Registry[Any] = resolve(self._registry)

        def register(name: str, value: Any) -> Any:
            registry.register(name, value, description, paper, module)
            return value

        if len(given) == 1 and isinstance(given[0], str):
            return lambda value: register(given[0], value)
        if len(given) == 1:
            own = getattr(given[0], "__name__", None)
            if not isinstance(own, str):
                raise FedfrError(f"{registry.kind} {given[0]!r} has no name of its own; give the name first")
            return register(re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", "-", own).lower(), given[0])
        return register(*given)


register_method = Register(
    _METHODS,
    """
    >>> import fedfr
    >>> from fedfr.methods.fedavg import FedAvg
    >>> @fedfr.register_method("my-average", description="FedAvg under another name")
    ... class MyAverage(FedAvg):
    ...     pass
    >>> "my-average" in fedfr.methods.METHODS
    True
    """,
)
register_loss = Register(
    _LOSSES,
    """
    >>> import torch
    >>> import fedfr
    >>> @fedfr.register_loss("my-softmax")
    ... def my_softmax(features, prototypes, scale):
    ...     return scale * fedfr.losses.cosine(features, prototypes)  # the logits
    >>> "my-softmax" in fedfr.losses.LOSSES  # for local.loss and pretrain.loss
    True
    """,
)
register_backbone = Register(
    _BACKBONES,
    """
    >>> import fedfr
    >>> from torch import nn
    >>> from fedfr.models import BackboneSpec
    >>> def tiny() -> nn.Module:
    ...     return nn.Sequential(nn.Flatten(), nn.LazyLinear(64))
    >>> spec = fedfr.register_backbone("my-tiny", BackboneSpec(tiny, embedding_dim=64))
    >>> fedfr.models.BACKBONES["my-tiny"].embedding_dim
    64
    """,
)
register_aggregation = Register(
    _AGGREGATIONS,
    """
    >>> import fedfr
    >>> from fedfr.federation.rule_registry import AGGREGATIONS
    >>> @fedfr.register_aggregation("my-midrange")
    ... def my_midrange(values):
    ...     return (values.amin(dim=0) + values.amax(dim=0)) / 2
    >>> "my-midrange" in AGGREGATIONS  # for federation.aggregation
    True
    """,
)
register_protocol = Register(
    _PROTOCOLS,
    """
    >>> import fedfr
    >>> from fedfr.evaluation import Metric
    >>> @fedfr.register_protocol("image-count")
    ... def image_count(features, labels, config):
    ...     return [Metric("images", float(len(features)), 0, 0, 0)]
    >>> "image-count" in fedfr.evaluation.PROTOCOLS
    True
    """,
)
register_importer = Register(
    _IMPORTERS,
    """
    >>> import numpy as np
    >>> import fedfr
    >>> @fedfr.register_importer("grey-squares")
    ... def grey_squares(path):
    ...     images = np.full((4, 112, 112, 3), 128, np.uint8)
    ...     return fedfr.FaceSet(images, [0, 0, 1, 1], ("anna", "ben"))
    >>> "grey-squares" in fedfr.faces.IMPORTERS
    True
    """,
)
register_split = Register(
    _SPLITS,
    """
    >>> import fedfr
    >>> @fedfr.register_split("two-public")
    ... def two_public(faces, *, clients: int = 2, seed: int = 0):
    ...     return fedfr.make_split(
    ...         faces, "general", public_identities=2, clients=clients, identities_per_client=2, test_count=1, seed=seed
    ...     )
    >>> "two-public" in fedfr.faces.SPLITS
    True
    """,
)


def stored_names(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree of settings with registered names replaced by the names that other processes can import."""
    return {key: _stored(value, (key,)) for key, value in tree.items()}


def _stored(value: Any, place: tuple[str, ...]) -> Any:
    home = _PLACES.get(place)
    if home is None:
        if isinstance(value, Mapping) and _leads_to_names(place):
            return {key: _stored(each, (*place, key)) for key, each in value.items()}
        several = isinstance(value, list | tuple) and _leads_to_names(place)
        return [_stored(each, place) for each in value] if several else value
    registry: Registry[Any] = resolve(home)
    if isinstance(value, str):
        return registry.stored_name(value)
    if isinstance(value, Mapping):
        return {registry.stored_name(str(name)): _stored(each, (*place, "*")) for name, each in value.items()}
    if isinstance(value, Sequence):
        return [registry.stored_name(name) if isinstance(name, str) else name for name in value]
    return value


def _leads_to_names(place: tuple[str, ...]) -> bool:
    return any(known[: len(place)] == place for known in _PLACES)


def stored_config(config: ExperimentConfig) -> ExperimentConfig:
    """Return the configuration as :func:`stored_names` has it; the same object where nothing changes."""
    tree = config.model_dump(mode="json")
    stored = stored_names(tree)
    return config if stored == tree else validate(ExperimentConfig, stored, "configuration")


def check_portable(config: ExperimentConfig) -> None:
    """Raise :class:`FedfrError` for a name of the run that worker processes cannot import."""
    for home, name in _names(config.model_dump(mode="json"), ()):
        registry: Registry[Any] = resolve(home)
        registry.check_portable(name)


def foreign_names(config: ExperimentConfig) -> tuple[str, ...]:
    """Return the names of the run that denote objects of other packages and can be imported, each once."""
    found = [name for home, name in _names(config.model_dump(mode="json"), ()) if name not in resolve(home).builtin]
    return tuple(name for name in dict.fromkeys(found) if is_dotted(name))


def _names(value: Any, place: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Every name in a tree of settings, with the place of its registry."""
    home = _PLACES.get(place)
    if home is not None:
        yield from ((home, name) for name in ([value] if isinstance(value, str) else value or ()))
        for each in value.values() if isinstance(value, Mapping) else ():
            yield from _names(each, (*place, "*"))
    elif isinstance(value, Mapping) and _leads_to_names(place):
        for key, each in value.items():
            yield from _names(each, (*place, key))
    elif isinstance(value, list) and _leads_to_names(place):
        for each in value:
            yield from _names(each, place)
