"""Shell completion: names from the registries, and files where an argument may be a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fedfr.experiments import catalogue

__all__ = ["backbones", "benchmarks", "configurations", "importers", "method_lists", "protocols", "scenarios"]

Rows = Callable[[], list[dict[str, str]]]


def _names(rows: Rows) -> Callable[[str], list[tuple[str, str]]]:
    def complete(incomplete: str) -> list[tuple[str, str]]:
        return [(row["name"], row["description"]) for row in rows() if row["name"].startswith(incomplete)]

    return complete


backbones = _names(catalogue.list_backbones)
benchmarks = _names(catalogue.list_benchmarks)
importers = _names(catalogue.list_importers)
protocols = _names(catalogue.list_protocols)
scenarios = _names(catalogue.list_scenarios)


def configurations(incomplete: str) -> list[tuple[str, str]]:
    """Return presets, YAML files, and folders."""
    folder, sign, begun = incomplete.rpartition("/")
    place = Path(f"{folder}{sign}" or ".")
    entries = sorted(place.iterdir()) if place.is_dir() else []
    files = [
        (f"{folder}{sign}{entry.name}{'/' if entry.is_dir() else ''}", "")
        for entry in entries
        if entry.name.startswith(begun) and (entry.is_dir() or entry.suffix in (".yaml", ".yml"))
        if begun.startswith(".") or not entry.name.startswith(".")
    ]
    return [*_names(catalogue.list_presets)(incomplete), *files]


def method_lists(incomplete: str) -> list[tuple[str, str]]:
    """Return the methods for the last item of a comma-separated list, without those given already."""
    before, comma, last = incomplete.rpartition(",")
    taken = before.split(",")
    return [
        (f"{before}{comma}{name}", message)
        for name, message in _names(catalogue.list_methods)(last)
        if name not in taken
    ]
