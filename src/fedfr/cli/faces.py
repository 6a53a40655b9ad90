"""``fedfr faces``: import, inspect, audit and split faces."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fedfr.cli import exports, face_import, set_options
from fedfr.cli.choices import CommandWithChoices
from fedfr.cli.datasets import Faces
from fedfr.cli.face_import import Exclude, KeepSingle
from fedfr.cli.face_info import face_summary, print_info
from fedfr.cli.output import AsJson, Overrides, print_json, print_lines, progress

__all__ = ["app"]

app = typer.Typer(help="Import, inspect, audit and split faces.", no_args_is_help=True)
face_import.register(app)


@app.command()
def info(faces: Faces, as_json: AsJson = False) -> None:
    """Show the numbers of images and identities of a face set, its fingerprint, and the sets that it joins."""
    print_info(faces, as_json=as_json)


@app.command(cls=CommandWithChoices)
def split(
    faces: Annotated[
        Path,
        typer.Argument(help="A saved face set, or a train.rec; not with --public and the like."),
    ],
    manifest: Annotated[Path | None, typer.Argument(help="JSON file to write.")] = None,
    recipe: Annotated[str, typer.Option("--recipe", help="{recipes}.")] = "general",
    settings: Overrides = None,
    exclude: Exclude = None,
    public: set_options.Public = None,
    private: set_options.Private = None,
    generic: set_options.Generic = None,
    overlap: set_options.Overlap = None,
    exclude_identities: set_options.ExcludeIdentities = None,
    compare_with: Annotated[
        Path | None,
        typer.Option(
            "--compare-with", help="A model that finds people who are in two sets.", rich_help_panel=set_options.PANEL
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Divide faces into public, client and unseen identities, and write the manifest."""
    from fedfr.config.schema import parse_overrides
    from fedfr.core.errors import FedfrError
    from fedfr.faces import make_split

    given = set_options.FaceSetOptions(public, private or (), generic, overlap, exclude_identities or ())
    whole, target = (faces, manifest) if manifest is not None or not given else (None, faces)
    if target is None:
        raise FedfrError("the name of the manifest is missing; give FACES and MANIFEST, or MANIFEST with --public")
    if target.exists():
        raise FedfrError(f"{target} exists already; choose another name or remove it")
    if compare_with is not None and not given:
        raise FedfrError("--compare-with is for several face sets; give --public and --private")
    with progress() as reporter:
        if compare_with is None:
            find = None
        else:
            from fedfr.audit.people_in_sets import people_finder

            find = people_finder(compare_with, reporter)
        loaded = given.open(whole, "refuse", find)
    more = {} if exclude is None else {"exclude": str(exclude)}
    result = make_split(loaded, recipe, **(parse_overrides(settings or []) | more))
    result.check(loaded)
    result.describe(loaded).save(target)
    facts = {
        "manifest": str(target),
        "public_images": len(result.public),
        "clients": {
            name: {"train": len(client.train), "test": len(client.test)} for name, client in result.clients.items()
        },
        "generic_images": len(result.generic),
        "distractors": len(result.distractors),
        "stranger_images": len(result.strangers),
        "left_out": [asdict(each) for each in result.left_out],
        "lost_identities": list(result.lost_identities),
        "sets": [part.to_dict() for part in loaded.sets],
    }
    if as_json:
        print_json(facts)
        return
    train = sum(len(client.train) for client in result.clients.values())
    test = sum(len(client.test) for client in result.clients.values())
    strangers = f", {len(result.strangers)} images of strangers" if len(result.strangers) else ""
    print_lines(
        f"{target}: {len(result.public)} public images; {len(result.clients)} clients with {train} training and {test} "
        f"test images; {len(result.generic)} images of unseen identities, {len(result.distractors)} distractors"
        f"{strangers}"
    )
    for part in loaded.sets:
        print_lines(f"face set {part.describe()}")
    if result.left_out:
        lost = f", {len(result.lost_identities)} identities lost: {', '.join(result.lost_identities)}"
        print_lines(
            f"left out: {len(result.left_out)} images{lost if result.lost_identities else ', no identity lost'}"
        )


@app.command()
def exclude(
    faces: Faces,
    findings: Annotated[
        Path, typer.Argument(help="A list of `faces audit --csv` with its column `decision` filled in.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the new face set; must be new or empty.")],
    keep_single: KeepSingle = False,
    as_json: AsJson = False,
) -> None:
    """Write a face set without the images marked `exclude` in a list of findings, and keep the list beside it."""
    from fedfr.faces import load_faces
    from fedfr.faces.exclusions import EXCLUDED, exclude_faces, lost_identities

    loaded = load_faces(faces)
    left = exclude_faces(loaded, findings, out, keep_single=keep_single)
    lost = lost_identities(loaded, left)
    if as_json:
        print_json({**face_summary(out), "left_out": [asdict(each) for each in left], "lost_identities": list(lost)})
        return
    people = f"{len(lost)} identities with all their images: {', '.join(lost)}" if lost else "no identity entirely"
    print_lines(f"left out {len(left)} images, {people}; listed in {out / EXCLUDED}")
    print_info(out)


@app.command()
def show(
    faces: Faces,
    out: Annotated[Path, typer.Option("--out", help="PNG file to write; must not exist.")],
    identities: Annotated[int, typer.Option("--identities", min=1, help="Number of rows.")] = 8,
    images: Annotated[int, typer.Option("--images", min=1, help="Images per row.")] = 8,
) -> None:
    """Write a contact sheet with one identity per row, to check crops and colours."""
    from fedfr.faces import load_faces
    from fedfr.faces.contact_sheet import write_contact_sheet

    write_contact_sheet(load_faces(faces), out, identities, images)
    print_lines(f"{out}: it shows real people; store it only where the faces may be stored")


@app.command()
def audit(
    faces: Annotated[
        Path | None, typer.Argument(help="A saved face set, or a train.rec; not with --public and the like.")
    ] = None,
    split_: Annotated[
        Path | None, typer.Option("--split", help="Manifest of these faces, to check for leaks between its parts.")
    ] = None,
    model: Annotated[Path | None, typer.Option("--model", help="Model for comparing identities.")] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write all cases as CSV, to be marked for `faces exclude`.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if there is an error or a warning.")] = False,
    public: set_options.Public = None,
    private: set_options.Private = None,
    generic: set_options.Generic = None,
    overlap: set_options.Overlap = None,
    exclude_identities: set_options.ExcludeIdentities = None,
    as_json: AsJson = False,
) -> None:
    """Check faces for duplicates, wrong labels, colours and crops, and unusable images; changes nothing."""
    from fedfr.audit.face_audit import audit as audit_faces
    from fedfr.audit.findings_table import findings_csv, findings_text
    from fedfr.core.errors import FedfrError, WriteError
    from fedfr.core.files import write_atomically

    if csv is not None and csv.exists():
        raise FedfrError(f"{csv} exists already; choose another name or remove it")
    # Whatever is in two sets is to be found, so nothing is refused unless that is asked for.
    given = set_options.FaceSetOptions(public, private or (), generic, overlap, exclude_identities or ())
    loaded = given.open(faces, "keep")
    with progress() as reporter:
        result = audit_faces(loaded, split=split_, model=model, progress=reporter)
    failed: WriteError | None = None
    # Written before anything is printed, since a reader may close the pipe; findings are printed even if this fails.
    if csv is not None:
        try:
            write_atomically(csv, findings_csv(result.findings, loaded).encode())
        except WriteError as error:
            failed = error
    if as_json:
        print_json(result.to_dict())
    else:
        whole = faces or ", ".join(part.name for part in loaded.sets)
        print_lines(f"{whole}: {result.images} images of {result.identities} identities")
        print_lines(findings_text(result.findings))
        if result.comparison is not None:
            print_lines(result.comparison.describe())
    if failed is not None:
        raise failed
    if strict and not result.is_clean:
        raise typer.Exit(1)


exports.register(app)
