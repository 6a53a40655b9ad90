"""``make deploy-demo``: a complete federation on one machine, with TLS, keys, proxy, and injected faults.

A coordinator and three sites, each a folder and processes of its own, started by the commands that operators use. On
the way one site and the coordinator are killed and started again.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from fedfr.config.schema import ExperimentConfig, load_config
from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json_lines
from fedfr.deployment.address import Address
from fedfr.deployment.background import Background, free_port, wait_for
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.partition_export import export_partitions
from fedfr.deployment.public_set import fetch
from fedfr.deployment.site import Site
from fedfr.deployment.site_folder import ROOT, init_site
from fedfr.deployment.status import status_of, table
from fedfr.experiments.experiment import Experiment

__all__ = ["Demo", "main"]

RUN = "demo"
SETTINGS = (
    "split.settings.clients=3",
    "baselines=[]",
    "federation.rounds=4",
    "pretrain.epochs=10",
    "runtime.threads=1",
)


class Demo(Background):
    """Coordinator and site folders below ``folder``, and their processes.

    Processes are called ``coordinator``, and by their client's id. ``host``: by which the sites know the coordinator.
    """

    def __init__(
        self, folder: Path, config: ExperimentConfig, say: Callable[[str], None] = print, host: str = "localhost"
    ) -> None:
        folder = folder.resolve()
        super().__init__(folder)
        self.say = say
        self.local = Experiment.create(config, folder / "local")
        self.clients = export_partitions(self.local.components, folder / "faces", RUN)
        self.coordinator = Coordinator.init(folder / "coordinator", [host], "demo", free_port(), free_port())
        self.sites = {client: self._site(client) for client in self.clients}

    def _site(self, client: str) -> Path:
        """Create and return a site's folder with the steps of its operator."""
        server, mine = str(self.coordinator.addresses[0]), self.folder / "faces" / "sites" / client
        site = self.folder / "sites" / client
        made = init_site(site, client, server, self.coordinator.tls / ROOT, str(mine / "faces"), free_port(), 1)
        text = made.config.read_text(encoding="utf-8")
        # The same division of the images as in the simulated run that the demonstration is compared with.
        manifest = f'manifest: "{mine / "split.json"}"'
        made.config.write_text(text.replace("test_share: 0.4", manifest), encoding="utf-8")
        self.coordinator.register(client, made.public_key)
        return site

    @property
    def run(self) -> Path:
        """Return the run's folder."""
        return self.coordinator.runs / RUN

    def submit(self) -> None:
        """Submit the run at the coordinator and copy the agreement to every site."""
        agreement = self.coordinator.submit(RUN, load_config(self.folder / "faces" / "coordinator" / "config.yaml"))
        for site in self.sites.values():
            shutil.copy(agreement, site / "agreement.yaml")

    def start_server(self) -> None:
        """Start ``fedfr server run``; return when the proxy answers."""
        self._fedfr("coordinator", "server", "run", str(self.coordinator.folder))
        self.wait_for_port("coordinator", Address("127.0.0.1", self.coordinator.config.port))

    def fetch(self, client: str) -> None:
        """Fetch the public faces, as ``fedfr site fetch`` does."""
        site = Site.open(self.sites[client] / "site.yaml")
        if site.agreement.public and site.config.server and site.config.public:
            root = self.sites[client] / ROOT
            fetch(site.config.server, root, site.agreement.public, Path(site.config.public))

    def start_site(self, client: str) -> None:
        """Start ``fedfr site run``."""
        self._fedfr(client, "site", "run", str(self.sites[client]))

    def start_all(self) -> None:
        """Start the server, and every site with its public faces."""
        self.start_server()
        for client in self.clients:
            self.fetch(client)
            self.start_site(client)

    def end(self, name: str) -> None:
        """Terminate a process and wait for it and its children."""
        with suppress(subprocess.TimeoutExpired):
            self.processes[name].terminate()
            self.processes[name].wait(60)
        super().end(name)

    def kill(self, name: str) -> None:
        """Send SIGKILL to a process and all its children, as in a power failure."""
        super().end(name)

    def events(self, kind: str) -> list[Mapping[str, object]]:
        """Return the events of one kind that the coordinator has recorded."""
        return [event for event in read_json_lines(self.run / "metrics.jsonl") if event["event"] == kind]

    def _fedfr(self, name: str, *arguments: str) -> None:
        self.start(name, [sys.executable, "-c", "from fedfr.cli.main import main; main()", *arguments])


def main() -> None:
    """Run the demonstration on ORL and print its steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs/deploy-demo"))
    parser.add_argument("--set", dest="settings", action="append", default=[])
    given = parser.parse_args()
    if shutil.which("nginx") is None:
        sys.exit("fedfr: there is no nginx on this machine; apt install nginx-light")
    # Asked to end, it ends what it has started as well.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - begun:6.0f} s  {text}", flush=True)

    try:
        with Demo(given.folder, load_config("quickstart", [*SETTINGS, *given.settings]), say) as demo:
            _tell(demo, say)
    except FedfrError as error:
        sys.exit(f"fedfr: {error}")


def _tell(demo: Demo, say: Callable[[str], None]) -> None:
    last = demo.clients[-1]
    say(f"made: a coordinator with certificates and {len(demo.clients)} sites, each with its own faces and key")
    demo.submit()
    say("the run is submitted; the starting model is trained by the coordinator on the public faces")
    demo.start_all()
    say("the coordinator and all sites run; the public faces were fetched and verified")
    wait_for(lambda: len(demo.events("round")) >= 1, "round 1")
    demo.kill(last)
    say(f"round 1 is over; {last} was killed, and is started again")
    demo.start_site(last)
    wait_for(lambda: len(demo.events("round")) >= 2, "round 2")
    demo.kill("coordinator")
    say("round 2 is over; the coordinator was killed with all it had started, and is started again")
    demo.start_server()
    wait_for(lambda: not demo.coordinator.submitted(), "the end of the run")
    say(demo.coordinator.outcome(RUN))
    print(table(status_of(demo.coordinator)))
    for row in Experiment.open(demo.run).results():
        if row.protocol == "generic-1:1" and row.value is not None:
            print(f"{row.model:<12} {row.protocol} {row.metric:<14} {100 * row.value:5.1f} %")
    say("everything that was started is stopped")


if __name__ == "__main__":
    main()
