"""``fedfr list``: registered methods, losses, backbones, protocols, presets, benchmarks and scenarios."""

from __future__ import annotations

import typer

from fedfr.cli.output import AsJson, print_json, print_lines

__all__ = ["app"]

app = typer.Typer(
    help="List methods, losses, backbones, protocols, importers, splits, presets, benchmarks and their scenarios.",
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
        print_lines(f"{row['name']:<{width}}  {row['description']}{paper}{origin}", width + 2)


@app.command()
def methods(as_json: AsJson = False) -> None:
    """List federated methods and baselines."""
    from fedfr.experiments.catalogue import list_methods

    _print_rows(list_methods(), as_json)


@app.command()
def losses(as_json: AsJson = False) -> None:
    """List losses that classify identities: `local.loss`, `pretrain.loss`."""
    from fedfr.experiments.catalogue import list_losses

    _print_rows(list_losses(), as_json)


@app.command()
def backbones(as_json: AsJson = False) -> None:
    """List backbones: networks that map a face to a feature."""
    from fedfr.experiments.catalogue import list_backbones

    _print_rows(list_backbones(), as_json)


@app.command()
def protocols(as_json: AsJson = False) -> None:
    """List evaluation protocols."""
    from fedfr.experiments.catalogue import list_protocols

    _print_rows(list_protocols(), as_json)


@app.command()
def importers(as_json: AsJson = False) -> None:
    """List sources of faces: `faces.source`."""
    from fedfr.experiments.catalogue import list_importers

    _print_rows(list_importers(), as_json)


@app.command()
def splits(as_json: AsJson = False) -> None:
    """List recipes that divide faces: `split.recipe`."""
    from fedfr.experiments.catalogue import list_splits

    _print_rows(list_splits(), as_json)


@app.command()
def presets(as_json: AsJson = False) -> None:
    """List the configurations inside the package."""
    from fedfr.experiments.catalogue import list_presets

    _print_rows(list_presets(), as_json)


@app.command()
def benchmarks(as_json: AsJson = False) -> None:
    """List the benchmarks inside the package."""
    from fedfr.experiments.catalogue import list_benchmarks

    _print_rows(list_benchmarks(), as_json)


@app.command()
def scenarios(as_json: AsJson = False) -> None:
    """List the scenarios of benchmarks: `fedfr benchmark NAME --scenario SCENARIO`."""
    from fedfr.experiments.catalogue import list_scenarios

    _print_rows(list_scenarios(), as_json)
