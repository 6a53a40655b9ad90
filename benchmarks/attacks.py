"""Rules of aggregation against malicious clients, and their cost without any: FedFR on ORL, paired by seed.

Run: ``python benchmarks/attacks.py --out runs/attacks [--seeds 5] [--rules …] [--attacks …] [--attackers 1] [--json]``.

Five clients of four identities, 8 public identities, 12 identities that are not trained on; the model and the training
are those of the preset ``quickstart``. Every client has other people, so honest clients differ as those of a real
federation do. Attacks of the first clients, in every round:

- ``sign-flip``: the change of the weights with the opposite sign, ``--strength`` times as long;
- ``scaling``: the change ``--strength`` times as long;
- ``label-flip``: every image has the label of a random other identity of the client;
- ``backdoor``: half of the images, drawn once, have a trigger, a bright square in a corner, and the label of the
  client's first identity; the change is ``--strength`` times as long.

Shown are means over seeds, with Student's 95 % interval of the difference from the mean rule under the same attack:
TAR at FAR 10 % of the generic model on people whom nobody trains on, of the personalized models of honest clients, and
the share of pairs of two people, both with the trigger, that pass at the threshold of FAR 1 % without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Self

import numpy as np
import torch

from fedfr.engines.local import LocalEngine
from fedfr.experiments.client_factory import ClientFactory
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.method_run import MethodRun
from fedfr.faces import FaceSet
from fedfr.federation.client import Client
from fedfr.federation.messages import Broadcast, Failure, Update, tensors_by_name
from fedfr.federation.rule_registry import AGGREGATIONS
from fedfr.training.batchnorm import batchnorm_statistics
from fedfr.training.features import extract_features
from fedfr.training.training_set import TrainingSet
from harness import Line, answer, parser
from seeded_runs import begun, interval, seeded

ATTACKS = ("none", "sign-flip", "scaling", "label-flip", "backdoor")
SETTINGS = (
    *("split.settings.clients=5", "split.settings.identities_per_client=4", "split.settings.public_identities=8"),
    *("baselines=[]", "evaluation.fars=[0.1,0.01]"),
)
TRIGGER = (slice(88, 108), slice(88, 108))
FAR = 0.01
Measures = Mapping[str, float]


@dataclass(frozen=True)
class Attack:
    """An attack by name, with the clients that carry it out and the length of their changes."""

    name: str
    attackers: frozenset[str]
    strength: float

    def faces(self, faces: FaceSet, seed: int) -> FaceSet:
        """Return the images and labels that an attacker trains on."""
        drawn = np.random.default_rng(seed)
        images, labels = faces.images(np.arange(len(faces))).copy(), faces.labels.copy()
        if self.name == "label-flip":
            labels = (labels + drawn.integers(1, faces.num_identities, len(labels))) % faces.num_identities
        if self.name == "backdoor":
            # At least one image of every identity keeps its label.
            marked = drawn.permutation(np.flatnonzero(labels == np.roll(labels, 1)))[: len(labels) // 2]
            images[marked], labels[marked] = triggered(images[marked]), 0
        return FaceSet(images, labels, faces.identities)

    def update(self, update: Update, broadcast: Broadcast, statistics: frozenset[str]) -> Update:
        """Return the update that an attacker sends."""
        factor = {"sign-flip": -self.strength, "scaling": self.strength, "backdoor": self.strength}.get(self.name, 1.0)
        before = tensors_by_name(broadcast)
        sent = {
            name: before[name] + factor * (value - before[name])
            if value.is_floating_point() and name not in statistics
            else value
            for name, value in tensors_by_name(update).items()
        }
        return replace(update, prototypes=sent.pop("prototypes", None), weights=sent)


def triggered(images: np.ndarray) -> np.ndarray:
    """Return images (n, 112, 112, 3) with the trigger."""
    marked = images.copy()
    marked[:, *TRIGGER] = 255
    return marked


class AttackedEngine:
    """Local engine, some of whose clients are malicious."""

    def __init__(self, method_run: MethodRun, attack: Attack) -> None:
        components = method_run.components
        self._attack = attack
        self._statistics = batchnorm_statistics(components.new_backbone())
        make_client = ClientFactory(
            components.config,
            method_run.name,
            components.faces_folder,
            components.folder / "split.json",
            method_run.folder / "clients",
            components.features_folder,
        )

        def make(client_id: str) -> Client:
            made = make_client(client_id)
            if client_id in attack.attackers:
                made.private = attack.faces(made.private, components.config.seed)
            return made

        self._engine = LocalEngine(make, threads=components.config.runtime.threads)

    def __enter__(self) -> Self:
        self._engine.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self._engine.__exit__(kind, *exception)

    def exchange(
        self,
        broadcast: Broadcast,
        clients: Sequence[str],
        identities: Mapping[str, torch.Tensor],
        accepted: Mapping[str, int],
    ) -> Iterator[Update | Failure]:
        """Yield the replies of the clients, those of the malicious ones changed."""
        for reply in self._engine.exchange(broadcast, clients, identities, accepted):
            if isinstance(reply, Update) and reply.client in self._attack.attackers:
                yield self._attack.update(reply, broadcast, self._statistics)
            else:
                yield reply


def measure(folder: Path, settings: Sequence[str], attack: Attack, beside: Path | None) -> Measures:
    """Run or resume one seed of one rule under one attack; the starting model of the run ``beside`` is reused."""
    experiment = begun("quickstart", folder, [*SETTINGS, *settings], beside)

    def engine(method_run: MethodRun) -> AttackedEngine:
        return AttackedEngine(method_run, attack)

    values: dict[str, list[float]] = {"generic": [], "personalized": []}
    for row in experiment.run(False, engine=engine):
        measured = (row.metric, row.protocol) == ("TAR@FAR=1e-1", f"{row.model}-1:1")
        if measured and row.client not in attack.attackers and row.model in values and row.value is not None:
            values[row.model].append(row.value)
    return {
        **{model: 100 * fmean(found) for model, found in values.items()},
        "with the trigger": 100 * passed(experiment),
    }


def passed(experiment: Experiment) -> float:
    """Return the share of pairs of two unseen people, with the trigger, above the threshold of pairs without it."""
    components, run = experiment.components, experiment.method_runs()[0]
    entry = run.journal.latest()
    assert entry is not None
    faces = components.faces.subset(components.split.generic)
    images, backbone = faces.images(np.arange(len(faces))), run.generic_module(entry.generic)
    scores = []
    for pixels in (images, triggered(images)):
        shown = FaceSet(pixels, faces.labels, faces.identities)
        found = torch.nn.functional.normalize(
            extract_features(backbone, TrainingSet([(shown, None, 0)]), components.compute)
        )
        different = torch.from_numpy(faces.labels[:, None] != faces.labels[None, :]).triu()
        scores.append((found @ found.T)[different])
    threshold = scores[0].quantile(1 - FAR)
    return float((scores[1] > threshold).float().mean())


def table(results: Mapping[str, Any]) -> str:
    """Return the results of ``--json``, with the command, as a Markdown table."""
    measures = ("generic", "personalized", "with the trigger")
    rows = [
        "| attack | rule | generic | personalized, honest clients | pairs with the trigger that pass |",
        "|---|---|---|---|---|",
    ]
    for line in results["lines"]:
        attack, rule = line["what"].split(": ")
        cells = []
        for name in measures:
            difference = line["figures"].get(f"{name}, difference in points")
            cells.append(f"{line['figures'][name]:.1f}" + (f", {difference}" if difference else ""))
        rows.append(f"| {attack} | `{rule}` | {' | '.join(cells)} |")
    where = f"{results['machine']}, torch {results['torch']}, {results['date']}, commit {results['commit']}"
    return "\n".join([*rows, "", f"{where}: `{results['command']}`"])


def main() -> None:
    """Run every rule under every attack and print the results."""
    options = parser(__doc__)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--rules", nargs="+", default=[*AGGREGATIONS.builtin])
    options.add_argument("--attacks", nargs="+", default=[*ATTACKS], choices=ATTACKS)
    options.add_argument("--attackers", type=int, default=1)
    options.add_argument("--strength", type=float, default=5.0)
    given = options.parse_args()
    lines = []
    start: dict[int, Path] = {}
    for name in given.attacks:
        attackers = frozenset(f"client-{number:02d}" for number in range(1, given.attackers + 1))
        attack = Attack(name, attackers if name != "none" else frozenset(), given.strength)
        found: dict[str, list[Measures]] = {}
        for rule in given.rules:
            for seed in range(given.seeds):
                folder = given.out / f"{name}-{rule}-{seed}"
                settings = seeded(seed, given.threads)
                settings += [f"federation.aggregation={rule}", f"federation.trim={max(given.attackers, 1)}"]
                found.setdefault(rule, []).append(measure(folder, settings, attack, start.get(seed)))
                start.setdefault(seed, folder)
        lines += [line(name, rule, measured, found[given.rules[0]]) for rule, measured in found.items()]
    answer("attacks", lines, threads=given.threads, as_json=given.json)


def line(attack: str, rule: str, measured: Sequence[Measures], reference: Sequence[Measures]) -> Line:
    """Return the line of a rule under an attack."""
    figures: dict[str, float | str] = {}
    shown = []
    for name in measured[0]:
        mean = fmean(each[name] for each in measured)
        shown.append(f"{name} {mean:.1f} %")
        figures[name] = mean
        if measured is not reference and len(measured) > 1:
            differences = [one[name] - other[name] for one, other in zip(measured, reference, strict=True)]
            figures[f"{name}, difference in points"] = "{:+.1f} ({:+.1f} to {:+.1f})".format(*interval(differences))
    return Line(f"{attack}: {rule}", "", ", ".join(shown), None, figures=figures)


if __name__ == "__main__":
    main()
