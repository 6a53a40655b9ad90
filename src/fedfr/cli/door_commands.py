"""Commands that enrol and recognize people: enrol, calibrate, identify, verify, watch."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from fedfr.cli.gallery_options import (
    Aligned,
    GalleryFolder,
    PassphraseFile,
    exit_with,
    facts,
    open_recognizer,
    print_decision,
    steps,
)
from fedfr.cli.interruption import interruptible
from fedfr.cli.output import AsJson, print_json, print_lines, progress

__all__ = ["register"]

Name = Annotated[str, typer.Argument(metavar="NAME", help="The person.")]
PhotoFile = Annotated[Path, typer.Argument(metavar="PHOTO", help="An image file.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (enrol, calibrate, identify, verify, watch):
        app.command()(command)


def enrol(
    folder: GalleryFolder,
    name: Name,
    photos: Annotated[list[str], typer.Argument(metavar="PHOTOS", help="Image files, folders or patterns.")],
    aligned: Aligned = False,
    allow_similar: Annotated[
        bool, typer.Option("--allow-similar", help="Enrol a person who resembles another one, such as a twin.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Enrol a person, or add photos to one; exit code 1 if nothing was enrolled.

    Each photo is judged by itself: those that are good enough are enrolled, and the reasons are given for the others.
    """
    from fedfr.recognition.photos.photo_files import photo_files

    files = photo_files(photos)
    recognizer = open_recognizer(folder, passphrase_file)
    with interruptible("interrupted; nothing was enrolled"), progress() as reporter:
        result = recognizer.enrol(
            name, files, aligned=aligned, allow_similar=allow_similar, progress=steps(reporter, "photos")
        )
    if as_json:
        print_json(result.to_json())
    else:
        for line in result.lines():
            print_lines(line)
    exit_with(0 if result.enrolled else 1)


def calibrate(
    folder: GalleryFolder,
    fpir: Annotated[
        float | None,
        typer.Option("--fpir", metavar="RATE", help="Largest share of strangers that may pass; by default as before."),
    ] = None,
    strangers: Annotated[
        Path | None,
        typer.Option(
            "--strangers",
            metavar="FACES",
            help="Other strangers: photos in FOLDER/<person>/, or a face set; by default as before.",
        ),
    ] = None,
    cohort: Annotated[
        Path | None,
        typer.Option("--cohort", metavar="FACES", help="Another cohort for AS-norm; by default as before."),
    ] = None,
    leave_out: Annotated[
        list[int] | None,
        typer.Option(
            "--leave-out", metavar="ROW", help="Row of a stranger who is an enrolled person; repeat it for several."
        ),
    ] = None,
    confirm_settings: Annotated[
        bool,
        typer.Option("--confirm-settings", help="Put in force what was changed by hand in the gallery's gallery.yaml."),
    ] = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Set the thresholds so that at most a share of strangers passes, and show what that costs the enrolled people."""
    from fedfr.recognition.status import compared_strangers

    recognizer = open_recognizer(folder, passphrase_file)
    with interruptible("interrupted; the thresholds are unchanged"), progress() as reporter:
        calibration = recognizer.calibrate(
            fpir,
            strangers=strangers,
            cohort=cohort,
            leave_out=leave_out or (),
            confirm_settings=confirm_settings,
            progress=steps(reporter, "strangers"),
        )
    status = recognizer.status()
    if as_json:
        print_json(status.to_json()["calibration"])
        return
    if strangers is not None:
        print_lines(f"{status.strangers} strangers, {compared_strangers(status.trained_images)}")
    if calibration is None:
        print_lines("nobody is enrolled; the thresholds follow with the first person")
        return
    for line in facts(status.calibration_facts()):
        print_lines(line, 16)
    for notice in status.notices:
        print_lines(notice)


def identify(
    folder: GalleryFolder,
    photo: PhotoFile,
    everybody: Annotated[bool, typer.Option("--all", help="Decide about every face in the photo.")] = False,
    aligned: Aligned = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Say who is in a photo; exit code 0 if accepted, 1 if rejected or undecided, 2 for mistakes.

    With --all the exit code is 0 if every face is accepted, and there is one.
    """
    from fedfr.recognition.photos.photo_files import photo_file

    file = photo_file(photo)
    recognizer = open_recognizer(folder, passphrase_file)
    if not everybody:
        decision = recognizer.identify(file, aligned=aligned)
        if as_json:
            print_json(decision.to_json())
        else:
            print_decision(decision)
        exit_with(decision.exit_code)
        return
    decisions = recognizer.identify_all(file, aligned=aligned)
    if as_json:
        print_json([decision.to_json() for decision in decisions])
    for decision in decisions if not as_json else ():
        print_decision(decision)
    exit_with(max((decision.exit_code for decision in decisions), default=1))


def verify(
    folder: GalleryFolder,
    name: Name,
    photo: PhotoFile,
    aligned: Aligned = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a photo shows this person; exit code 0 if accepted, 1 if rejected or undecided, 2 for mistakes."""
    from fedfr.recognition.photos.photo_files import photo_file

    file = photo_file(photo)
    decision = open_recognizer(folder, passphrase_file).verify(name, file, aligned=aligned)
    if as_json:
        print_json(decision.to_json())
    else:
        print_decision(decision)
    exit_with(decision.exit_code)


def watch(
    folder: GalleryFolder,
    camera: Annotated[
        str, typer.Option("--camera", help="Number of a camera, URL of a stream, or a video file.")
    ] = "0",
    votes: Annotated[
        int, typer.Option("--votes", metavar="N", min=1, help="Number of frames that must agree, of 2 N - 1.")
    ] = 3,
    window: Annotated[
        float, typer.Option("--window", metavar="SECONDS", help="Time out of view that ends the visit of a face.")
    ] = 2.0,
    rate: Annotated[
        float, typer.Option("--rate", metavar="N", help="Number of frames that are looked at per second.")
    ] = 5.0,
    passphrase_file: PassphraseFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line and decision.")] = False,
) -> None:
    """Watch a camera and print one decision for each visit of a face, until stopped."""
    from fedfr.recognition.camera.frames import camera_frames
    from fedfr.recognition.camera.voting import Voting
    from fedfr.recognition.camera.watch import watch as watch_frames

    recognizer = open_recognizer(folder, passphrase_file)
    voting = Voting(votes, window)
    for notice in recognizer.status().notices:
        print(f"fedfr: {notice}", file=sys.stderr)
    with interruptible("stopped"):
        for sighting in watch_frames(recognizer, camera_frames(camera, rate), voting):
            if as_json:
                print(json.dumps(sighting.to_json(), allow_nan=False), flush=True)
            else:
                print_lines(f"after {sighting.seconds:.1f} s")
                print_decision(sighting.decision)
