"""Options and answers of ``fedfr faces import`` for photographs."""

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
        metavar="none|yunet|landmarks",
        help="Photographs are aligned by five points: a detector's, or those in a file.",
        rich_help_panel=PANEL,
    ),
]
Detector = Annotated[
    Path | None,
    typer.Option(
        "--detector",
        metavar="FILE",
        help="YuNet as .onnx (OpenCV's model zoo, licence Apache-2.0/MIT).",
        rich_help_panel=PANEL,
    ),
]
DetectorSha256 = Annotated[
    str | None,
    typer.Option(
        "--detector-sha256", metavar="HEX", help="Confirms a detector that is not known here.", rich_help_panel=PANEL
    ),
]
Landmarks = Annotated[
    Path | None,
    typer.Option(
        "--landmarks",
        metavar="FILE",
        help="Lines of path, x1 y1 … x5 y5[, score], with tabs.",
        rich_help_panel=PANEL,
    ),
]
LeastScore = Annotated[
    float, typer.Option("--least-score", min=0, max=1, help="Of the detector.", rich_help_panel=PANEL)
]
LeastSize = Annotated[
    float,
    typer.Option(
        "--least-size",
        min=0,
        help="Pixels of the photograph along the square that becomes the face.",
        rich_help_panel=PANEL,
    ),
]
LeastSharpness = Annotated[
    float,
    typer.Option("--least-sharpness", min=0, help="Variance of the aligned face's Laplacian.", rich_help_panel=PANEL),
]
SkipSeveral = Annotated[
    bool,
    typer.Option(
        "--skip-several",
        help="Skip photographs with another face at least a quarter as large, not only take the main one.",
        rich_help_panel=PANEL,
    ),
]
Sheet = Annotated[
    Path | None,
    typer.Option(
        "--sheet",
        metavar="FILE",
        help="Also an HTML page of faces and skipped images. It shows real people: keep it where the faces may be.",
        rich_help_panel=PANEL,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Photographs at a time, by default one per core.", rich_help_panel=PANEL),
]


def facts(made: PhotographImport, listed: Path) -> dict[str, Any]:
    """What ``--json`` says beside the face set's own facts."""
    return {
        "photographs": made.photographs,
        "skipped": made.counts(),
        "identities_lost": list(made.lost),
        "list": str(listed),
    }


def sentences(made: PhotographImport, listed: Path) -> list[str]:
    """What is said of an import beside the face set's own facts."""
    counted = made.counts()
    lines = [f"aligned {len(made.faces)} of {made.photographs} photographs"]
    if counted:
        words = ", ".join(f"{number} {reason}" for reason, number in counted.items())
        lines.append(f"skipped: {words}; each with its numbers in {listed}")
    if made.lost:
        lines.append(f"no face left of: {', '.join(made.lost)}")
    return lines
