"""What can be chosen by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedfr.core.registry import Registry

__all__ = ["list_backbones", "list_benchmarks", "list_methods", "list_presets", "list_protocols", "list_scenarios"]


def _rows(registry: Registry[Any]) -> list[dict[str, str]]:
    return [{"name": entry.name, "description": entry.description, "paper": entry.paper} for entry in registry]


def list_methods() -> list[dict[str, str]]:
    """Federated methods and baselines."""
    from fedfr.methods import METHODS

    return _rows(METHODS)


def list_backbones() -> list[dict[str, str]]:
    """Networks that turn a face into a feature."""
    from fedfr.models.backbone_registry import BACKBONES

    return _rows(BACKBONES)


def list_protocols() -> list[dict[str, str]]:
    """Evaluation protocols."""
    from fedfr.evaluation.protocols import PROTOCOLS

    return _rows(PROTOCOLS)


def list_presets() -> list[dict[str, str]]:
    """Configurations inside the package."""
    from fedfr.config.schema import PRESETS

    return [{"name": name, "description": description, "paper": ""} for name, description in PRESETS.items()]


def list_benchmarks() -> list[dict[str, str]]:
    """Comparisons of methods that the package knows."""
    from fedfr.config.loading import BENCHMARKS

    return [{"name": name, "description": description, "paper": ""} for name, description in BENCHMARKS.items()]


def list_scenarios() -> list[dict[str, str]]:
    """What the benchmarks of the package vary: the axis, its points, the methods compared by default."""
    from fedfr.config.loading import BENCHMARKS, read_benchmark

    return [
        {"name": name, "benchmark": benchmark, "description": f"{benchmark}: {_along(scenario)}", "paper": ""}
        for benchmark in BENCHMARKS
        for name, scenario in read_benchmark(benchmark).get("scenarios", {}).items()
    ]


def _along(scenario: Mapping[str, Any]) -> str:
    points = dict.fromkeys(str(cell.get("at", name)) for name, cell in scenario["cells"].items())
    return f"{scenario['axis']} ({', '.join(points)}); {', '.join(scenario['methods'])}"
