"""What names faces: a face set, and options of ``fedfr faces import`` for Hugging Face data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Faces", "IdentityColumn", "ImageColumn", "Part"]

PANEL = "Hugging Face data sets"

Part = Annotated[
    str | None,
    typer.Option("--part", metavar="NAME", help="Only this part: train, test, …; else all.", rich_help_panel=PANEL),
]
ImageColumn = Annotated[
    str | None,
    typer.Option("--image-column", metavar="NAME", help="Where it is not `image`.", rich_help_panel=PANEL),
]
IdentityColumn = Annotated[
    str | None,
    typer.Option(
        "--identity-column", metavar="NAME", help="Where it is neither `identity` nor `label`.", rich_help_panel=PANEL
    ),
]
Faces = Annotated[Path, typer.Argument(help="A saved face set (see `fedfr faces import`), or a train.rec as it lies.")]
