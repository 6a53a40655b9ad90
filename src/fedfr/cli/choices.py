"""Command help with the names of the registries filled in when it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperOption

__all__ = ["CommandWithChoices"]


def _budgets() -> Iterable[str]:
    from fedfr.config.loading import BENCHMARKS, read_benchmark

    return dict.fromkeys(budget for name in BENCHMARKS for budget in read_benchmark(name)["budgets"])


def _benchmarks() -> Iterable[str]:
    from fedfr.config.loading import BENCHMARKS

    return BENCHMARKS


def _scenarios() -> Iterable[str]:
    from fedfr.experiments.catalogue import list_scenarios

    return dict.fromkeys(row["name"] for row in list_scenarios())


def _recipes() -> Iterable[str]:
    from fedfr.faces import SPLITS

    return SPLITS.names


def _formats() -> Iterable[str]:
    from fedfr.faces import EXPORTERS

    return EXPORTERS.names


def _trackers() -> Iterable[str]:
    from fedfr.reporting.tracking import TRACKERS

    return TRACKERS.names


def _aligners() -> Iterable[str]:
    from fedfr.faces.alignment.photographs.aligners import ALIGNERS

    return ALIGNERS.names


_NAMES: Mapping[str, Callable[[], Iterable[str]]] = {
    "{aligners}": _aligners,
    "{benchmarks}": _benchmarks,
    "{budgets}": _budgets,
    "{formats}": _formats,
    "{recipes}": _recipes,
    "{scenarios}": _scenarios,
    "{trackers}": _trackers,
}


class CommandWithChoices(TyperCommand):
    """Command whose help texts may contain placeholders such as ``{benchmarks}`` for the registered names."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Fill in the registered names, then write the help."""
        for parameter in self.params:
            if not isinstance(parameter, TyperArgument | TyperOption):
                continue
            text = parameter.help or ""
            for place, names in _NAMES.items():
                if place in text:
                    text = text.replace(place, ", ".join(names()))
                    parameter.help = text
        super().format_help(ctx, formatter)
