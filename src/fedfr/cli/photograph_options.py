"""Options and output of ``fedfr faces import`` for photographs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fedfr.faces import PhotographImport

__all__ = [
    "Align",
    "Detector",
    "DetectorSha256",
    "Landmarks",
    "LeastScore",
    "LeastSharpness",
    "LeastSize",
    "Sheet",
    "SkipSeveral",
    "Threads",
    "facts",
    "sentences",
]

PANEL = "Photographs"

Align = Annotated[
    str,
    typer.Option(
        "--align",
        metavar="NAME",
        help="Align photographs by five points, from a detector or from a file: {aligners}.",
        rich_help_panel=PANEL,
    ),
]
Detector = Annotated[
    Path | None,
    typer.Option(
        "--detector",
        metavar="FILE",
        help="YuNet model as .onnx (OpenCV's model zoo, licence Apache-2.0/MIT).",
        rich_help_panel=PANEL,
    ),
]
DetectorSha256 = Annotated[
    str | None,
    typer.Option(
        "--detector-sha256",
        metavar="HEX",
        help="SHA-256 of a detector that fedfr does not know, to confirm it.",
        rich_help_panel=PANEL,
    ),
]
Landmarks = Annotated[
    Path | None,
    typer.Option(
        "--landmarks",
        metavar="FILE",
        help="Points file: tab-separated lines of path, x1 y1 … x5 y5[, score].",
        rich_help_panel=PANEL,
    ),
]
LeastScore = Annotated[
    float,
    typer.Option(
        "--least-score", metavar="N", min=0, max=1, help="Lowest score of the detector.", rich_help_panel=PANEL
    ),
]
LeastSize = Annotated[
    float,
    typer.Option(
        "--least-size",
        metavar="N",
        min=0,
        help="Smallest side of the face's square in the photograph, in pixels.",
        rich_help_panel=PANEL,
    ),
]
LeastSharpness = Annotated[
    float,
    typer.Option(
        "--least-sharpness",
        metavar="N",
        min=0,
        help="Smallest variance of the Laplacian of the aligned face.",
        rich_help_panel=PANEL,
    ),
]
SkipSeveral = Annotated[
    bool,
    typer.Option(
        "--skip-several",
        help="Skip photographs with a second face at least a quarter as large, in place of using the main face.",
        rich_help_panel=PANEL,
    ),
]
Sheet = Annotated[
    Path | None,
    typer.Option(
        "--sheet",
        metavar="FILE",
        help="Also write an HTML page of faces and skipped images. It shows real people: store it accordingly.",
        rich_help_panel=PANEL,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        min=1,
        help="Number of photographs in parallel, by default one per core.",
        rich_help_panel=PANEL,
    ),
]


def facts(made: PhotographImport, listed: Path) -> dict[str, Any]:
    """Return the JSON entries about the import of photographs."""
    return {
        "photographs": made.photographs,
        "skipped": made.counts(),
        "identities_lost": list(made.lost_identities),
        "list": str(listed),
    }


def sentences(made: PhotographImport, listed: Path) -> list[str]:
    """Return the lines about the import of photographs."""
    counted = made.counts()
    lines = [f"aligned {len(made.faces)} of {made.photographs} photographs"]
    if counted:
        words = ", ".join(f"{number} {reason}" for reason, number in counted.items())
        lines.append(f"skipped: {words}; each with its numbers in {listed}")
    if made.lost_identities:
        lines.append(f"no face left of: {', '.join(made.lost_identities)}")
    return lines
