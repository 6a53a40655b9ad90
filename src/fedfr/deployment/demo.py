"""``make deploy-demo``: a complete federation on one machine, with TLS, keys, proxy, and injected faults.

A coordinator and three sites, each with its own folder and processes, started by the commands that operators use. The
server receives secure sums of the updates only. During the run one site and the coordinator are killed and started
again.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from fedfr.config.schema import ExperimentConfig, load_config
from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json_lines
from fedfr.deployment.address import Address
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.background import BackgroundProcesses, free_port, wait_for
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.partition_export import export_partitions
from fedfr.deployment.proxy import find_nginx
from fedfr.deployment.site import Site
from fedfr.deployment.site_folder import ROOT, init_site
from fedfr.deployment.site_sets import fetch_sets
from fedfr.deployment.state_files import AGREEMENT
from fedfr.deployment.status import status_of, table
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.registration import foreign_names

__all__ = ["Demo", "main", "run_on_terminal"]

RUN = "demo"
PROGRAM = (sys.executable, "-c", "from fedfr.cli.main import main; main()")
SETTINGS = (
    "split.settings.clients=3",
    "baselines=[]",
    "federation.rounds=4",
    "pretrain.epochs=10",
    "runtime.threads=1",
    "federation.secure=sum",
    "federation.largest_count=1000",
    # The preset shares them, as in the paper.
    "federation.prototypes=keep",
    # A killed site is asked again after this time.
    "deployment.hello=30",
)


class Demo(BackgroundProcesses):
    """Folders of a coordinator and its sites below ``folder``, and their processes.

    Processes are named ``coordinator`` and by client id. ``report`` receives one line per step. ``host``: host name or
    address at which the sites reach the coordinator.
    """

    def __init__(
        self, folder: Path, config: ExperimentConfig, report: Callable[[str], None] = print, host: str = "localhost"
    ) -> None:
        folder = folder.resolve()
        super().__init__(folder)
        self.report = report
        self.local = Experiment.create(config, folder / "local")
        self.clients = export_partitions(self.local.components, folder / "faces", RUN)
        self.coordinator = Coordinator.init(folder / "coordinator", [host], "demo", free_port(), free_port())
        self.sites = {client: self._site(client) for client in self.clients}

    def _site(self, client: str) -> Path:
        """Create, configure and register a site's folder as its operator would; return it."""
        server, own_folder = str(self.coordinator.addresses[0]), self.folder / "faces" / "sites" / client
        site = self.folder / "sites" / client
        new_site = init_site(
            site, client, server, self.coordinator.tls / ROOT, str(own_folder / "faces"), free_port(), 1
        )
        text = new_site.config.read_text(encoding="utf-8")
        # The same training and test images as in the local run with which results are compared.
        manifest = f'manifest: "{own_folder / "split.json"}"'
        allowed = f"allow: [{', '.join(foreign_names(self.local.config))}]"
        new_site.config.write_text(
            text.replace("test_share: 0.4", manifest).replace("allow: []", allowed), encoding="utf-8"
        )
        self.coordinator.register(client, new_site.public_key)
        return site

    @property
    def run(self) -> Path:
        """Folder of the run at the coordinator."""
        return self.coordinator.runs / RUN

    def submit(self) -> None:
        """Submit the run at the coordinator and copy the agreement to every site."""
        self.submit_run(RUN)

    def submit_run(self, run: str, settings: Sequence[str] = ()) -> None:
        """Submit a run with other settings, and copy its agreement to every site."""
        config = load_config(self.folder / "faces" / "coordinator" / "config.yaml", settings)
        agreement = self.coordinator.submit(run, config)
        for site in self.sites.values():
            shutil.copy(agreement, site / "agreement.yaml")

    def start_server(self) -> None:
        """Start ``fedfr server run``; return when the proxy accepts connections."""
        self._fedfr("coordinator", "server", "run", str(self.coordinator.folder))
        self.wait_for_port("coordinator", Address("127.0.0.1", self.coordinator.config.port))

    def fetch(self, client: str) -> None:
        """Fetch the public faces and the strangers, as ``fedfr site fetch`` does."""
        list(fetch_sets(Site.open(self.sites[client] / "site.yaml"), self.sites[client]))

    def start_site(self, client: str) -> None:
        """Start ``fedfr site run``."""
        self._fedfr(client, "site", "run", str(self.sites[client]))

    def start_all(self) -> None:
        """Start the server, and every site with its public faces."""
        self.start_server()
        for client in self.clients:
            self.fetch(client)
            self.start_site(client)

    def __exit__(self, *exception: object) -> None:
        # They end at the same time, which takes seconds.
        for process in self.processes.values():
            process.terminate()
        super().__exit__(*exception)

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

    def call(self, arguments: Sequence[str]) -> None:
        """Run a command of fedfr to its end; raises :class:`FedfrError` with its output if it fails."""
        done = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            raise FedfrError(f"fedfr {' '.join(arguments)} ended with code {done.returncode}: {done.stderr.strip()}")

    def _fedfr(self, name: str, *arguments: str) -> None:
        self.start(name, [*PROGRAM, *arguments])


def run_on_terminal(
    description: str | None, folder: Path, settings: Sequence[str], steps: Callable[[Demo, Callable[[str], None]], None]
) -> None:
    """Run the ``steps`` of a demonstration on the ORL faces and print them with their times.

    ``folder`` is the default of the folder on the command line, ``settings`` are those of the quickstart that change.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", type=Path, nargs="?", default=folder)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    arguments = parser.parse_args()
    if find_nginx() is None:
        sys.exit("fedfr: nginx is not installed; apt install nginx-light")
    # On SIGTERM, exit through the `with` block, which ends all started processes.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    started = time.monotonic()

    def report(text: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {text}", flush=True)

    try:
        with Demo(arguments.folder, load_config("quickstart", [*settings, *arguments.settings]), report) as demo:
            steps(demo, report)
    except FedfrError as error:
        sys.exit(f"fedfr: {error}")


def main() -> None:
    """Run the demonstration on the ORL faces and print its steps."""
    run_on_terminal(__doc__, Path("runs/deploy-demo"), SETTINGS, _run_demo)


def _run_demo(demo: Demo, report: Callable[[str], None]) -> None:
    last = demo.clients[-1]
    report(f"created: a coordinator with certificates and {len(demo.clients)} sites, each with its own faces and key")
    demo.submit()
    for line in Agreement.load(demo.run / AGREEMENT).describe_privacy():
        report(line)
    report("the run is submitted; the coordinator trains the initial model on the public faces")
    demo.start_all()
    report("the coordinator and all sites run; the public faces are fetched and verified")
    wait_for(lambda: len(demo.events("round")) >= 1, "round 1")
    demo.kill(last)
    report(f"round 1 is finished; {last} was killed and is started again")
    demo.start_site(last)
    wait_for(lambda: len(demo.events("round")) >= 2, "round 2")
    demo.kill("coordinator")
    report("round 2 is finished; the coordinator and all its processes were killed and are started again")
    demo.start_server()
    wait_for(lambda: not demo.coordinator.submitted(), "the end of the run")
    report(demo.coordinator.outcome(RUN))
    print(table(status_of(demo.coordinator)))
    for row in Experiment.open(demo.run).results():
        if row.protocol == "generic-1:1" and row.value is not None:
            print(f"{row.model:<12} {row.protocol} {row.metric:<14} {100 * row.value:5.1f} %")
    report("all processes are stopped")


if __name__ == "__main__":
    main()
