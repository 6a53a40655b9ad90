"""Options and output shared by the commands of a gallery."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedfr.cli.output import print_lines
from fedfr.core.errors import FedfrError

if TYPE_CHECKING:
    from fedfr.models import UserPreprocessing
    from fedfr.recognition.decision import Decision
    from fedfr.recognition.gallery.gallery import Gallery
    from fedfr.recognition.recognizer import Recognizer
    from fedfr.reporting.progress import Progress

__all__ = [
    "Aligned",
    "Backbone",
    "Client",
    "Cohort",
    "GalleryFolder",
    "Method",
    "Model",
    "PassphraseFile",
    "Run",
    "Strangers",
    "TrainedOn",
    "exit_with",
    "facts",
    "import_backbone",
    "new_passphrase",
    "open_gallery",
    "open_recognizer",
    "preprocessing_of",
    "print_decision",
    "read_passphrase",
    "reason_lines",
    "steps",
]

GalleryFolder = Annotated[Path, typer.Argument(metavar="GALLERY", help="The gallery's folder.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="File, readable by its owner only, whose first line is the passphrase of the gallery; without it, a "
        "terminal asks for it.",
    ),
]
Aligned = Annotated[
    bool, typer.Option("--aligned", help="The photos are aligned face crops of 112×112 pixels; nothing is detected.")
]

Model = Annotated[
    Path | None,
    typer.Option("--model", metavar="FILE", help="Model: .safetensors, .onnx, or weights that fedfr recognizes."),
]
Run = Annotated[Path | None, typer.Option("--run", help="Folder of a finished run whose model is used.")]
Method = Annotated[str | None, typer.Option("--method", help="Method of the run; by default its main one.")]
Client = Annotated[
    str | None,
    typer.Option("--client", help="Client of the run whose personalized model is used; by default the generic model."),
]
Backbone = Annotated[
    str | None,
    typer.Option("--backbone", help="The model's backbone, where it is of another package: it is imported."),
]
Strangers = Annotated[
    Path | None,
    typer.Option(
        "--strangers",
        metavar="FACES",
        help="People nobody trained on and who are not enrolled: photos in FOLDER/<person>/, or a face set.",
    ),
]
Cohort = Annotated[
    Path | None,
    typer.Option(
        "--cohort",
        metavar="FACES",
        help="Further people with whom scores are normalized (AS-norm); without it, scores are cosines.",
    ),
]
TrainedOn = Annotated[
    list[Path] | None,
    typer.Option(
        "--trained-on",
        metavar="FACES",
        help="Face set on which the model was trained, besides those of --run or --site: its people are refused as "
        "strangers. Repeat it for several.",
    ),
]

_MOST_BYTES = 4096


def read_passphrase(file: Path) -> str:
    """Return the first line of a file.

    Raises :class:`FedfrError` if it cannot be read, is readable by other users, or is empty.
    """
    from fedfr.core.files import read_file
    from fedfr.core.secret_files import refuse_readable

    try:
        refuse_readable(file, f"the passphrase file {file}")
        text = read_file(file, _MOST_BYTES).decode()
    except OSError as error:
        raise FedfrError(
            f"cannot read the passphrase file {file}: {error.strerror or error}; check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise FedfrError(
            f"the passphrase file {file} is not UTF-8 text; write the passphrase in its first line"
        ) from error
    line = text.split("\n", 1)[0].rstrip("\r")
    if not line:
        raise FedfrError(f"the first line of the passphrase file {file} is empty; write the passphrase there")
    return line


def steps(reporter: Progress, stage: str) -> Callable[[int, int], None]:
    """Return a function that shows how many of all steps are done."""
    return lambda done, total: reporter.update(stage, done, total)


def new_passphrase(file: Path | None, ask: bool) -> str | None:
    """Return the passphrase for a new key: from a file, asked for twice, or None for a key without one."""
    if file is not None and ask:
        raise FedfrError("both a passphrase file and --ask-passphrase are given; give one of them")
    if file is not None:
        return read_passphrase(file)
    if not ask:
        return None
    if not sys.stdin.isatty():
        raise FedfrError("--ask-passphrase needs a terminal; give a passphrase file instead")
    answer: str = typer.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True)
    return answer


def open_recognizer(folder: Path, passphrase_file: Path | None, *, model: bool = True) -> Recognizer:
    """Open a gallery; a terminal asks for the passphrase if the gallery needs one and no file is given.

    Without ``model``, the model is opened only when it is needed: it may be missing or damaged.
    """
    from fedfr.recognition.gallery.gallery import Gallery
    from fedfr.recognition.recognizer import Recognizer

    passphrase = passphrase_for(folder, passphrase_file)
    return Recognizer.open(folder, passphrase) if model else Recognizer(Gallery.open(folder, passphrase))


def import_backbone(name: str | None) -> None:
    """Import the backbone of another package, if one is named."""
    if name is not None:
        from fedfr.models import BACKBONES

        _ = BACKBONES[name]


def preprocessing_of(colour: str | None, mean: str | None, std: str | None, entry: str | None) -> UserPreprocessing:
    """Return the preprocessing that is given for a model without a contract."""
    from fedfr.models import UserPreprocessing
    from fedfr.models.user_preprocessing import levels_of

    return UserPreprocessing(colour, levels_of(mean, "--mean"), levels_of(std, "--std"), entry)


def open_gallery(folder: Path, passphrase_file: Path | None) -> Gallery:
    """Open a gallery without its model; the passphrase as in :func:`open_recognizer`."""
    from fedfr.recognition.gallery.gallery import Gallery

    return Gallery.open(folder, passphrase_for(folder, passphrase_file))


def passphrase_for(folder: Path, file: Path | None) -> str | None:
    """Return the passphrase of a gallery, None if it has none; raises :class:`FedfrError` if nobody can be asked."""
    from fedfr.recognition.gallery.encryption import SiteKey
    from fedfr.recognition.gallery.store import KEY_FILE

    if file is not None:
        return read_passphrase(file)
    if (folder / KEY_FILE).exists() and SiteKey.has_passphrase(folder / KEY_FILE):
        if not sys.stdin.isatty():
            raise FedfrError(
                f"the gallery {folder} needs its passphrase, and there is no terminal; give --passphrase-file"
            )
        answer: str = typer.prompt(f"Passphrase of {folder}", hide_input=True, err=True)
        return answer
    return None


def reason_lines(reasons: tuple[str, ...]) -> list[str]:
    """Return one line for each reason: its code, what it means and what to do."""
    from fedfr.recognition.decision import REASONS

    return [f"{code}: {REASONS[code].text}; {REASONS[code].advice}" for code in reasons]


def print_decision(decision: Decision) -> None:
    """Print a decision as text."""
    print_lines(f"{decision.outcome}: {decision.person}" if decision.accepted else decision.outcome)
    for line in reason_lines(decision.reasons):
        print_lines(f"  {line}")
    numbers = [
        f"{name} {value:.3f}"
        for name, value in (("score", decision.score), ("threshold", decision.threshold), ("margin", decision.margin))
        if value is not None
    ]
    if decision.llr is not None:
        numbers.append(f"log-likelihood ratio {decision.llr:.1f}")
    if numbers:
        print_lines(f"  {', '.join(numbers)}")
    if decision.strangers_passing is not None:
        print_lines(f"  {decision.strangers_passing.text}")


def exit_with(code: int) -> None:
    """End the command with an exit code other than 0."""
    if code:
        raise typer.Exit(code)


def facts(values: dict[str, Any]) -> list[str]:
    """Return one aligned line per value."""
    width = max(map(len, values))
    return [f"{name:<{width}}  {value}" for name, value in values.items()]
