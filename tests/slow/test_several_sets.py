"""Several face sets in real processes: a federation with different sets per machine, and a killed run."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.tiny_experiment import bits, tiny_faces

from fedfr.config.schema import load_config
from fedfr.deployment.background import BackgroundProcesses, free_port, wait_for
from fedfr.deployment.checks import check_site
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.demo import RUN, Demo
from fedfr.deployment.site_folder import ROOT, init_site
from fedfr.experiments.experiment import Experiment
from fedfr.faces import FaceSet

pytestmark = pytest.mark.slow

SETS = {"public": 5, "nörth 1": 4, "south": 3, "generic": 3}
SETTINGS = (
    "model.backbone=slimface",
    "pretrain.epochs=1",
    "pretrain.batch_size=8",
    "local.epochs=1",
    "local.batch_size=8",
    "federation.rounds=2",
    "baselines=[]",
    "evaluation.fars=[0.1]",
    "evaluation.fpirs=[0.1]",
    "deployment.poll=0.2",
)


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """Saved sets of different people, in folders with a blank and a letter beyond ASCII."""
    folder = tmp_path / "face sets"
    for seed, (name, people) in enumerate(SETS.items()):
        faces = tiny_faces(people, 5, seed)
        faces.renamed([f"{name[0]}{number}" for number in range(people)], faces.names).save(folder / name)
    return folder


def of_everybody(sets: Path) -> list[str]:
    """Settings of a run with all sets, whose clients are named after the private ones."""
    private = f"[{{name: north, path: '{sets / 'nörth 1'}'}}, {{name: south, path: '{sets / 'south'}'}}]"
    given = [f"faces.public={sets / 'public'}", f"faces.private={private}", f"faces.generic={sets / 'generic'}"]
    return [*given, "split.recipe=sets", "split.settings.test_count=2", "split.settings.min_images=4", *SETTINGS]


class Machines(Demo):
    """A coordinator with the public and the generic set, and two sites with a private set each."""

    def __init__(self, folder: Path, sets: Path) -> None:
        BackgroundProcesses.__init__(self, folder.resolve())
        self.clients = ["north", "south"]
        self.coordinator = Coordinator.init(folder / "coordinator", ["localhost"], "demo", free_port(), free_port())
        self.own = {"north": sets / "nörth 1", "south": sets / "south"}
        self.sites = {client: self._site(client) for client in self.clients}
        given = [f"faces.public={sets / 'public'}", f"faces.generic={sets / 'generic'}"]
        split = ["split.recipe=sites", "split.settings.clients=[north, south]"]
        self.config = load_config(None, [*given, *split, *SETTINGS])

    def _site(self, client: str) -> Path:
        site = self.folder / "sites" / client
        server, authority = str(self.coordinator.addresses[0]), self.coordinator.tls / ROOT
        made = init_site(site, client, server, authority, str(self.own[client]), free_port(), 1)
        text = made.config.read_text(encoding="utf-8")
        made.config.write_text(text.replace("test_share: 0.4", "test_count: 2"), encoding="utf-8")
        self.coordinator.register(client, made.public_key)
        return site

    def submit(self) -> None:
        """Submit the run, and copy the agreement to every site."""
        agreement = self.coordinator.submit(RUN, self.config)
        for site in self.sites.values():
            shutil.copy(agreement, site / "agreement.yaml")


@pytest.fixture
def machines(tmp_path: Path, sets: Path) -> Iterator[Machines]:
    with Machines(tmp_path / "machines", sets) as made:
        yield made


def test_machines_with_different_sets_equal_one_run_with_all(machines: Machines, sets: Path, tmp_path: Path) -> None:
    local = Experiment.create(load_config(None, of_everybody(sets)), tmp_path / "local")
    rows = [row for row in local.run(False) if row.protocol.startswith("generic")]
    machines.submit()
    machines.start_all()
    wait_for(lambda: len(machines.events("round")) >= 1, "round 1")
    assert [line for line in check_site(machines.sites["north"] / "site.yaml") if line.remedy] == []
    wait_for(lambda: not machines.coordinator.submitted(), "the end of the run")
    assert machines.coordinator.outcome(RUN) == f"run {RUN} has ended"
    remote = Experiment.open(machines.run)
    assert [part.name for part in remote.components.split.sets] == ["public", "generic"]
    assert remote.results() == rows
    found = bits(machines.run)
    for client, folder in machines.sites.items():
        found |= {
            f"clients/{client}/{name.partition('/')[2]}": value for name, value in bits(folder / "private").items()
        }
    expected = {name: value for name, value in bits(local.folder).items() if "/personal.safetensors" not in name}
    assert len(expected) > 300
    assert [name for name in expected if found.get(name) != expected[name]] == []
    # No face of a site has come to the coordinator.
    digests = FaceSet.load(machines.run / "faces").digests()
    assert not any(digests.intersects(FaceSet.load(folder).digests()) for folder in machines.own.values())


def test_a_killed_run_with_several_sets_is_resumed_to_the_bit(sets: Path, tmp_path: Path) -> None:
    Experiment.create(load_config(None, of_everybody(sets)), tmp_path / "whole").run(False)
    options = [part for setting in of_everybody(sets) for part in ("--set", setting)]
    (tmp_path / "c.yaml").write_text("{}")
    fedfr, cut = [sys.executable, "-c", "from fedfr.cli import main; main()"], tmp_path / "cut"
    process = subprocess.Popen(
        [*fedfr, "train", "c.yaml", "--out", "cut", *options], cwd=tmp_path, stderr=subprocess.PIPE
    )
    # The first client of the second round is done, the second is at work.
    wait_for(lambda: len(list(cut.glob("clients/*/private-000002.safetensors"))) == 1, "the middle of round 2")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (cut / "rounds" / "0002" / "round.json").exists()
    subprocess.run([*fedfr, "resume", "cut"], cwd=tmp_path, check=True, capture_output=True)
    assert bits(cut) == bits(tmp_path / "whole")
