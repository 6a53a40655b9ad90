"""Registries: every entry resolves, and an unknown name suggests the nearest one."""

from __future__ import annotations

import pytest
from torch import nn

from fedfr.core.errors import FedfrError
from fedfr.core.registry import Entry, Registry
from fedfr.evaluation.protocols import PROTOCOLS
from fedfr.federation.method import Method
from fedfr.methods import METHODS
from fedfr.models import BackboneSpec
from fedfr.models.backbone_registry import BACKBONES

LATE = [
    *((METHODS, name, "fedfr.methods.") for name in METHODS.names),
    *((BACKBONES, name, "fedfr.models.backbones.") for name in BACKBONES.names),
    *((PROTOCOLS, name, "fedfr.evaluation.protocols.") for name in PROTOCOLS.names),
]


@pytest.mark.parametrize(("registry", "name", "package"), LATE)
def test_lazy_entries_are_in_their_own_package(registry: Registry[object], name: str, package: str) -> None:
    """Lazily imported entries are in the package of their registry; import rules cannot check names in texts."""
    home = registry.entry(name).value
    assert isinstance(home, str)
    assert home.startswith(package)
    assert registry[name] is registry[name]


def test_lazy_values_have_the_kind_of_their_registry() -> None:
    assert all(issubclass(METHODS[name], Method) for name in METHODS.names)
    assert all(isinstance(BACKBONES[name], BackboneSpec) for name in BACKBONES.names)
    assert all(callable(PROTOCOLS[name]) for name in PROTOCOLS.names)


def test_entries_may_hold_values() -> None:
    registry: Registry[type[nn.Module]] = Registry("layer", (Entry("linear", nn.Linear, "dense"),))
    assert registry["linear"] is nn.Linear
    assert "linear" in registry
    assert [entry.description for entry in registry] == ["dense"]


def test_errors_suggest_the_nearest_name() -> None:
    with pytest.raises(FedfrError, match=r"unknown method 'fedavgg'; did you mean 'fedavg'\? known: published"):
        METHODS["fedavgg"]
    with pytest.raises(FedfrError, match=r"unknown protocol 'xyz'; known: personalized-1:1"):
        PROTOCOLS["xyz"]


def test_duplicate_names_are_refused() -> None:
    with pytest.raises(ValueError, match="two layer entries share a name"):
        Registry("layer", (Entry("a", 1, "one"), Entry("a", 2, "two")))
