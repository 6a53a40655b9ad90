"""Service behind ``fedfr site run``: the supervised SuperNode of a site."""

from __future__ import annotations

import logging
import socket
from dataclasses import asdict
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.core.files import write_json
from fedfr.core.locks import locked
from fedfr.deployment.address import Address, await_free_port
from fedfr.deployment.background import free_port
from fedfr.deployment.erasure.journal import Erasure
from fedfr.deployment.gallery_watch import GalleryWatch
from fedfr.deployment.processes import environment, supernode_command
from fedfr.deployment.routes import Route
from fedfr.deployment.secrets import load_key
from fedfr.deployment.site_config import SiteConfig
from fedfr.deployment.site_folder import KEY, ROOT
from fedfr.deployment.site_programs import write_programs
from fedfr.deployment.supervisor import Backoff, ProcessStatus, Supervisor
from fedfr.faces.erasing import is_staged

__all__ = ["RUNNING", "run_site"]

LOCALHOST = "127.0.0.1"
RUNNING = "running.json"
"""Status of the site's process while the site runs."""

_log = logging.getLogger("fedfr.deployment")


def run_site(path: Path, backoff: Backoff | None = None) -> int:
    """Run the SuperNode of a site until SIGTERM or SIGINT, restarting it when it ends; return the exit code.

    An interrupted erasure of a person is finished first.
    ``path``: the site's ``site.yaml``. Returns 0 after SIGTERM and 130 after SIGINT. Raises :class:`FedfrError` for an
    unusable configuration, proxy or port, a key that others can read, and if the site is running already. Agreement and
    faces are opened for every message, so correcting them needs no restart.
    """
    config, folder = SiteConfig.load(path), path.resolve().parent
    if config.server is None:
        raise FedfrError(f"{path} names no server; give its host and port")
    load_key(folder / KEY)
    _finish_erasure(path, config)
    if not (folder / ROOT).is_file():
        raise FedfrError(f"{folder / ROOT} is missing; put the coordinator's certificate there")
    home = folder / "flower"
    programs = write_programs(home / "programs")
    route = Route.to(Address.parse(config.server))
    port = 0

    def command() -> list[str]:
        nonlocal port
        port = config.port or free_port()
        await_free_port(port, [(socket.AF_INET, LOCALHOST)], folder)
        return supernode_command(route.address, path.resolve(), Address(LOCALHOST, port), folder / ROOT, folder / KEY)

    def write_status(state: ProcessStatus) -> None:
        try:
            write_json(folder / RUNNING, {**asdict(state), "port": port})
        except FedfrError as error:
            # A full disk must not stop the running process.
            _log.warning("%s", error)

    variables = environment(home, programs=programs, proxies=route.variables())
    with locked(folder):
        # The status of the previous process is outdated.
        (folder / RUNNING).unlink(missing_ok=True)
        with GalleryWatch(path).running():
            return Supervisor(command, variables, backoff or Backoff(), on_change=write_status).run()


def _finish_erasure(path: Path, config: SiteConfig) -> None:
    if Erasure.unfinished(Path(config.private)) is None and not is_staged(Path(config.faces.path)):
        return
    # Erasing needs PyTorch, supervising a site does not.
    from fedfr.deployment.erasure.execution import finish_erasure

    receipt = finish_erasure(path)
    if receipt is not None:
        _log.warning("the interrupted erasure of %s is finished", receipt.content["person"])
