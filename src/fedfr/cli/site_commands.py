"""``fedfr site``: one site of a federation, on the machine that holds its faces."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from fedfr.cli import site_erasure
from fedfr.cli.deployment_options import LogForm, LogFormat, needs_flower, run_logged, show_lines
from fedfr.cli.interruption import REPEAT_COMMAND, interruptible
from fedfr.cli.output import AsJson, print_json, print_lines, progress
from fedfr.core.operating_system import usable_cores

__all__ = ["app"]

app = typer.Typer(help="Take part in a federation with the faces of this machine.", no_args_is_help=True)
app.command()(site_erasure.forget)
app.command()(site_erasure.receipt)

Folder = Annotated[Path, typer.Argument(help="The site's folder.")]


@app.command()
def init(
    folder: Folder,
    client: Annotated[str, typer.Option("--client", help="Client id of this site.")],
    server: Annotated[str, typer.Option("--server", help="Host and port of the coordinator.")],
    authority: Annotated[Path, typer.Option("--ca", help="The ca.crt from the coordinator.")],
    faces: Annotated[str, typer.Option("--faces", help="Face set made by `fedfr faces import`.")] = "faces",
    port: Annotated[
        int | None,
        typer.Option("--port", help="Port for the site's own processes on 127.0.0.1; by default a free one."),
    ] = None,
) -> None:
    """Create the site's folder: its keys and a commented site.yaml."""
    needs_flower()
    from fedfr.deployment.site_folder import init_site
    from fedfr.faces import FacesWarning
    from fedfr.faces.storage import is_face_set

    inside = faces == "faces"
    place = faces if inside else str(Path(faces).resolve())
    site = init_site(folder, client, server, authority, place, port, usable_cores())
    if not inside and not is_face_set(place):
        warnings.warn(
            f"there is no face set in {place}; import the faces there with `fedfr faces import SOURCE {faces}`, or "
            f"correct `faces` in {site.config}",
            FacesWarning,
            stacklevel=1,
        )
    print_lines(f"{site.config}: review it")
    print_lines(f"send {site.public_key} to the coordinator over a channel on which it cannot be exchanged")
    faces_first = f"fedfr faces import SOURCE {folder / 'faces'}, " if inside else ""
    print_lines(f"then: {faces_first}fedfr site check {folder}, and fedfr site run {folder}")


@app.command()
def key(folder: Folder) -> None:
    """Show the site's public keys with their fingerprints; create the key for secure sums if the site has none."""
    needs_flower()
    from fedfr.deployment.public_keys import key_fingerprint
    from fedfr.deployment.site_folder import KEY, write_public_keys

    for purpose, line in zip(("connection", "secure sums"), write_public_keys(folder), strict=True):
        print_lines(f"{purpose}: {key_fingerprint(line)}")
    print_lines(f"both are in {folder / KEY}.pub; send it to the coordinator, who registers it")


@app.command()
def check(folder: Folder, as_json: AsJson = False) -> None:
    """Check the site: key, server, registration, clock, faces, disk; exit code 1 if a check fails."""
    needs_flower()
    from fedfr.deployment.checks import check_site

    show_lines(check_site(folder / "site.yaml"), as_json)


@app.command()
def fetch(folder: Folder) -> None:
    """Download the public faces and the strangers named in the agreement from the coordinator and verify them."""
    needs_flower()
    from fedfr.deployment.site import Site
    from fedfr.deployment.site_sets import fetch_sets

    site = Site.open(folder / "site.yaml")
    if not site.agreement.public:
        print_lines(f"{site.agreement.method.name} needs no public faces")
    with interruptible(REPEAT_COMMAND), progress() as reporter:
        report = partial(reporter.update, "fetching", unit="bytes")
        for found in fetch_sets(site, folder, report):
            if found.faces is None:
                print_lines(f"{found.what}: not downloaded, because site.yaml names no folder for them")
                continue
            counts = f"{len(found.faces)} images of {found.faces.num_identities} identities"
            print_lines(f"{found.folder}: {counts}, as agreed")


@app.command()
def run(folder: Folder, log_format: LogFormat = LogForm.TEXT) -> None:
    """Run the site until stopped; processes that end are restarted."""
    needs_flower()
    from fedfr.deployment.site_service import run_site

    run_logged(folder, log_format, lambda: run_site(folder / "site.yaml"))


@app.command()
def export(
    folder: Folder,
    destination: Annotated[Path, typer.Argument(help="The .safetensors to write; must not exist.")],
) -> None:
    """Write the site's personalized model, which is as private as the faces of the people enrolled here."""
    needs_flower()
    from fedfr.deployment.site import Site

    number = Site.open(folder / "site.yaml").export(destination)
    print_lines(f"{destination}: the personalized model of round {number}; store it only where the faces may be stored")


@app.command()
def evaluate(
    folder: Folder,
    protocols: Annotated[
        list[str] | None, typer.Option("--protocol", help="Protocol to run, by default all; may be repeated.")
    ] = None,
    strangers: Annotated[
        Path | None,
        typer.Option(
            "--strangers",
            help="Faces of people unknown to the site; by default those of the agreement, else the public faces.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A=B", help="Setting of the evaluation, for example fars=[0.01,0.001]."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate the site's personalized model on the site's own test images; nothing leaves the machine."""
    needs_flower()
    from fedfr.config.schema import parse_overrides
    from fedfr.deployment.site import Site
    from fedfr.deployment.site_evaluation import evaluate_site
    from fedfr.reporting.table import results_table
    from fedfr.reporting.text_tables import screen_width

    with progress() as reporter:
        rows = evaluate_site(
            Site.open(folder / "site.yaml"),
            strangers=strangers,
            protocols=protocols,
            settings=parse_overrides(settings or []),
            progress=reporter,
        )
    if as_json:
        print_json([row.to_dict() for row in rows])
    else:
        print(results_table(rows, screen_width()))


@app.command()
def status(folder: Folder, as_json: AsJson = False) -> None:
    """Show whether the site runs, and the rounds whose private states it keeps."""
    needs_flower()
    from fedfr.deployment.status import site_status

    content = site_status(folder / "site.yaml")
    if as_json:
        print_json(content)
        return
    for name, value in content.items():
        if isinstance(value, dict):
            for each, state in value.items():
                print_lines(f"{name}: {each} {state}")
        else:
            print_lines(f"{name.replace('_', ' ')}: {value}")
