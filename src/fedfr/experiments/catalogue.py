"""Lists of what can be chosen by name: the entries of the registries, presets, benchmarks and scenarios."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedfr.core.lazy import resolve
from fedfr.core.registry import OWN, Registry

__all__ = [
    "REGISTRIES",
    "list_backbones",
    "list_benchmarks",
    "list_importers",
    "list_losses",
    "list_methods",
    "list_presets",
    "list_protocols",
    "list_registry",
    "list_scenarios",
    "list_splits",
]


REGISTRIES: Mapping[str, tuple[str, str]] = {
    "methods": ("fedfr.methods:METHODS", "federated methods and baselines: `method.name`, `baselines`"),
    "losses": ("fedfr.losses:LOSSES", "losses that classify identities: `local.loss`, `pretrain.loss`"),
    "backbones": ("fedfr.models:BACKBONES", "backbones, networks that map a face to a feature: `model.backbone`"),
    "aggregations": (
        "fedfr.federation.rule_registry:AGGREGATIONS",
        "rules that aggregate the updates of the clients: `federation.aggregation`",
    ),
    "protocols": ("fedfr.evaluation:PROTOCOLS", "evaluation protocols: `evaluation.protocols`, `--protocol`"),
    "importers": ("fedfr.faces:IMPORTERS", "sources of faces: `faces.source`, `faces import --importer`"),
    "splits": ("fedfr.faces:SPLITS", "recipes that divide faces: `split.recipe`, `faces split --recipe`"),
    "aligners": ("fedfr.faces.alignment.photographs.aligners:ALIGNERS", "alignment: `faces import --align`"),
    "formats": ("fedfr.faces:EXPORTERS", "formats of a data set: `faces export --format`"),
    "encodings": (
        "fedfr.faces.writers.released_split:ENCODINGS",
        "image encodings: `faces export-recordio --encoding`",
    ),
    "layouts": ("fedfr.models:LAYOUTS", "layouts of exported weights: `models export --layout`"),
    "findings": ("fedfr.audit:FINDING_KINDS", "kinds of findings: `faces audit`"),
    "trackers": ("fedfr.reporting.tracking:TRACKERS", "trackers of a run: `--track`"),
}
"""By kind: the registry, and a description of its entries with the settings and options that name them."""


def list_registry(kind: str) -> list[dict[str, str]]:
    """List the entries of one of :data:`REGISTRIES`: name, description, paper, and origin if it is another package."""
    registry: Registry[Any] = resolve(REGISTRIES[kind][0])
    return [
        {"name": entry.name, "description": entry.description, "paper": entry.paper}
        | ({} if entry.origin == OWN else {"origin": entry.origin})
        for entry in registry
    ]


def list_methods() -> list[dict[str, str]]:
    """List federated methods and baselines: name, description, paper.

    >>> from fedfr import list_methods
    >>> [row["name"] for row in list_methods()][:4]
    ['published', 'pretrained', 'frozen-head', 'local']
    """
    return list_registry("methods")


def list_losses() -> list[dict[str, str]]:
    """List losses for `local.loss` and `pretrain.loss`: name, description, paper.

    >>> from fedfr import list_losses
    >>> [row["name"] for row in list_losses()][:2]
    ['cosface', 'arcface']
    """
    return list_registry("losses")


def list_backbones() -> list[dict[str, str]]:
    """List backbones, the networks that map a face to a feature: name, description, paper.

    >>> from fedfr import list_backbones
    >>> [row["name"] for row in list_backbones()][:4]
    ['sphereface20', 'sphereface64', 'iresnet18', 'iresnet34']
    """
    return list_registry("backbones")


def list_protocols() -> list[dict[str, str]]:
    """List evaluation protocols: name, description, paper.

    >>> from fedfr import list_protocols
    >>> [row["name"] for row in list_protocols()][:4]
    ['personalized-1:1', 'personalized-1:N', 'generic-1:1', 'generic-1:N']
    """
    return list_registry("protocols")


def list_importers() -> list[dict[str, str]]:
    """List sources of faces: name, description, paper."""
    return list_registry("importers")


def list_splits() -> list[dict[str, str]]:
    """List recipes that divide faces among public set, clients and unseen identities."""
    return list_registry("splits")


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
