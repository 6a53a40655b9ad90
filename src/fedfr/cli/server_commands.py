"""``fedfr server``: the coordinator of a federation whose sites are other machines."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedfr.cli.completion import configurations
from fedfr.cli.deployment_options import LogForm, LogFormat, needs_flower, run_logged
from fedfr.cli.output import AsJson, Overrides, print_json, print_lines, progress

if TYPE_CHECKING:
    from fedfr.deployment.coordinator import Coordinator

__all__ = ["app"]

_log = logging.getLogger("fedfr.deployment")

app = typer.Typer(help="Coordinate a federation whose sites are other machines.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="The coordinator's folder.")]


def _open(folder: Path) -> Coordinator:
    needs_flower()
    from fedfr.deployment.coordinator import Coordinator

    return Coordinator.open(folder)


@app.command()
def init(
    folder: Folder,
    host: Annotated[list[str], typer.Option("--host", help="A name or address by which sites reach this machine.")],
    name: Annotated[
        str, typer.Option("--name", help="What the federation is called in its certificates.")
    ] = "federation",
    port: Annotated[int, typer.Option("--port", help="Where sites connect to.")] = 9443,
    inner_port: Annotated[int, typer.Option("--inner-port", help="For the SuperLink, on 127.0.0.1 alone.")] = 9442,
) -> None:
    """Make the coordinator's folder: an authority, the server's certificate, a commented server.yaml."""
    needs_flower()
    from fedfr.deployment.coordinator import Coordinator

    made = Coordinator.init(folder, host, name, port, inner_port)
    print_lines(
        f"{folder / 'server.yaml'}: {made.config.name} at {', '.join(made.config.hosts)}, port {made.config.port}"
    )
    print_lines(f"sites reach it as {' or '.join(map(str, made.addresses))}")
    print_lines(f"give every site {made.tls / 'ca.crt'}; keep {made.tls / 'ca.key'} to yourself, best off this machine")
    print_lines(f"then: fedfr server register {folder} SITE SITE.key.pub, and fedfr server run {folder}")


@app.command()
def register(
    folder: Folder,
    site: Annotated[str, typer.Argument(help="The site's id.")],
    key: Annotated[Path, typer.Argument(help="The site.key.pub that `fedfr site init` made there.")],
) -> None:
    """Let a site take part: whoever has the private key to this public one speaks for it."""
    place = _open(folder).register(site, key)
    print_lines(f"{place}: {site} may take part, at once if the server runs")


@app.command()
def unregister(folder: Folder, site: Annotated[str, typer.Argument(help="The site's id.")]) -> None:
    """Let a site take part no more, because it leaves or its key was lost."""
    coordinator = _open(folder)
    coordinator.unregister(site)
    print_lines(f"{site} may take part no more, at once if the server runs; to let it in again, register a new key")


@app.command()
def admit(folder: Folder, person: Annotated[str, typer.Argument(help="The person's name.")]) -> None:
    """Make a certificate for a person who may use Flower's control API: as good as an account on this machine."""
    certificate = _open(folder).admit(person)
    print_lines(f"{certificate}, {certificate.with_suffix('.key')}: hand them over in person, and remove the key here")
    print_lines(
        f"from its next start the server lets {person} in; no more after {certificate} is gone and it has restarted"
    )


@app.command()
def check(folder: Folder, as_json: AsJson = False) -> None:
    """Look over the coordinator: certificates, ports, disk, sites; exit code 1 where something is to be done."""
    coordinator = _open(folder)
    from fedfr.cli.deployment_options import show_lines
    from fedfr.deployment.checks import check_server

    show_lines(check_server(coordinator), as_json)


@app.command()
def run(folder: Folder, log_format: LogFormat = LogForm.TEXT) -> None:
    """Serve: SuperLink and nginx are kept running, sites let in, submitted runs worked on; until it is stopped."""
    coordinator = _open(folder)
    from fedfr.deployment.serving import Serving

    def note(text: str) -> None:
        _log.info("%s", text)

    run_logged(folder, log_format, lambda: Serving(coordinator, note).run())


@app.command()
def submit(
    folder: Folder,
    name: Annotated[str, typer.Argument(help="The run's name, a folder in runs/.")],
    config: Annotated[
        str | None,
        typer.Argument(help="A YAML file or a preset; left out: go on with the run.", autocompletion=configurations),
    ] = None,
    settings: Overrides = None,
) -> None:
    """Make a run of registered sites, or go on with one; the server works on one run after the other."""
    coordinator = _open(folder)
    from fedfr.config.schema import load_config

    with progress() as reporter:
        agreement = coordinator.submit(name, None if config is None else load_config(config, settings or []), reporter)
    place = coordinator.submitted().index(name)
    ahead = f", behind {coordinator.submitted()[place - 1]} in the queue" if place else ""
    print_lines(f"run {name} is submitted{ahead}; give every site {agreement}")


@app.command()
def withdraw(folder: Folder, name: Annotated[str, typer.Argument(help="The run's name.")]) -> None:
    """Take a run out of the queue; one that is at work is stopped, and the next one begins."""
    _open(folder).withdraw(name)
    print_lines(f"run {name} is withdrawn; `fedfr server submit {folder} {name}` goes on with it")


@app.command()
def status(
    folder: Folder,
    watch: Annotated[bool, typer.Option("--watch", help="Again every two seconds, until interrupted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Where every run stands, and what each site did last."""
    coordinator = _open(folder)
    from fedfr.deployment.status import status_of, table

    while True:
        found: dict[str, Any] = status_of(coordinator)
        if as_json:
            print_json(found)
        else:
            if watch:
                typer.clear()
            print_lines(table(found))
        if not watch:
            return
        time.sleep(2)
