"""``fedfr models``: import, export and inspection of models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedfr.cli.completion import backbones
from fedfr.cli.output import AsJson, print_json, print_lines

__all__ = ["Colour", "Entry", "Mean", "Std", "app"]

app = typer.Typer(help="Import, export and inspect models.", no_args_is_help=True)

Colour = Annotated[
    str | None, typer.Option("--colour", help="Colour order of third-party weights, RGB or BGR, if known.")
]
Mean = Annotated[
    str | None,
    typer.Option("--mean", help="Grey level subtracted from the input of third-party weights, one or three (a,b,c)."),
]
Std = Annotated[
    str | None,
    typer.Option("--std", help="Grey level that the input of third-party weights is divided by, one or three."),
]

Entry = Annotated[str | None, typer.Option("--entry", help="Entry of the backbone in a checkpoint that holds several.")]


@app.command("import")
def import_(
    source: Annotated[
        Path, typer.Argument(help="A .pth, .pt, .ckpt or .safetensors file, or a folder of FedFR's released code.")
    ],
    destination: Annotated[Path, typer.Argument(help="The model to write, .safetensors; must not exist.")],
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone", help="Require this backbone (see `fedfr list backbones`).", autocompletion=backbones
        ),
    ] = None,
    role: Annotated[
        str | None, typer.Option("--role", help="generic, or personalized: the model of one client.")
    ] = None,
    colour: Colour = None,
    mean: Mean = None,
    std: Std = None,
    entry: Entry = None,
    as_json: AsJson = False,
) -> None:
    """Convert third-party weights to a model: recognized by their entries, checked, never executed.

    A folder must hold backbone.pth; a client's folder also bce_module.pth and fc.pth.
    """
    from fedfr.models import UserPreprocessing, import_weights
    from fedfr.models.user_preprocessing import levels_of

    user_preprocessing = UserPreprocessing(colour, levels_of(mean, "--mean"), levels_of(std, "--std"), entry)
    imported = import_weights(source, destination, backbone=backbone, role=role, user_preprocessing=user_preprocessing)
    contract = imported.contract
    generic = contract.role == "generic"
    check = f"fedfr evaluate {destination} --faces FACES" if generic else ""
    if as_json:
        print_json(
            {
                "model": str(imported.path),
                "source": str(imported.source),
                **{key: value for key, value in contract.to_metadata().items() if key != "format"},
                "entries": imported.entries,
                "found": imported.found,
                "parameters": imported.parameters,
                "identities": imported.identities,
                "stated": list(user_preprocessing.names),
                "input": imported.assumed,
                "check": check,
            }
        )
        return
    print_lines(
        f"{source} holds {contract.backbone}: names and shapes of all {imported.entries} entries match the backbone"
    )
    if imported.found:
        print_lines(imported.found)
    people = f", {imported.identities} prototypes or branches" if imported.identities else ""
    print_lines(f"{destination}: {contract.role}, {contract.embedding_dim} values of a face{people}")
    print_lines(f"embedding space {contract.embedding_space}")
    print_lines(f"input: {imported.assumed}")
    print_lines("The weights do not say what input they expect." + (f" To check: {check}" if check else ""))
    if check:
        print_lines(
            f"and {source} with another --colour, --mean or --std: the right input gives clearly the best metrics."
        )


@app.command()
def export(
    target: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="A run's folder, or a model (.safetensors).")],
    destination: Annotated[Path, typer.Argument(help="What to write; must not exist.")],
    layout: Annotated[
        str,
        typer.Option(
            "--layout",
            help="state-dict (one .pth), onnx, onnx-int8 (one .onnx), or released (a folder as FedFR's code reads it).",
        ),
    ] = "state-dict",
    method: Annotated[str | None, typer.Option("--method", help="Method of the run; by default its main one.")] = None,
    clients: Annotated[
        bool,
        typer.Option(
            "--clients/--no-clients", help="Include the clients' private parts (a run in the released layout)."
        ),
    ] = True,
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", help="Aligned faces to calibrate 8-bit integers with (onnx-int8)."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a run's newest models, or one model, as files for torch.load(..., weights_only=True) or as ONNX.

    Personal backbones, DFC modules and private prototypes belong to their clients and leave a site only through this
    command; --no-clients omits them.
    """
    from fedfr.experiments.model_export import export_model

    written = export_model(target, destination, layout, method=method, clients=clients, calibration=calibration)
    if as_json:
        print_json({"files": list(map(str, written.files)), "private": list(map(str, written.private))})
        return
    print_lines("\n".join(map(str, written.files)))
    if written.private:
        print_lines(
            f"{len(written.private)} of these files are private to clients: store them where their faces may be stored"
        )


@app.command()
def info(
    file: Annotated[Path, typer.Argument(help="Any file of weights, or an ONNX graph.")], as_json: AsJson = False
) -> None:
    """Inspect a file: a model and its contract, weights and the backbone they fit, or a client's private parts."""
    from fedfr.models import inspect_model

    facts = inspect_model(file)
    if as_json:
        print_json(facts)
        return
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        print_lines(f"{name.replace('_', ' '):<{width}}  {'none' if value is None else value}", width + 2)
