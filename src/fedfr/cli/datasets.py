"""Argument for a face set, and the options of ``fedfr faces import`` for Hugging Face data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Faces", "IdentityColumn", "ImageColumn", "Part"]

PANEL = "Hugging Face data sets"

Part = Annotated[
    str | None,
    typer.Option(
        "--part",
        metavar="NAME",
        help="Import only this split of the data set: train, test, …; by default all.",
        rich_help_panel=PANEL,
    ),
]
ImageColumn = Annotated[
    str | None,
    typer.Option(
        "--image-column", metavar="NAME", help="Column with the images, by default `image`.", rich_help_panel=PANEL
    ),
]
IdentityColumn = Annotated[
    str | None,
    typer.Option(
        "--identity-column",
        metavar="NAME",
        help="Column with the identities, by default `identity` or `label`.",
        rich_help_panel=PANEL,
    ),
]
Faces = Annotated[Path, typer.Argument(help="A saved face set (see `fedfr faces import`), or a train.rec.")]
