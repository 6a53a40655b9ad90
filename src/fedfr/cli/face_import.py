"""``fedfr faces import``, and the options that it shares with other commands."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedfr.cli import datasets, photograph_options
from fedfr.cli.choices import CommandWithChoices
from fedfr.cli.completion import importers as importer_names
from fedfr.cli.face_info import face_summary, print_info
from fedfr.cli.interruption import interruptible
from fedfr.cli.output import AsJson, print_json, print_lines, progress

if TYPE_CHECKING:
    from fedfr.faces.exclusions import OmittedImage

__all__ = ["Exclude", "KeepSingle", "import_", "register"]

Exclude = Annotated[
    Path | None,
    typer.Option("--exclude", help="Leave out the images marked `exclude` in this list of `faces audit --csv`."),
]
KeepSingle = Annotated[
    bool, typer.Option("--keep-single", help="Allow --exclude to leave an identity with a single image.")
]


def register(app: typer.Typer) -> None:
    """Add the command to ``fedfr faces``."""
    app.command("import", cls=CommandWithChoices)(import_)


def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="A folder, one sub-folder of images per identity; a train.rec; a Hugging Face data set (Parquet, "
            "imagefolder, save_to_disk); or the name of an importer that needs no path, such as `orl`."
        ),
    ],
    destination: Annotated[Path, typer.Argument(help="Folder for the face set; must be new or empty.")],
    link: Annotated[bool, typer.Option("--link", help="Do not copy the images; decode them from the .rec.")] = False,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out unreadable images and list them.")] = False,
    importer: Annotated[
        str | None,
        typer.Option(
            "--importer",
            metavar="NAME",
            help="Importer to read SOURCE with, by default the one that recognizes it: a name of `fedfr list "
            "importers`, or `package.module:function`.",
            autocompletion=importer_names,
        ),
    ] = None,
    part: datasets.Part = None,
    image_column: datasets.ImageColumn = None,
    identity_column: datasets.IdentityColumn = None,
    align: photograph_options.Align = "none",
    detector: photograph_options.Detector = None,
    detector_sha256: photograph_options.DetectorSha256 = None,
    landmarks: photograph_options.Landmarks = None,
    least_score: photograph_options.LeastScore = 0.6,
    least_size: photograph_options.LeastSize = 56.0,
    least_sharpness: photograph_options.LeastSharpness = 8.0,
    skip_several: photograph_options.SkipSeveral = False,
    sheet: photograph_options.Sheet = None,
    threads: photograph_options.Threads = None,
    exclude: Exclude = None,
    keep_single: KeepSingle = False,
    as_json: AsJson = False,
) -> None:
    """Import aligned faces, or align faces in photographs, into a memory-mapped face set."""
    from fedfr.faces import import_faces, import_photographs
    from fedfr.faces.alignment.photographs import AlignerFiles, Limits, make_aligner, refuse_options
    from fedfr.faces.exclusions import EXCLUDED, import_with_exclusions
    from fedfr.faces.readers.photograph_import import SKIPPED

    aligner = make_aligner(align, AlignerFiles(detector, detector_sha256, landmarks))
    limits = Limits(least_score, least_size, least_sharpness, not skip_several)
    options = {"part": part, "image_column": image_column, "identity_column": identity_column}
    with progress() as reporter:

        def count(done: int, total: int) -> None:
            reporter.update("importing", done, total, unit="images")

        if aligner is None:
            given: dict[str, object] = {f"--least-{name}": True for name in limits.changed() if name != "several"}
            given |= {"--skip-several": skip_several, "--sheet": sheet, "--threads": threads}
            refuse_options(given, "for photographs; add --align yunet or --align landmarks")

            def import_into(place: Path) -> object:
                return import_faces(source, place, count, importer=importer, link=link, skip_bad=skip_bad, **options)

            result = None
            left: tuple[OmittedImage, ...] = ()
            if exclude is None:
                refuse_options({"--keep-single": keep_single}, "for --exclude; add the list or leave it out")
                import_into(destination)
            else:
                refuse_options(
                    {"--link": link}, "for an import without --exclude; give the list to `fedfr faces split` instead"
                )
                left = import_with_exclusions(import_into, exclude, destination, keep_single=keep_single)
        else:
            refuse_options({"--link": link, "--skip-bad": skip_bad}, "for a train.rec; leave it out with --align")
            refuse_options({"--importer": importer}, "for aligned images; leave it out with --align")
            excluding = {"--exclude": exclude, "--keep-single": keep_single}
            refuse_options(
                excluding, "for an import without --align; give the list to `fedfr faces exclude` afterwards"
            )
            given = {f"--{name.replace('_', '-')}": value for name, value in options.items()}
            refuse_options(given, "for a data set; leave it out with --align")
            with interruptible("interrupted; aligned faces are kept, repeat the same command to continue"):
                result = import_photographs(
                    source, destination, aligner, limits, count, contact_sheet=sheet, threads=threads
                )
    if result is None:
        if left and as_json:
            print_json({**face_summary(destination), "left_out": [asdict(each) for each in left]})
            return
        if left:
            print_lines(f"left out {len(left)} images; listed in {destination / EXCLUDED}")
        print_info(destination, as_json=as_json)
        return
    listed = destination / SKIPPED
    if as_json:
        print_json({**face_summary(destination), **photograph_options.facts(result, listed)})
        return
    print_lines("\n".join(photograph_options.sentences(result, listed)))
    if sheet is not None:
        print_lines(f"{sheet}: it shows real people; store it only where the faces may be stored")
    print_info(destination)
