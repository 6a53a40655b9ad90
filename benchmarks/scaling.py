"""Compute the costs of the paper's setting and of large federations from the newest measured results.

The tables of ``docs/explanation/costs.md`` and ``docs/scaling.md``.

Run: ``python benchmarks/scaling.py [RESULTS.json]``. Nothing is measured here: bytes and operations are counted, and
divided by the rates that ``make bench`` found on its machine.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedfr.models import build_backbone
from local_update import flops

HERE = Path(__file__).parent
PUBLIC_IDENTITIES, PUBLIC_IMAGES, DIM = 6000, 420_671, 512
NETWORK = 10e9 / 8  # bytes per second into or out of the server


@dataclass(frozen=True)
class Federation:
    """A federation: participants, backbone, and the work of one participant in a later round (four epochs)."""

    name: str
    backbone: str
    clients: int
    share: float
    faces: int
    public_images: int
    epochs: int = 4


FEDERATIONS = (
    Federation("1 000 sites, 10 000 faces each, all in every round", "iresnet100", 1000, 1.0, 10_000, PUBLIC_IMAGES),
    Federation("1 000 000 phones, 50 faces each, 1 % in a round", "mobilefacenet", 1_000_000, 0.01, 50, 10_000),
)


def newest() -> Path:
    """Return the path of the newest results."""
    return max((HERE / "results").glob("*.json"), key=lambda path: path.name)


def line(results: list[dict[str, Any]], benchmark: str, beginning: str) -> dict[str, Any]:
    """Return the measured line that begins with this text."""
    lines = next(result["lines"] for result in results if result["benchmark"] == benchmark)
    found: dict[str, Any] = next(each for each in lines if each["what"].startswith(beginning))
    return found


def costs(federation: Federation, results: list[dict[str, Any]]) -> dict[str, str]:
    """Return one column of the table."""
    weights = build_backbone(federation.backbone, 0).state_dict()
    model = sum(value.numel() * value.element_size() for value in weights.values())
    message = model + 4 * PUBLIC_IDENTITIES * DIM
    asked = round(federation.share * federation.clients)
    reference = "mobilefacenet" if federation.backbone == "mobilefacenet" else "iresnet18"
    trained = line(results, "local_update", f"local update, {reference}, bf16")["figures"]
    # Operations per second in a training step on two cores.
    step = 3 * flops(reference) * trained["images/s in a training step"]
    one = flops(federation.backbone)
    search = line(results, "hard_negatives", "6500 private")["figures"]["GFLOP/s"] * 1e9
    update = line(results, "aggregation", "One update")["ratio"]["fast_seconds"]
    updated = line(results, "aggregation", "Peak memory")["figures"]["model bytes"]
    seconds = {
        "features of the public faces": federation.public_images * one / step,
        "hard negatives": 2.0 * federation.faces * federation.public_images * DIM / search,
        "frozen features (global and previous, both flips)": 4 * federation.faces * one / step,
        "training": federation.epochs * federation.faces * 3 * one / step,
    }
    table = {
        "bytes of a message, each way": size(message),
        "in a round, each way": f"{asked:,} × {size(message)} = {size(asked * message)}",
        "server: wire at 10 Gbit/s, each way": duration(asked * message / NETWORK),
        "server: adding the updates": duration(asked * update * message / updated),
        "server: memory (mean, update, message)": size(3 * message),
        "server: disk for early replies, at most": size((asked - 1) * message),
    }
    table |= {f"client, two cores: {name}": duration(value) for name, value in seconds.items()}
    table["client, two cores: in all"] = duration(sum(seconds.values()))
    table["client: public faces on disk"] = size(federation.public_images * 112 * 112 * 3)
    return table


@dataclass(frozen=True)
class PaperRun:
    """The preset ``paper``: 40 clients of 100 identities, 65 training images each, and their epochs."""

    backbone: str = "sphereface64"
    clients: int = 40
    faces: int = 6500
    negatives: int = 3000  # an assumption: the number of similar public images depends on the model
    rounds: int = 20
    pretraining: int = 25
    own_tests: int = 4000

    @property
    def epochs(self) -> int:
        """Return the local epochs of all rounds: 10, 8, 6, then 4 in each."""
        return sum(max(4, 10 - 2 * number) for number in range(self.rounds))


def paper_table(path: Path) -> str:
    """Return the costs of the paper's setting on the measured machine as Markdown."""
    results, run = json.loads(path.read_text(encoding="utf-8")), PaperRun()
    rate = line(results, "local_update", f"local update, {run.backbone}, bf16")["figures"][
        "images/s in a training step"
    ]
    forward = 3 * rate  # a forward pass is a third of a training step
    weights = build_backbone(run.backbone, 0).state_dict()
    model = sum(value.numel() * value.element_size() for value in weights.values())
    message = model + 4 * PUBLIC_IDENTITIES * DIM
    judged = line(results, "personalized_verification", f"TAR at 6 FARs, {run.own_tests:,} own")
    images, taken_part = run.faces + run.negatives, run.rounds * run.clients
    pretraining, public = run.pretraining * PUBLIC_IMAGES / rate, run.rounds * PUBLIC_IMAGES / forward
    steps = {
        f"pre-training, {run.pretraining} epochs of {PUBLIC_IMAGES:,} public images": pretraining,
        f"features of the public images, {run.rounds} rounds": public,
        f"frozen features, {run.rounds} rounds of {run.clients} clients": run.rounds
        * run.clients
        * 4
        * images
        / forward,
        f"training, {run.epochs} epochs of {run.clients} clients": run.clients * run.epochs * images / rate,
    }
    rows = {name: duration(seconds) for name, seconds in steps.items()}
    rows["all of it on this machine"] = duration(sum(steps.values()))
    alone = public + run.rounds * 4 * images / forward + run.epochs * images / rate
    rows[f"one client on a machine of its own, {run.rounds} rounds"] = duration(alone)
    rows["a message, each way"] = size(message)
    rows["a round, each way"] = f"{run.clients} × {size(message)} = {size(run.clients * message)}"
    rows[f"{run.rounds} rounds, each way"] = size(taken_part * message)
    rows["public images in memory-mapped form"] = size(PUBLIC_IMAGES * 112 * 112 * 3)
    rows["features of the public images, float32"] = size(PUBLIC_IMAGES * DIM * 4)
    rows["evaluation, personalized 1:1 of one client"] = str(judged["found"]).partition(", ")[0]
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    one = results[0]
    where = f"From results/{path.name} ({one['machine']}, {one['date']}, commit {one['commit']}): "
    return "\n".join([*lines, "", where + "`python benchmarks/scaling.py`"])


def size(count: float) -> str:
    """Format bytes in a readable unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def duration(seconds: float) -> str:
    """Format seconds in a readable unit."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds:.2g} s"


def table(path: Path) -> str:
    """Return a table of all federations as Markdown."""
    results = json.loads(path.read_text(encoding="utf-8"))
    columns = [costs(federation, results) for federation in FEDERATIONS]
    rows = ["| | " + " | ".join(f"{each.name}, {each.backbone}" for each in FEDERATIONS) + " |"]
    rows.append("|---" * (len(columns) + 1) + "|")
    rows += [f"| {name} | " + " | ".join(column[name] for column in columns) + " |" for name in columns[0]]
    one = results[0]
    where = f"From results/{path.name} ({one['machine']}, {one['date']}, commit {one['commit']}): "
    return "\n".join([*rows, "", where + "`python benchmarks/scaling.py`"])


def main() -> None:
    """Print both tables in Markdown."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else newest()
    print(table(path), paper_table(path), sep="\n\n")


if __name__ == "__main__":
    main()
