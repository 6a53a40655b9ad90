"""``fedfr privacy``: what differential privacy for a person would cost, and what a finished run reveals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedfr.cli.interruption import interruptible
from fedfr.cli.output import AsJson, print_json, print_lines, progress

__all__ = ["app"]

app = typer.Typer(
    help="Plan differential privacy for an enrolled person, and audit what a run reveals.", no_args_is_help=True
)


@app.callback()
def _privacy() -> None:
    """Plan differential privacy for an enrolled person, and audit what a run reveals."""


@app.command()
def plan(
    people: Annotated[int, typer.Option("--people", help="Enrolled persons at all sites, an agreed number.")],
    sites: Annotated[int, typer.Option("--sites", help="Sites in each sum.")],
    rounds: Annotated[int, typer.Option("--rounds", help="Rounds of training.")],
    values: Annotated[int, typer.Option("--values", help="Number of trained parameters.")],
    threshold: Annotated[
        int | None,
        typer.Option("--threshold", help="Threshold of the secure sum; by default that of runs, 27 for 40 sites."),
    ] = None,
    colluding: Annotated[
        int | None,
        typer.Option("--colluding", help="Sites that may tell the server their noise, by default a third."),
    ] = None,
    honest: Annotated[
        int | None,
        typer.Option(
            "--honest",
            help="In place of the two: sites of each sum whose noise an attacker does not know; 1 without a secure "
            "sum.",
        ),
    ] = None,
    clip: Annotated[float, typer.Option("--clip", help="Largest norm C of a person's change.")] = 1.0,
    epsilon: Annotated[float, typer.Option("--epsilon", help="Budget ε of a person for all rounds, at most 10.")] = 8.0,
    delta: Annotated[float, typer.Option("--delta", help="Budget δ, below 1 / people.")] = 1e-5,
    as_json: AsJson = False,
) -> None:
    """Print noise, ε, δ and the ratio of noise to signal; settings under which nothing is learned are refused.

    It plans only; `privacy.dp` sets it for a run.
    """
    from fedfr.core.errors import FedfrError
    from fedfr.core.settings import validate
    from fedfr.privacy.person_dp import PlanSettings, honest_contributors, make_plan, sum_sites

    if honest is None:
        honest = honest_contributors(*sum_sites(sites, threshold, colluding))
    elif threshold is not None or colluding is not None:
        raise FedfrError("--honest is given beside --threshold or --colluding; give either --honest or these")
    given = {
        "people": people,
        "sites": sites,
        "honest": honest,
        "rounds": rounds,
        "values": values,
        "clip": clip,
        "epsilon": epsilon,
        "delta": delta,
    }
    made = make_plan(validate(PlanSettings, given, "fedfr privacy plan"))
    if as_json:
        mechanism = made.mechanism
        print_json(
            {
                **given,
                "epsilon": made.epsilon,
                "noise_multiplier": mechanism.noise_multiplier,
                "noise_ratio": made.noise_ratio,
                "single_ratio": made.single_ratio,
                "steps": mechanism.steps,
                "site_variance": mechanism.site_variance,
            }
        )
        return
    print_lines(made.text(), 11)


@app.command()
def audit(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run on this machine, with all its faces.")],
    people: Annotated[
        int, typer.Option("--people", min=2, help="Most enrolled people to test, and as many who are not enrolled.")
    ] = 200,
    canaries: Annotated[
        int,
        typer.Option(
            "--canaries", min=0, help="Drawn people with whom the round is repeated for a lower bound on ε; 0 for none."
        ),
    ] = 32,
    as_json: AsJson = False,
) -> None:
    """Measure what observers of a run can infer about people, with intervals and controls.

    The last round is repeated, and compared with the stored one. Observers are a server that sees each update or only
    their sum, another site, and holders of the final model, of a personalized model and of a gallery. For simulations,
    and for the data of people who agreed to it. The result is stored in the run's folder, and `fedfr report` shows it.
    """
    from fedfr.experiments.privacy_audit import audit_run
    from fedfr.reporting.audit_table import audit_text
    from fedfr.reporting.text_tables import screen_width

    with interruptible("interrupted; repeat the command"), progress() as reporter:
        rows = audit_run(run, people=people, canaries=canaries, progress=reporter)
    if as_json:
        print_json([row.to_dict() for row in rows])
    else:
        print(audit_text(rows, screen_width()))
