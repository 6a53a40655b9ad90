"""``fedfr gallery``: galleries of enrolled people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fedfr.cli import token_commands
from fedfr.cli.gallery_journal import journal
from fedfr.cli.gallery_options import (
    Backbone,
    Client,
    Cohort,
    GalleryFolder,
    Method,
    Model,
    PassphraseFile,
    Run,
    Strangers,
    TrainedOn,
    facts,
    import_backbone,
    new_passphrase,
    open_gallery,
    open_recognizer,
    preprocessing_of,
    steps,
)
from fedfr.cli.interruption import REPEAT_COMMAND, interruptible
from fedfr.cli.models import Colour, Entry, Mean, Std
from fedfr.cli.output import AsJson, print_json, print_lines, progress
from fedfr.cli.site_galleries import EnrolSitePeople, SiteFolder, check_enrol, open_site

__all__ = ["app"]

app = typer.Typer(help="Create and manage galleries of enrolled people.", no_args_is_help=True)
app.add_typer(token_commands.app, name="token")
app.command()(journal)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="GALLERY", help="The folder to create; must be new or empty.")],
    model: Model = None,
    run: Run = None,
    method: Method = None,
    client: Client = None,
    backbone: Backbone = None,
    colour: Colour = None,
    mean: Mean = None,
    std: Std = None,
    entry: Entry = None,
    site: SiteFolder = None,
    enrol_site_people: EnrolSitePeople = False,
    strangers: Strangers = None,
    cohort: Cohort = None,
    trained: TrainedOn = None,
    detector: Annotated[
        Path | None,
        typer.Option(
            "--detector", metavar="FILE", help="YuNet model as .onnx; without it, only aligned crops are accepted."
        ),
    ] = None,
    detector_sha256: Annotated[
        str | None,
        typer.Option(
            "--detector-sha256", metavar="HEX", help="SHA-256 of a detector that fedfr does not know, to confirm it."
        ),
    ] = None,
    quality: Annotated[str, typer.Option("--quality", help="Quality gate: strict, standard or off.")] = "standard",
    fpir: Annotated[
        float, typer.Option("--fpir", metavar="RATE", help="Largest share of strangers that may pass.")
    ] = 0.01,
    keep_crops: Annotated[
        bool,
        typer.Option("--keep-crops", help="Keep the aligned faces, sealed, so that a new model needs no new photos."),
    ] = False,
    liveness: Annotated[
        str | None,
        typer.Option("--liveness", metavar="NAME", help="Liveness check of another package, as module:function."),
    ] = None,
    passphrase_file: PassphraseFile = None,
    ask_passphrase: Annotated[
        bool, typer.Option("--ask-passphrase", help="Ask for a passphrase; without one, the key is in a file.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create a gallery with its own copy of a model, and the strangers that it is calibrated with."""
    from fedfr.experiments.gallery_models import chosen_model, chosen_strangers, trained_on
    from fedfr.recognition.recognizer import Recognizer
    from fedfr.recognition.status import compared_strangers

    import_backbone(backbone)
    member = None if site is None else open_site(site, run, method, client)
    check_enrol(member, wanted=enrol_site_people)
    settings: dict[str, Any] = {}
    if member is None:
        settings |= {"strangers": chosen_strangers(strangers, run), "model": chosen_model(model, run, method, client)}
    settings |= {
        "cohort": cohort,
        "trained_on": trained_on(model, run, trained or ()),
        "detector": detector,
        "detector_sha256": detector_sha256,
        "quality": quality,
        "fpir": fpir,
        "crops": keep_crops,
        "liveness": liveness,
        "passphrase": new_passphrase(passphrase_file, ask_passphrase),
        "user_preprocessing": preprocessing_of(colour, mean, std, entry),
    }
    with interruptible("interrupted; nothing was created"), progress() as reporter:
        settings["progress"] = steps(reporter, "strangers")
        if member is not None:
            recognizer = member.create(folder, model, strangers, settings)
        else:
            recognizer = Recognizer.create(folder, **settings)
    registered = "" if member is None else member.register(folder)
    enrolled = member.enrol(recognizer, folder) if member is not None and enrol_site_people else []
    status = recognizer.status()
    if as_json:
        print_json({**status.to_json(), **({"enrolments": [each.to_json() for each in enrolled]} if enrolled else {})})
        return
    print_lines(
        f"{folder}: {status.model} model in space {status.space}, {status.strangers} strangers, "
        f"{compared_strangers(status.trained_images)}"
    )
    for line in (line for each in enrolled for line in each.lines()):
        print_lines(line)
    if registered:
        print_lines(registered)
    if not enrolled:
        print_lines(f"then: fedfr enrol {folder} NAME PHOTOS")


@app.command("list")
def list_(folder: GalleryFolder, passphrase_file: PassphraseFile = None, as_json: AsJson = False) -> None:
    """List the enrolled people."""
    from fedfr.reporting.text_tables import screen_width, text_table

    with open_gallery(folder, passphrase_file) as gallery, gallery.read():
        people, ready = gallery.persons(), set(gallery.templates().ids)
    waiting = {person.id for person in people if person.id not in ready}
    if as_json:
        print_json([{**person.to_json(), "needs_photo": person.id in waiting} for person in people])
        return
    if not people:
        print_lines(f"nobody is enrolled in {folder}")
        return
    rows = [
        [person.name, str(len(person.photos)), person.added[:10], "needs a photo" if person.id in waiting else ""]
        for person in people
    ]
    print(text_table(["person", "photos", "enrolled", ""], rows, screen_width()))


@app.command()
def show(folder: GalleryFolder, passphrase_file: PassphraseFile = None, as_json: AsJson = False) -> None:
    """Show the gallery: model, settings, how many strangers its thresholds let pass, whether recent decisions agree."""
    recognizer = open_recognizer(folder, passphrase_file)
    status, drift = recognizer.status(), recognizer.drift()
    if as_json:
        print_json({**status.to_json(), "drift": drift.to_json()})
        return
    found = {"decisions": f"{drift.level}: {drift.text}"} if status.calibration else {}
    for line in facts({**status.facts(), **found}):
        print_lines(line, 14)
    for notice in status.notices:
        print_lines(notice)


@app.command()
def remove(
    folder: GalleryFolder,
    name: Annotated[str, typer.Argument(help="The person to remove, by name or id.")],
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove a person: templates, photos, name, and the key with which all of it is sealed."""
    from fedfr.recognition.gallery.gallery_types import REMAINS

    removal = open_recognizer(folder, passphrase_file, model=False).remove(name)
    if as_json:
        print_json(removal.to_json())
        return
    print_lines(f"{name} is removed, with {removal.photos} photos")
    if removal.calibrated:
        print_lines("thresholds are calibrated for those who remain")
    else:
        print_lines(f"no thresholds for those who remain, so nothing is decided: call fedfr calibrate {folder}")
    if not removal.cleared:
        print_lines("another process reads the gallery; sealed traces without a key remain until the next change")
    print_lines(f"this remains: {REMAINS}; see `Deletion` in the documentation")


@app.command()
def rebuild(
    folder: GalleryFolder,
    model: Model = None,
    run: Run = None,
    method: Method = None,
    client: Client = None,
    backbone: Backbone = None,
    colour: Colour = None,
    mean: Mean = None,
    std: Std = None,
    entry: Entry = None,
    site: SiteFolder = None,
    enrol_site_people: EnrolSitePeople = False,
    faces: Annotated[
        Path | None,
        typer.Option("--faces", help="Face set with identities named as the persons, for those without stored crops."),
    ] = None,
    strangers: Strangers = None,
    cohort: Cohort = None,
    trained: TrainedOn = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Prepare the gallery for another model, calibrate it, and then exchange both at once.

    The old model serves until then. Repeat the command to continue after an interruption.
    """
    from fedfr.experiments.gallery_models import chosen_model, strangers_of_run, trained_on
    from fedfr.recognition.status import compared_strangers

    import_backbone(backbone)
    member = None if site is None else open_site(site, run, method, client)
    check_enrol(member, wanted=enrol_site_people)
    recognizer = open_recognizer(folder, passphrase_file, model=False)
    with interruptible(REPEAT_COMMAND), progress() as reporter:
        others = strangers or strangers_of_run(run)
        given: dict[str, Any] = {"strangers": others, "cohort": cohort, "progress": steps(reporter, "rebuilding")}
        given["user_preprocessing"] = preprocessing_of(colour, mean, std, entry)
        given["trained_on"] = trained_on(model, run, trained or ())
        if faces is not None:
            given["faces"] = faces
        if member is not None:
            rebuilt = member.rebuild(recognizer, model, given)
        else:
            rebuilt = recognizer.rebuild(chosen_model(model, run, method, client), **given)
    enrolled = member.enrol(recognizer, folder) if member is not None and enrol_site_people else []
    if as_json:
        print_json({**rebuilt.to_json(), **({"enrolments": [each.to_json() for each in enrolled]} if enrolled else {})})
        return
    compared = f"strangers: {compared_strangers(recognizer.gallery.trained_images())}"
    for line in (*rebuilt.lines(), compared, *(line for each in enrolled for line in each.lines())):
        print_lines(line)


@app.command()
def export(
    folder: GalleryFolder,
    destination: Annotated[Path, typer.Argument(help="The folder to write; must not exist.")],
    passphrase_file: PassphraseFile = None,
    new_passphrase_file: Annotated[
        Path | None,
        typer.Option("--new-passphrase-file", metavar="FILE", help="File with the passphrase of the copy."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a copy of the gallery, models and journal included, that opens with a passphrase of its own."""
    from fedfr.core.errors import FedfrError

    recognizer = open_recognizer(folder, passphrase_file, model=False)
    passphrase = new_passphrase(new_passphrase_file, new_passphrase_file is None)
    if passphrase is None:
        raise FedfrError("a copy needs a passphrase; give --new-passphrase-file")
    written = recognizer.export(destination, passphrase)
    if as_json:
        print_json({"gallery": str(written)})
        return
    print_lines(f"{written}: a copy that opens with its passphrase; with both, the gallery can be used by anybody")


@app.command()
def rekey(
    folder: GalleryFolder,
    passphrase_file: PassphraseFile = None,
    new_passphrase_file: Annotated[
        Path | None,
        typer.Option("--new-passphrase-file", metavar="FILE", help="File with the passphrase of the new key."),
    ] = None,
    ask_passphrase: Annotated[
        bool, typer.Option("--ask-passphrase", help="Ask for the passphrase of the new key.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Seal everything with new keys; older copies cannot be opened any more without the old key.

    Without a new passphrase the new key is in a file that only its owner can read.
    """
    recognizer = open_recognizer(folder, passphrase_file, model=False)
    fresh = new_passphrase(new_passphrase_file, ask_passphrase)
    recognizer.rekey(fresh)
    if as_json:
        print_json({"gallery": str(folder), "passphrase": fresh is not None})
        return
    print_lines(f"{folder} is sealed with new keys; older copies cannot be opened with them")
