"""Overhead of a round over Flower: two sites as processes of this machine, against two clients of the local engine.

Run: ``python benchmarks/flower_round.py [--rounds 4] [--repetitions 3] [--json]``; about ten minutes, with the extra
``flower``. FedAvg on a few images for each client, so that hardly anything but the messages is left.

Overhead of a round = its seconds − those of training: the slowest site's over Flower, where sites train at the same
time, both clients' in one process. The first round is not counted, in it sites say who they are. Each site starts a
process for every message; that, and Flower's pauses between two looks for work (3 s of a SuperNode, 1 s of what starts
its processes), are most of it. The second table is one message to one site and back, in seconds above an empty one: as
the package sends it, all tensors in one array, and as Flower's own tools would, in an array each.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from fedfr.config.schema import load_config
from fedfr.deployment.loopback import Loopback
from fedfr.deployment.partition_export import export_partitions
from fedfr.experiments.experiment import Experiment
from fedfr.faces import FaceSet
from harness import Line, answer, parser

BACKBONES = ("mobilefacenet", "sphereface64")
CLIENTS, PEOPLE, IMAGES = 2, 2, 3
ECHO = Path(__file__).parent / "flower_echo" / "echo.py"


def faces(count: int) -> FaceSet:
    """Return a face set of coarse random patterns."""
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(count), IMAGES)
    coarse = generator.integers(0, 256, (len(labels), 7, 7, 3), dtype=np.uint8)
    names = [f"person-{number:02d}" for number in range(count)]
    return FaceSet(coarse.repeat(16, axis=1).repeat(16, axis=2), labels, names)


def experiment(folder: Path, backbone: str, rounds: int, threads: int) -> Experiment:
    """Create a run with minimal training."""
    faces(CLIENTS * PEOPLE + 2).save(folder / "faces")
    settings = {
        "faces.path": folder / "faces",
        "split.settings.public_identities": 2,
        "split.settings.clients": CLIENTS,
        "split.settings.identities_per_client": PEOPLE,
        "split.settings.test_count": 0,
        "model.backbone": backbone,
        "pretrain.epochs": 0,
        "local.epochs": 1,
        "federation.rounds": rounds,
        "federation.quorum": 1.0,
        "method.name": "fedavg",
        "baselines": "[]",
        "deployment.poll": 0.2,
        "runtime.threads": threads,
    }
    return Experiment.create(load_config(None, [f"{name}={value}" for name, value in settings.items()]), folder / "run")


def events(run: Path) -> list[Mapping[str, Any]]:
    """Return the events in ``metrics.jsonl``."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def overheads(run: Path, *, at_once: bool) -> list[float]:
    """Return the seconds of each round, from the second on, that are not training."""
    found = []
    lines = events(run)
    updates = [event for event in lines if event["event"] == "update"]
    for event in lines:
        if event["event"] == "round" and event["round"] > 1:
            trained = [update["seconds"] for update in updates if update["round"] == event["round"]]
            assert len(trained) == CLIENTS
            found.append(event["seconds"] - (max(trained) if at_once else sum(trained)))
    return found


@contextmanager
def over_flower(folder: Path, made: Experiment) -> Iterator[Loopback]:
    """Create sites from a run's split and start their processes; the coordinator's folder is ``folder/runs/demo``."""
    clients = export_partitions(made.components, folder / "federation", "demo")
    config = load_config(folder / "federation" / "coordinator" / "config.yaml")
    Experiment.create(config, folder / "runs" / "demo")
    sites = {client: folder / "federation" / "sites" / client / "site.yaml" for client in clients}
    with Loopback(folder / "processes", folder / "runs", sites) as processes:
        processes.start_all()
        yield processes


def finish(processes: Loopback, run_id: str) -> None:
    """Wait for the end of a Flower run; raise if it failed."""
    while not (state := processes.control.state(run_id)).ended:
        time.sleep(2)
    if state.status != "finished:completed":
        raise RuntimeError(f"{state.status}: {state.details}")


def rounds_of(backbone: str, rounds: int, threads: int) -> Line:
    """Measure the overhead of a round with the local engine and over Flower."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        made = experiment(folder, backbone, rounds, threads)
        made.run()
        here = overheads(made.folder, at_once=False)
        with over_flower(folder, made) as processes:
            finish(processes, processes.control.submit("demo"))
        there = overheads(folder / "runs" / "demo", at_once=True)
        size = next(event["bytes/up"] for event in events(made.folder) if event["event"] == "update")
    found = f"{median(there):.1f} s ({min(there):.1f} to {max(there):.1f}); here {median(here):.2f} s"
    figures = {"message_MB": size / 1e6, "flower_s": median(there), "local_s": median(here), "rounds": len(there)}
    return Line(f"A round of {backbone} over Flower, besides training", "", found, None, figures=figures)


def trips_of(backbone: str, repetitions: int, threads: int) -> list[Line]:
    """Measure one message to a site and back, in each layout."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        out, bundle = folder / "seconds.json", folder / "echo"
        bundle.mkdir()
        shutil.copy(ECHO, bundle)
        (bundle / "pyproject.toml").write_text(
            '[project]\nname = "echo"\nversion = "1.0.0"\ndependencies = []\n[tool.flwr.app]\npublisher = "fedfr"\n'
            '[tool.flwr.app.components]\nserverapp = "echo:server"\nclientapp = "echo:client"\n'
            f'[tool.flwr.app.config]\nbackbone = "{backbone}"\nrepetitions = {repetitions}\nout = "{out}"\n',
            encoding="utf-8",
        )
        with over_flower(folder, experiment(folder, backbone, 1, threads)) as processes:
            finish(processes, str(processes.control.flwr("run", str(bundle), "fedfr")["run-id"]))
        seconds = json.loads(out.read_text(encoding="utf-8"))
    empty = median(seconds["empty"])
    return [
        Line(
            f"{backbone} to a site and back: {layout}",
            "",
            f"{median(taken) - empty:.1f} s more than an empty message's {empty:.1f} s",
            None,
            figures={"median_s": median(taken), "low_s": min(taken), "high_s": max(taken)},
        )
        for layout, taken in seconds.items()
        if layout != "empty"
    ]


def main() -> None:
    """Measure both backbones."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=4)
    options.add_argument("--repetitions", type=int, default=3)
    options.add_argument("--backbones", nargs="+", default=BACKBONES)
    given = options.parse_args()
    lines = [rounds_of(backbone, given.rounds, given.threads) for backbone in given.backbones]
    for backbone in given.backbones:
        lines += trips_of(backbone, given.repetitions, given.threads)
    answer("flower_round", lines, threads=given.threads, as_json=given.json)


if __name__ == "__main__":
    main()
