"""``fedfr faces``: import, look at, audit, and split faces."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedfr.cli.output import AsJson, Overrides, print_json, progress

__all__ = ["app"]

app = typer.Typer(help="Import, inspect, audit and split faces.", no_args_is_help=True)

Faces = Annotated[Path, typer.Argument(help="A saved face set (see `fedfr faces import`).")]


@app.command("import")
def import_(
    source: Annotated[str, typer.Argument(help="A folder, one sub-folder of aligned pictures per identity; or `orl`.")],
    destination: Annotated[Path, typer.Argument(help="Folder for the face set; must be new or empty.")],
    as_json: AsJson = False,
) -> None:
    """Decode aligned faces once into a memory-mapped face set."""
    from fedfr.faces import import_folder, import_orl

    with progress() as shown:

        def count(done: int, total: int) -> None:
            shown.update("importing", done, total)

        if source == "orl":
            import_orl(destination, count)
        else:
            import_folder(source, destination, count)
    info(destination, as_json)


@app.command()
def info(faces: Faces, as_json: AsJson = False) -> None:
    """How many images and identities a face set holds."""
    from fedfr.faces import FaceSet

    loaded = FaceSet.load(faces)
    counts = loaded.counts()
    facts = {
        "folder": str(faces),
        "images": len(loaded),
        "identities": loaded.num_identities,
        "images_per_identity": {
            "least": int(counts.min()),
            "median": float(sorted(counts.tolist())[len(counts) // 2]),
            "most": int(counts.max()),
        },
        "fingerprint": loaded.fingerprint(),
    }
    if as_json:
        print_json(facts)
        return
    per = f"{counts.min()} to {counts.max()} images each"
    print(f"{faces}: {len(loaded)} images of {loaded.num_identities} identities, {per}")
    print(f"fingerprint {loaded.fingerprint()}")


@app.command()
def split(
    faces: Faces,
    manifest: Annotated[Path, typer.Argument(help="JSON file to write.")],
    recipe: Annotated[str, typer.Option("--recipe", help="general, quickstart or lfw-fed.")] = "general",
    settings: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Divide a face set into public, clients' and unseen identities; the manifest serves every method alike."""
    from fedfr.config import parse_overrides
    from fedfr.errors import FedfrError
    from fedfr.faces import FaceSet, make_split

    if manifest.exists():
        raise FedfrError(f"{manifest} exists already; choose another name or remove it")
    loaded = FaceSet.load(faces)
    made = make_split(loaded, recipe, **parse_overrides(settings or []))
    made.check(loaded)
    made.describe(loaded).save(manifest)
    facts = {
        "manifest": str(manifest),
        "public_images": len(made.public),
        "clients": {
            name: {"train": len(client.train), "test": len(client.test)} for name, client in made.clients.items()
        },
        "generic_images": len(made.generic),
        "distractors": len(made.distractors),
    }
    if as_json:
        print_json(facts)
        return
    train = sum(len(client.train) for client in made.clients.values())
    test = sum(len(client.test) for client in made.clients.values())
    print(
        f"{manifest}: {len(made.public)} public images; {len(made.clients)} clients with {train} training and {test} "
        f"test images; {len(made.generic)} images of unseen identities, {len(made.distractors)} distractors"
    )


@app.command()
def show(
    faces: Faces,
    out: Annotated[Path, typer.Option("--out", help="PNG file to write; must not exist.")],
    identities: Annotated[int, typer.Option("--identities", min=1, help="Rows of the sheet.")] = 8,
    images: Annotated[int, typer.Option("--images", min=1, help="Pictures per row.")] = 8,
) -> None:
    """Write a sheet of faces, one identity per row, to see that crops and colours are right."""
    from fedfr.faces import FaceSet
    from fedfr.faces.sheet import contact_sheet

    contact_sheet(FaceSet.load(faces), out, identities, images)
    print(f"{out}: it shows real people, keep it where the faces may be")


@app.command()
def audit(
    faces: Faces,
    split_: Annotated[Path | None, typer.Option("--split", help="A manifest of these faces: what leaks?")] = None,
    model: Annotated[Path | None, typer.Option("--model", help="A model to compare people by.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="All cases as CSV; must not exist.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for an error or a warning.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look for duplicates, wrong labels, wrong colours, wrong crops and unusable pictures; changes nothing."""
    from fedfr.auditing import audit as audit_faces
    from fedfr.errors import FedfrError
    from fedfr.files import write_atomically
    from fedfr.reporting.findings import findings_csv, findings_text

    if csv is not None and csv.exists():
        raise FedfrError(f"{csv} exists already; choose another name or remove it")
    with progress() as shown:
        found = audit_faces(faces, split=split_, model=model, progress=shown)
    if as_json:
        print_json(found.to_dict())
    else:
        print(f"{faces}: {found.images} images of {found.identities} identities")
        print(findings_text(found.findings))
        if found.comparison is not None:
            print(found.comparison.describe())
    if csv is not None:
        write_atomically(csv, findings_csv(found.findings).encode())
    if strict and not found.is_clean:
        raise typer.Exit(1)
