"""Commands that begin, resume, evaluate and report runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedfr.cli.choices import CommandWithChoices
from fedfr.cli.completion import configurations
from fedfr.cli.completion import protocols as protocol_names
from fedfr.cli.interruption import REPEAT_COMMAND, interruptible, resume_hint
from fedfr.cli.models import Colour, Entry, Mean, Std
from fedfr.cli.output import AsJson, Overrides, Track, Workers, overrides_of, print_json, print_lines, progress, tracked

if TYPE_CHECKING:
    from fedfr.results.result_rows import Row

__all__ = ["register"]

Out = Annotated[Path, typer.Option("--out", help="Folder for the run; must be new or empty.")]
Run = Annotated[Path, typer.Argument(help="A run's folder.")]
Config = Annotated[
    str,
    typer.Argument(
        help="A YAML file, or the name of a preset (see `fedfr list presets`).", autocompletion=configurations
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (train, pretrain, resume, evaluate, report):
        app.command(cls=CommandWithChoices)(command)


def train(
    config: Config,
    out: Out,
    settings: Overrides = None,
    workers: Workers = None,
    track: Track = None,
    as_json: AsJson = False,
) -> None:
    """Pre-train if needed, run the method and its baselines, evaluate, and print the results table."""
    from fedfr.config.schema import load_config
    from fedfr.experiments.experiment import Experiment

    started = time.monotonic()
    with interruptible(resume_hint(out)), tracked(track, out) as reporter:
        Experiment.create(load_config(config, overrides_of(settings, workers)), out, reporter)
        rows = Experiment.open(out).run(reporter)
    _print_results(out, rows, time.monotonic() - started, as_json)


def resume(run: Run, workers: Workers = None, track: Track = None, as_json: AsJson = False) -> None:
    """Resume a run where it stopped; a finished run only prints its results table."""
    from fedfr.experiments.experiment import Experiment

    started = time.monotonic()
    experiment = Experiment.open(run, workers=workers)
    with interruptible(resume_hint(run)), tracked(track, run) as reporter:
        rows = experiment.run(reporter)
    _print_results(run, rows, time.monotonic() - started, as_json)


def pretrain(config: Config, out: Out, settings: Overrides = None, as_json: AsJson = False) -> None:
    """Run or resume pre-training only; `fedfr resume` then runs the rounds."""
    from fedfr.config.schema import load_config
    from fedfr.experiments.experiment import Experiment

    with interruptible(REPEAT_COMMAND), progress() as reporter:
        Experiment.begin(load_config(config, settings or []), out, reporter).pretrain(reporter)
    path = out / "pretrained" / "generic.safetensors"
    if as_json:
        print_json({"model": str(path)})
    else:
        print_lines(f"pre-trained model: {path}\ncontinue with: fedfr resume {out}")


def evaluate(
    target: Annotated[Path, typer.Argument(help="A run's folder, or a model with --faces: .safetensors, .pth, .onnx.")],
    protocols: Annotated[
        list[str] | None,
        typer.Option(
            "--protocol", help="Protocol to run, by default all; may be repeated.", autocompletion=protocol_names
        ),
    ] = None,
    faces: Annotated[
        Path | None, typer.Option("--faces", help="Faces for a single model: a face set, a .bin, or IJB-B or IJB-C.")
    ] = None,
    colour: Colour = None,
    mean: Mean = None,
    std: Std = None,
    entry: Entry = None,
    features: Annotated[
        Path | None,
        typer.Option(
            "--features", help="IJB: folder to keep features in, so that an interrupted evaluation continues."
        ),
    ] = None,
    settings: Overrides = None,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", help="The model's backbone, where it is of another package: it is imported."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate the newest models of a run, or one model on a folder of faces."""
    from fedfr.config.schema import parse_overrides
    from fedfr.experiments.model_evaluation import evaluate as evaluate_target
    from fedfr.models import BACKBONES, UserPreprocessing
    from fedfr.models.user_preprocessing import levels_of
    from fedfr.reporting.table import results_table
    from fedfr.reporting.text_tables import screen_width

    kept = f"interrupted; finished features are kept in {features}, repeat the same command to continue"
    if backbone is not None:
        _ = BACKBONES[backbone]
    with interruptible(kept if features else "interrupted"), progress() as reporter:
        rows = evaluate_target(
            target,
            faces=faces,
            protocols=protocols,
            user_preprocessing=UserPreprocessing(colour, levels_of(mean, "--mean"), levels_of(std, "--std"), entry),
            progress=reporter,
            features=features,
            settings=parse_overrides(settings or []),
        )
    if as_json:
        print_json([row.to_dict() for row in rows])
    else:
        print(results_table(rows, screen_width()))


def report(
    target: Annotated[Path, typer.Argument(metavar="RUN|BENCHMARK", help="A run's folder, or a benchmark's.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Output file, by default report.html in the folder.")
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", metavar="DIR", help="Also write every figure as PDF, SVG and PNG to this folder."),
    ] = None,
    tables: Annotated[
        Path | None,
        typer.Option(
            "--tables", metavar="DIR", help="Also write every table as LaTeX, Markdown and CSV to this folder."
        ),
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Print the results after every `evaluation.every` rounds as JSON instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the results and write them, with curves and costs, as a self-contained HTML page."""
    from fedfr.experiments.report import open_report, save_figures, save_page, save_tables
    from fedfr.reporting.benchmark_table import results_text
    from fedfr.reporting.primary_table import primary_text
    from fedfr.reporting.text_tables import screen_width, wrapped

    content = open_report(target)
    written = [
        (what, folder, len(save(content, folder)))
        for what, folder, save in (("figures", figures, save_figures), ("tables", tables, save_tables))
        if folder is not None
    ]
    if history:
        print_json([{**place, "evaluated": number, **row.to_dict()} for place, number, row in content.history()])
        return
    if as_json:
        print_json([{**place, **row.to_dict()} for place, row in content.results()])
        return
    print("\n".join(wrapped(line, screen_width()) for line in content.description), end="\n\n")
    for section in content.sections:
        print(f"## {section.heading}\n" if len(content.sections) > 1 else "", end="")
        if declared := primary_text(section.rows, section.primary, section.deals, screen_width()):
            print(declared, end="\n\n")
        print(results_text(section.rows, screen_width(), section.deals, section.deal_costs), end="\n\n")
    if content.gains:
        print(content.gain_text(screen_width()), end="\n\n")
    for what, folder, count in written:
        print_lines(f"{what}: {count} files in {folder}")
    print_lines(f"report: {save_page(content, out or target / 'report.html')}")


def _print_results(folder: Path, rows: Sequence[Row], seconds: float, as_json: bool) -> None:
    from fedfr.experiments.experiment import Experiment
    from fedfr.experiments.report import write_report
    from fedfr.reporting.table import results_table
    from fedfr.reporting.text_tables import screen_width, wrapped

    if as_json:
        print_json([row.to_dict() for row in rows])
        write_report(folder)
        return
    print(
        "\n".join(wrapped(line, screen_width()) for line in Experiment.open(folder).describe().splitlines()), end="\n\n"
    )
    print(results_table(rows, screen_width()))
    print_lines(f"\nrun folder: {folder}   ({seconds:.0f} s)")
    print_lines(f"report: {write_report(folder)}")
    print_lines(f"generic model: {folder / 'generic.safetensors'}")
    print_lines(f"personalized models: {folder / 'clients' / '<id>' / 'personal.safetensors'}")
