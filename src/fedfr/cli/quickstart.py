"""``fedfr quickstart``: FedFR on real faces in minutes, with a verdict."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from fedfr.cli.interruption import REPEAT_COMMAND, interruptible
from fedfr.cli.output import AsJson, Overrides, Track, Workers, overrides_of, print_json, print_lines, tracked

__all__ = ["quickstart"]


def quickstart(
    out: Annotated[Path, typer.Option("--out", help="Folder; an unfinished quickstart in it is continued.")] = Path(
        "runs/quickstart"
    ),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Other deals of people and other random numbers.")] = 0,
    settings: Overrides = None,
    workers: Workers = None,
    track: Track = None,
    as_json: AsJson = False,
) -> None:
    """Run FedFR and local training on five deals of the ORL faces, and print what they show and what they do not."""
    from fedfr.config.schema import parse_overrides
    from fedfr.experiments.benchmark import Benchmark
    from fedfr.experiments.deals import deals_of
    from fedfr.experiments.quickstart import quickstart_plan
    from fedfr.experiments.report import write_report
    from fedfr.reporting.benchmark_table import overview_table
    from fedfr.reporting.text_tables import screen_width, text_table, wrapped
    from fedfr.reporting.verdict import answers, verdict

    started, width = time.monotonic(), screen_width()
    plan = quickstart_plan(parse_overrides(overrides_of(settings, workers)), seed)
    with interruptible(REPEAT_COMMAND), tracked(track, out) as reporter:
        benchmark = Benchmark.begin(plan, out, reporter)
        rows = [result.row for result in benchmark.run(reporter)]
    ((cell, runs),) = benchmark.finished().items()
    deals = deals_of(runs)
    page = write_report(out)
    if as_json:
        content = {"answers": [answer.to_dict() for answer in answers(rows, deals)]}
        print_json(content | {"results": [row.to_dict() for row in rows]})
        return
    print("\n".join(wrapped(line, width) for line in runs[0].describe().splitlines()[1:]), end="\n\n")
    (first, *titles), lines = overview_table(rows)
    print(text_table((first, *(title.replace(" ", "\n") for title in titles)), lines, width))
    print_lines(f"\nMean over {len(runs)} deals in %, in brackets the worst client of all.", indent=0)
    print(f"\n{verdict(rows, deals, width)}\n")
    print_lines(f"report with every metric, curves and costs: {page}   ({time.monotonic() - started:.0f} s)")
    print_lines(f"a run folder for each deal, with its models: {out / cell / 'seed-<n>'}")
