"""``fedfr faces export``, ``export-recordio`` and ``pack-pairs``: faces for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedfr.cli.choices import CommandWithChoices
from fedfr.cli.datasets import Faces
from fedfr.cli.output import AsJson, print_json, print_lines, progress

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to ``fedfr faces``."""
    app.command("pack-pairs")(_pack_pairs)
    app.command("export", cls=CommandWithChoices)(_export)
    app.command("export-recordio")(_export_recordio)


def _pack_pairs(
    faces: Annotated[Path, typer.Argument(help="A saved face set, a train.rec, or a folder of aligned images.")],
    pairs: Annotated[Path, typer.Argument(help="A list like LFW's pairs.txt, or a CSV with columns a, b, same.")],
    destination: Annotated[Path, typer.Argument(help="The .bin to write; must not exist.")],
    as_json: AsJson = False,
) -> None:
    """Write pairs of images as a verification set (.bin) for InsightFace's tools and `fedfr evaluate`."""
    from fedfr.faces import importer_for, load_faces, open_folder, pack_pairs
    from fedfr.faces.storage import is_face_set

    loose = not is_face_set(faces) and importer_for(faces) == "folder"
    count = pack_pairs(open_folder(faces) if loose else load_faces(faces), pairs, destination)
    if as_json:
        print_json({"file": str(destination), "pairs": count})
    else:
        print_lines(f"{destination}: {count} pairs")


def _export(
    faces: Faces,
    destination: Annotated[Path, typer.Argument(help="Output folder; must be new or empty.")],
    form: Annotated[str, typer.Option("--format", help="{formats}, for Hugging Face's `datasets`.")],
    as_json: AsJson = False,
) -> None:
    """Write a face set as lossless PNG with columns image, identity and name, for `datasets.load_dataset`."""
    from fedfr.faces import export_faces, load_faces

    with progress() as reporter:
        facts = export_faces(
            load_faces(faces),
            destination,
            form,
            lambda done, total: reporter.update("exporting", done, total, unit="images"),
        )
    if as_json:
        print_json({"folder": str(destination), "format": form, **facts})
    else:
        print_lines(
            f"{destination}: {facts['images']} images of {facts['identities']} identities in {facts['files']} files"
        )


def _export_recordio(
    faces: Faces,
    manifest: Annotated[Path, typer.Argument(help="A split of these faces (see `fedfr faces split`).")],
    destination: Annotated[Path, typer.Argument(help="Output folder; must be new or empty.")],
    encoding: Annotated[
        str, typer.Option("--encoding", help="png (lossless), jpeg, or kept: unchanged from the .rec.")
    ] = "png",
    quality: Annotated[int, typer.Option("--quality", help="JPEG quality, 1 to 100.")] = 95,
    as_json: AsJson = False,
) -> None:
    """Write a split as RecordIO files in the layout of the released FedFR code."""
    from fedfr.faces import Split, export_recordio, load_faces

    with progress() as reporter:
        written = export_recordio(
            load_faces(faces),
            Split.load(manifest),
            destination,
            encoding,
            quality,
            lambda done, total: reporter.update("exporting", done, total, unit="images"),
        )
    if as_json:
        print_json({"folder": str(destination), "images": written})
        return
    for name, images in written.items():
        print_lines(f"{destination / name}: {images} images")
