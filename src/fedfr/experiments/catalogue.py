"""Lists of registered methods, losses, backbones, protocols, presets, benchmarks and scenarios."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedfr.core.registry import OWN, Registry

__all__ = [
    "list_backbones",
    "list_benchmarks",
    "list_importers",
    "list_losses",
    "list_methods",
    "list_presets",
    "list_protocols",
    "list_scenarios",
    "list_splits",
]


def _rows(registry: Registry[Any]) -> list[dict[str, str]]:
    return [
        {"name": entry.name, "description": entry.description, "paper": entry.paper}
        | ({} if entry.origin == OWN else {"origin": entry.origin})
        for entry in registry
    ]


def list_methods() -> list[dict[str, str]]:
    """List federated methods and baselines: name, description, paper.

    >>> from fedfr import list_methods
    >>> [row["name"] for row in list_methods()][:4]
    ['pretrained', 'local', 'centralized', 'fedavg']
    """
    from fedfr.methods import METHODS

    return _rows(METHODS)


def list_losses() -> list[dict[str, str]]:
    """List losses for `local.loss` and `pretrain.loss`: name, description, paper.

    >>> from fedfr import list_losses
    >>> [row["name"] for row in list_losses()][:2]
    ['cosface', 'arcface']
    """
    from fedfr.losses.loss_registry import LOSSES

    return _rows(LOSSES)


def list_backbones() -> list[dict[str, str]]:
    """List backbones, the networks that map a face to a feature: name, description, paper.

    >>> from fedfr import list_backbones
    >>> [row["name"] for row in list_backbones()][:4]
    ['sphereface20', 'sphereface64', 'iresnet18', 'iresnet34']
    """
    from fedfr.models.backbone_registry import BACKBONES

    return _rows(BACKBONES)


def list_protocols() -> list[dict[str, str]]:
    """List evaluation protocols: name, description, paper.

    >>> from fedfr import list_protocols
    >>> [row["name"] for row in list_protocols()][:4]
    ['personalized-1:1', 'personalized-1:N', 'generic-1:1', 'generic-1:N']
    """
    from fedfr.evaluation.protocols import PROTOCOLS

    return _rows(PROTOCOLS)


def list_importers() -> list[dict[str, str]]:
    """List sources of faces: name, description, paper."""
    from fedfr.faces import IMPORTERS

    return _rows(IMPORTERS)


def list_splits() -> list[dict[str, str]]:
    """List recipes that divide faces among public set, clients and unseen identities."""
    from fedfr.faces import SPLITS

    return _rows(SPLITS)


def list_presets() -> list[dict[str, str]]:
    """List the configurations inside the package."""
    from fedfr.config.schema import PRESETS

    return [{"name": name, "description": description, "paper": ""} for name, description in PRESETS.items()]


def list_benchmarks() -> list[dict[str, str]]:
    """List the benchmarks inside the package."""
    from fedfr.config.loading import BENCHMARKS

    return [{"name": name, "description": description, "paper": ""} for name, description in BENCHMARKS.items()]


def list_scenarios() -> list[dict[str, str]]:
    """List the scenarios of the package's benchmarks: axis, points, and methods compared by default."""
    from fedfr.config.loading import BENCHMARKS, read_benchmark

    return [
        {"name": name, "benchmark": benchmark, "description": f"{benchmark}: {_along(scenario)}", "paper": ""}
        for benchmark in BENCHMARKS
        for name, scenario in read_benchmark(benchmark).get("scenarios", {}).items()
    ]


def _along(scenario: Mapping[str, Any]) -> str:
    points = dict.fromkeys(str(cell.get("at", name)) for name, cell in scenario["cells"].items())
    return f"{scenario['axis']} ({', '.join(points)}); {', '.join(scenario['methods'])}"
