"""``fedfr site run``: supervised SuperNode of a site."""

from __future__ import annotations

import logging
import socket
from dataclasses import asdict
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.core.files import locked, write_json
from fedfr.deployment.address import Address, take_port
from fedfr.deployment.background import free_port
from fedfr.deployment.guard import write_programs
from fedfr.deployment.processes import environment, supernode
from fedfr.deployment.routes import Route
from fedfr.deployment.secrets import load_key
from fedfr.deployment.site import SiteConfig
from fedfr.deployment.site_folder import KEY, ROOT
from fedfr.deployment.supervisor import Backoff, Supervised, Supervisor

__all__ = ["RUNNING", "run_site"]

HERE = "127.0.0.1"
RUNNING = "running.json"
"""Status of the site's process while the site runs."""

_log = logging.getLogger("fedfr.deployment")


def run_site(path: Path, backoff: Backoff | None = None) -> int:
    """Run the SuperNode of the site of this ``site.yaml`` until SIGTERM or SIGINT, restarting it when it dies.

    Raises :class:`FedfrError` for a configuration that cannot be used, a key that others can read, a proxy or
    a port that cannot be used, and while the site runs already. Whether the faces are there is asked for every message
    anew: a mended site needs no restart.
    """
    config, folder = SiteConfig.load(path), path.resolve().parent
    if config.server is None:
        raise FedfrError(f"{path} names no server; give its host and port")
    load_key(folder / KEY)
    if not (folder / ROOT).is_file():
        raise FedfrError(f"{folder / ROOT} is missing; put the coordinator's certificate there")
    home = folder / "flower"
    programs = write_programs(home / "programs")
    route = Route.to(Address.parse(config.server))
    port = 0

    def command() -> list[str]:
        nonlocal port
        port = config.port or free_port()
        take_port(port, [(socket.AF_INET, HERE)], folder)
        return supernode(route.address, path.resolve(), Address(HERE, port), folder / ROOT, folder / KEY)

    def told(state: Supervised) -> None:
        try:
            write_json(folder / RUNNING, {**asdict(state), "port": port})
        except FedfrError as error:
            # A full disk must not stop the running process.
            _log.warning("%s", error)

    variables = environment(home, programs=programs, proxies=route.variables())
    with locked(folder):
        # The status of the previous process is outdated.
        (folder / RUNNING).unlink(missing_ok=True)
        return Supervisor(command, variables, backoff or Backoff(), on_change=told).run()
