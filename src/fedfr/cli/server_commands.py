"""``fedfr server``: coordinator of a federation whose sites are other machines."""

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
    host: Annotated[
        list[str],
        typer.Option("--host", help="Host name or address at which sites reach this machine; may be repeated."),
    ],
    name: Annotated[str, typer.Option("--name", help="Name of the federation in its certificates.")] = "federation",
    port: Annotated[int, typer.Option("--port", help="Port for the sites.")] = 9443,
    inner_port: Annotated[
        int, typer.Option("--inner-port", help="Port of the SuperLink, open on 127.0.0.1 only.")
    ] = 9442,
) -> None:
    """Create the coordinator's folder: certificate authority, server certificate and a commented server.yaml."""
    needs_flower()
    from fedfr.deployment.coordinator import Coordinator

    opened = Coordinator.init(folder, host, name, port, inner_port)
    print_lines(
        f"{folder / 'server.yaml'}: {opened.config.name} at {', '.join(opened.config.hosts)}, port {opened.config.port}"
    )
    print_lines(f"sites reach it as {' or '.join(map(str, opened.addresses))}")
    print_lines(
        f"give {opened.tls / 'ca.crt'} to every site; keep {opened.tls / 'ca.key'} secret, preferably off this machine"
    )
    print_lines(f"then: fedfr server register {folder} SITE SITE.key.pub, and fedfr server run {folder}")


@app.command()
def register(
    folder: Folder,
    site: Annotated[str, typer.Argument(help="The site's id.")],
    key: Annotated[Path, typer.Argument(help="The site.key.pub that `fedfr site init` made there.")],
) -> None:
    """Register a site by its public key; the holder of the private key may then take part as this site."""
    place = _open(folder).register(site, key)
    print_lines(f"{place}: {site} may take part; a running server applies this at once")


@app.command()
def unregister(folder: Folder, site: Annotated[str, typer.Argument(help="The site's id.")]) -> None:
    """Remove a site that leaves or whose key was lost."""
    coordinator = _open(folder)
    coordinator.unregister(site)
    print_lines(f"{site} is removed; a running server applies this at once. To readmit it, register a new key")


@app.command()
def admit(folder: Folder, person: Annotated[str, typer.Argument(help="The person's name.")]) -> None:
    """Issue a personal certificate for Flower's control API; it gives as much access as an account on this machine."""
    certificate = _open(folder).admit(person)
    print_lines(f"{certificate}, {certificate.with_suffix('.key')}: hand them over in person, then delete the key here")
    print_lines(f"after its next start the server accepts {person}; to revoke, delete {certificate} and restart it")


@app.command()
def check(folder: Folder, as_json: AsJson = False) -> None:
    """Check the coordinator: certificates, ports, disk, sites; exit code 1 if a check fails."""
    coordinator = _open(folder)
    from fedfr.cli.deployment_options import show_lines
    from fedfr.deployment.checks import check_server

    show_lines(check_server(coordinator), as_json)


@app.command()
def run(folder: Folder, log_format: LogFormat = LogForm.TEXT) -> None:
    """Run the server until stopped: SuperLink, nginx, registration of sites, and submitted runs one after another."""
    coordinator = _open(folder)
    from fedfr.deployment.coordinator_service import CoordinatorService

    def log(text: str) -> None:
        _log.info("%s", text)

    run_logged(folder, log_format, lambda: CoordinatorService(coordinator, log).run())


@app.command()
def submit(
    folder: Folder,
    name: Annotated[str, typer.Argument(help="Name of the run, a folder in runs/.")],
    config: Annotated[
        str | None,
        typer.Argument(help="A YAML file or a preset; omit it to continue the run.", autocompletion=configurations),
    ] = None,
    settings: Overrides = None,
) -> None:
    """Submit a new run of the registered sites, or continue one; the server processes runs one after another."""
    coordinator = _open(folder)
    from fedfr.config.schema import load_config
    from fedfr.deployment.agreement import Agreement

    with progress() as reporter:
        agreement = coordinator.submit(name, None if config is None else load_config(config, settings or []), reporter)
    place = coordinator.submitted().index(name)
    ahead = f", behind {coordinator.submitted()[place - 1]} in the queue" if place else ""
    for line in Agreement.load(agreement).describe_privacy():
        print_lines(line)
    print_lines(f"run {name} is submitted{ahead}; give every site {agreement}")


@app.command()
def withdraw(folder: Folder, name: Annotated[str, typer.Argument(help="The run's name.")]) -> None:
    """Remove a run from the queue; a running one is stopped, and the next one starts."""
    _open(folder).withdraw(name)
    print_lines(f"run {name} is withdrawn; continue it with `fedfr server submit {folder} {name}`")


@app.command()
def forget(
    folder: Folder,
    path: Annotated[Path, typer.Argument(metavar="RECEIPT", help="The receipt (.json) of `fedfr site forget`.")],
    rewind: Annotated[
        bool,
        typer.Option("--rewind", help="Continue each run from its generic model of the last round before the person."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Record that a person withdrew at a site, and show or use the generic models from before the person took part."""
    coordinator = _open(folder)
    from fedfr.deployment.erasure.generic_remedy import record_withdrawal
    from fedfr.deployment.erasure.receipt import Receipt

    remedies = record_withdrawal(coordinator, Receipt.load(path), rewind=rewind)
    if as_json:
        print_json([remedy.to_json() for remedy in remedies])
        return
    if not remedies:
        print_lines("no run of this coordinator has models that were trained with the person")
    for remedy in remedies:
        print_lines(remedy.describe(folder))


@app.command()
def status(
    folder: Folder,
    watch: Annotated[bool, typer.Option("--watch", help="Repeat every two seconds until interrupted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the state of every run and the last activity of each site."""
    coordinator = _open(folder)
    from fedfr.deployment.status import status_of, table
    from fedfr.reporting.text_tables import screen_width

    while True:
        found: dict[str, Any] = status_of(coordinator)
        if as_json:
            print_json(found)
        else:
            if watch:
                typer.clear()
            print_lines(table(found, screen_width()))
        if not watch:
            return
        time.sleep(2)
