"""Federation on one machine: a SuperLink and a SuperNode per site over loopback, without encryption.

For demonstrations, tests and measurements. Real sites run on their own machines and use TLS.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fedfr.deployment.address import Address
from fedfr.deployment.background import BackgroundProcesses, free_port
from fedfr.deployment.processes import ControlClient, environment, superlink_command, supernode_command
from fedfr.deployment.site_programs import write_programs

__all__ = ["Loopback"]


class Loopback(BackgroundProcesses):
    """SuperLink and SuperNodes as background processes, named ``superlink`` and by client id.

    ``folder``: for Flower's files and the processes' output. ``runs``: folder of the experiments. ``sites``: path of
    ``site.yaml`` by client id.
    """

    def __init__(self, folder: Path, runs: Path, sites: Mapping[str, Path]) -> None:
        super().__init__(folder)
        self.sites = sites
        self.link = Address("127.0.0.1", free_port())
        self.control = ControlClient(self.link, folder / "operator")
        self._runs = runs

    def start_all(self) -> None:
        """Start the SuperLink and all sites."""
        self.start_link()
        for client in self.sites:
            self.start_site(client)

    def start_link(self) -> None:
        """Start the SuperLink; return when it listens."""
        self.start("superlink", superlink_command(self.link), environment(self.folder / "superlink", self._runs))
        self.wait_for_port("superlink", self.link)

    def start_site(self, client: str, link: Address | None = None, programs: Path | None = None) -> None:
        """Start a site's SuperNode; ``link`` replaces the SuperLink address, ``programs`` those of a site."""
        programs = programs or write_programs(self.folder / client / "programs")
        command = supernode_command(link or self.link, self.sites[client], Address("127.0.0.1", free_port()))
        self.start(client, command, environment(self.folder / client, programs=programs))
