"""Read access to a run's folder: configuration and results so far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from fedfr.config.schema import ExperimentConfig
from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json
from fedfr.experiments.components import RunComponents
from fedfr.experiments.method_run import MethodRun
from fedfr.faces import Split
from fedfr.results.costs import STARTING_COST, RoundCost, round_costs, starting_cost
from fedfr.results.curve_records import Curve
from fedfr.results.person_records import PersonRecord, read_person_records
from fedfr.results.result_rows import Row
from fedfr.results.stored_records import records_of

__all__ = ["StoredRun"]


class StoredRun:
    """Read access to a run: its methods, and the results, curves and costs in its folder."""

    def __init__(self, config: ExperimentConfig, folder: Path, components: RunComponents) -> None:
        self.config = config
        self.folder = folder
        self.components = components

    def __repr__(self) -> str:
        method, rounds = self.config.method.name, self.config.federation.rounds
        return f"{type(self).__name__}({self.folder.name!r}, {method}, {rounds} rounds, seed {self.config.seed})"

    def method_runs(self) -> list[MethodRun]:
        """Return the main method's run, then those of the baselines."""
        main = MethodRun(self.components, self.config.method.name, self.folder)
        return [
            main,
            *(MethodRun(self.components, name, self.folder / "baselines" / name) for name in self.config.baselines),
        ]

    def describe(self) -> str:
        """Return the settings that are essential for reading the results, in two lines."""
        # The counts are taken from the manifest, since the faces may have been moved.
        config, split = self.config, Split.load(self.folder / "split.json")
        train = [len(client.train) for client in split.clients.values()]
        each = f"{min(train)}" if min(train) == max(train) else f"{min(train)} to {max(train)}"
        private = f"{len(train)} clients with {each} training images"
        if any(client.elsewhere for client in split.clients.values()):
            private = f"{len(train)} clients with their faces elsewhere"
        sets = f"\nface sets: {'; '.join(part.describe() for part in split.sets)}" if split.sets else ""
        strangers = f", {len(split.strangers)} images of strangers" if len(split.strangers) else ""
        return (
            f"{config.method.name} · {config.model.backbone} from {config.model.start} · "
            f"{self.describe_rounds()} · BatchNorm {config.federation.batchnorm} · "
            f"{config.runtime.precision} · seed {config.seed}\n"
            f"split {split.name}: {len(split.public)} public images, {private}, "
            f"{len(split.generic)} images of people no client trained on{strangers}{sets}"
        )

    def describe_rounds(self) -> str:
        """Return the number of federated rounds, and that of all rounds of the methods that add some of their own."""
        configured = self.config.federation.rounds
        text = f"{configured} {'round' if configured == 1 else 'rounds'}"
        more: dict[int, list[str]] = {}
        for run in self.method_runs():
            if run.total_rounds > configured:
                more.setdefault(run.total_rounds, []).append(run.name)
        added = "; ".join(f"{', '.join(names)}: {number} with their own" for number, names in sorted(more.items()))
        return f"{text} ({added})" if added else text

    def results(self) -> list[Row]:
        """Return the rows of every finished evaluation; raises :class:`FedfrError` if there are none."""
        files = [path for name in self._evaluated() if (path := self.results_file(name)).exists()]
        if not files:
            raise FedfrError(f"{self.folder} has no results yet; finish the run with `fedfr resume {self.folder}`")
        return [row for path in files for row in records_of(Row, read_json(path), path)]

    def curves(self) -> list[Curve]:
        """Return the curve records of every finished evaluation."""
        files = [path for name in self._evaluated() if (path := self.curves_file(name)).exists()]
        return [curve for path in files for curve in records_of(Curve, read_json(path), path)]

    def person_records(self) -> Iterator[PersonRecord]:
        """Yield the outcomes by person of every finished evaluation, see ``evaluation.people``."""
        files = [path for name in self._evaluated() if (path := self.people_file(name)).exists()]
        return (record for path in files for record in read_person_records(path))

    def _evaluated(self) -> Sequence[str]:
        return list(dict.fromkeys(["pretrained", self.config.method.name, *self.config.baselines]))

    def costs(self) -> dict[str, list[RoundCost]]:
        """Return the cost of every round so far, by method."""
        seed = self.config.seed
        return {
            method_run.name: round_costs(method_run.folder / "metrics.jsonl", method_run.name, seed)
            for method_run in self.method_runs()
        }

    def starting_cost(self) -> RoundCost:
        """Return the cost of the starting model: the server's training on the public images."""
        folder = self.folder / "pretrained"
        return starting_cost(folder / STARTING_COST, self.config.seed, trained=self.config.pretrain.epochs > 0)

    def machines(self) -> list[str]:
        """Return a description of each machine that has worked on the run; empty in runs that did not record it."""
        return list(read_json(self.folder / "environment.json").get("machines", ()))

    @property
    def finished(self) -> bool:
        """Whether every method has been evaluated."""
        return all(self.results_file(method_run.name).exists() for method_run in self.method_runs())

    def history(self) -> list[tuple[int, Row]]:
        """Return the rows of the rounds of ``evaluation.every``, of every method, oldest first, with the round.

        The round in the row of a personalized model is earlier if its client did not take part in later ones.
        """
        records = [(run.journal.folder, record) for run in self.method_runs() for record in run.journal.records()]
        return [
            (record["round"], row)
            for folder, record in records
            for row in records_of(Row, record.get("evaluation", []), folder, "restore it from a copy")
        ]

    def results_file(self, name: str) -> Path:
        """Return the file of a method's rows."""
        return self.folder / "evaluation" / f"{name}.json"

    def people_file(self, name: str) -> Path:
        """Return the file of a method's outcomes by person."""
        return self.folder / "evaluation" / "people" / f"{name}.npz"

    def curves_file(self, name: str) -> Path:
        """Return the file of a method's curves."""
        return self.folder / "evaluation" / "curves" / f"{name}.json"
