"""``fedfr site run``: a site's SuperNode, kept running."""

from __future__ import annotations

from pathlib import Path

from fedfr.deployment.address import Address
from fedfr.deployment.guard import write_programs
from fedfr.deployment.processes import environment, supernode
from fedfr.deployment.routes import Route
from fedfr.deployment.secrets import load_key
from fedfr.deployment.site import SiteConfig
from fedfr.deployment.site_folder import KEY, ROOT
from fedfr.deployment.supervisor import Backoff, Supervisor
from fedfr.errors import FedfrError
from fedfr.files import locked

__all__ = ["run_site"]


def run_site(path: Path, backoff: Backoff | None = None) -> int:
    """Run the SuperNode of the site whose ``site.yaml`` this is, until SIGTERM or SIGINT; if it dies, once more.

    Raises :class:`FedfrError` for a configuration that cannot be used, a key that others can read, a proxy that
    cannot be used, and while the site runs already. Whether the faces are there is asked for every message anew: a
    mended site needs no restart.
    """
    config, folder = SiteConfig.load(path), path.resolve().parent
    if config.server is None:
        raise FedfrError(f"{path} names no server; give its host and port")
    load_key(folder / KEY)
    if not (folder / ROOT).is_file():
        raise FedfrError(f"{folder / ROOT} is missing; put the coordinator's certificate there")
    home = folder / "flower"
    programs = write_programs(home / "programs")
    own = Address("127.0.0.1", config.port)
    route = Route.to(Address.parse(config.server))
    command = supernode(route.address, path.resolve(), own, folder / ROOT, folder / KEY)
    with locked(folder):
        return Supervisor(
            command, environment(home, programs=programs, proxies=route.variables()), backoff or Backoff()
        ).run()
