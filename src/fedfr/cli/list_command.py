"""``fedfr list``: what can be chosen by name."""

from __future__ import annotations

import typer

from fedfr.cli.output import AsJson, print_json, print_lines
from fedfr.experiments.catalogue import REGISTRIES, list_benchmarks, list_presets, list_registry, list_scenarios

__all__ = ["app"]

app = typer.Typer(
    help="List what can be chosen by name: methods, losses, backbones, protocols, importers, splits, presets, etc.",
    no_args_is_help=True,
)


def _print_rows(rows: list[dict[str, str]], as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        paper = f"  [{row['paper']}]" if row["paper"] else ""
        origin = f"  (from {row['origin']})" if "origin" in row else ""
        print_lines(f"{row['name']:<{width}}  {row['description']}{paper}{origin}", width + 2, wrap=True)


def _add(kind: str, what: str) -> None:
    @app.command(kind, help=f"List {what}.")
    def command(as_json: AsJson = False) -> None:
        _print_rows(list_registry(kind), as_json)


for _kind, (_, _what) in REGISTRIES.items():
    _add(_kind, _what)


@app.command()
def presets(as_json: AsJson = False) -> None:
    """List the configurations inside the package."""
    _print_rows(list_presets(), as_json)


@app.command()
def benchmarks(as_json: AsJson = False) -> None:
    """List the benchmarks inside the package."""
    _print_rows(list_benchmarks(), as_json)


@app.command()
def scenarios(as_json: AsJson = False) -> None:
    """List the scenarios of benchmarks: `fedfr benchmark NAME --scenario SCENARIO`."""
    _print_rows(list_scenarios(), as_json)
