"""``fedfr benchmark``: comparison of methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedfr.cli.completion import benchmarks, method_lists, scenarios
from fedfr.cli.interruption import REPEAT_COMMAND, interruptible
from fedfr.cli.output import AsJson, Overrides, Track, print_json, print_lines, tracked

__all__ = ["benchmark"]


def benchmark(
    name: Annotated[str, typer.Argument(help="{benchmarks}; see `fedfr list benchmarks`.", autocompletion=benchmarks)],
    out: Annotated[Path, typer.Option("--out", help="Folder; an unfinished benchmark in it is continued.")],
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            help="Methods to compare, separated by commas (see `fedfr list methods`).",
            autocompletion=method_lists,
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="Number of seeds, or deals of people: 0, 1, …")
    ] = None,
    scenario: Annotated[
        str | None,
        typer.Option(
            "--scenario", help="Scenario to vary: {scenarios}; see `fedfr list scenarios`.", autocompletion=scenarios
        ),
    ] = None,
    start: Annotated[
        list[str] | None,
        typer.Option(
            "--start",
            metavar="[published:]FILE",
            help="Starting model: a checkpoint tuned on the public images, with published: as it is, or scratch, "
            "pre-trained in the run; may be repeated.",
        ),
    ] = None,
    budget: Annotated[str, typer.Option("--budget", help="{budgets}.")] = "cpu",
    reuse: Annotated[
        Path | None,
        typer.Option(
            "--reuse",
            metavar="FOLDER",
            help="Folder of another benchmark, from which finished methods with the same people and settings are "
            "copied.",
        ),
    ] = None,
    settings: Overrides = None,
    track: Track = None,
    as_json: AsJson = False,
) -> None:
    """Compare methods on the same faces, starting model and number of rounds, with paired intervals."""
    from fedfr.config.schema import parse_overrides
    from fedfr.experiments.benchmark import Benchmark
    from fedfr.experiments.benchmark_plan import SCRATCH, plan_benchmark
    from fedfr.experiments.report import open_report, save_page, write_report
    from fedfr.reporting.benchmark_table import benchmark_tables, tables_text
    from fedfr.reporting.primary_table import primary_text
    from fedfr.reporting.text_tables import screen_width

    plan = plan_benchmark(
        name,
        budget=budget,
        methods=[each.strip() for each in methods.split(",")] if methods else None,
        seeds=seeds,
        settings=parse_overrides(settings or []),
        scenario=scenario,
        starts=start or (SCRATCH,),
    )
    with interruptible(REPEAT_COMMAND), tracked(track, out) as reporter:
        benchmark = Benchmark.begin(plan, out, reporter)
        results = benchmark.run(reporter, reuse)
    if as_json:
        print_json([result.to_dict() for result in results])
        write_report(out)
        return
    report = open_report(out)
    for section in report.sections:
        print(f"## {section.heading}\n" if len(report.sections) > 1 else "", end="")
        costs = section.deal_costs
        if declared := primary_text(section.rows, section.primary, section.deals, screen_width()):
            print(declared, end="\n\n")
        print(tables_text(benchmark_tables(section.rows, section.deals, costs), costs, screen_width()), end="\n\n")
    if report.gains:
        print(report.gain_text(screen_width()), end="\n\n")
    print_lines(f"every metric with its counts and costs: {out / 'results.csv'}")
    print_lines(f"report with tables, curves and costs: {save_page(report, out / 'report.html')}")
