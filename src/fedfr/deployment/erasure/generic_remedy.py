"""Remedy for the generic model at the coordinator, after a person withdrew at a site."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json, write_json
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.erasure.receipt import Receipt
from fedfr.deployment.state_files import AGREEMENT, SUBMITTED
from fedfr.experiments.experiment import Experiment

__all__ = ["WITHDRAWALS", "RunRemedy", "record_withdrawal"]

WITHDRAWALS = "withdrawals.json"
"""In a run's folder: the people, by pseudonym, who withdrew and had a share in its averages."""


@dataclass(frozen=True)
class RunRemedy:
    """What can be done for the generic model of a run.

    ``first``: first round with the person, 0 if unknown. ``finished``: last finished round. ``before``: last round
    without the person, whose model is ``kept`` or not. ``rewound``: whether the run continues from it.
    """

    run: str
    first: int
    finished: int
    before: int
    kept: bool
    rewound: bool

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    def describe(self, folder: Path) -> str:
        """Describe it in one line."""
        model = f"the model of round {self.before}" if self.before else "the starting model"
        with_person = (
            f"{self.run}: the models of rounds {self.before + 1} to {self.finished} have a share of the person"
        )
        if self.rewound:
            return f"{self.run}: continues from {model}; `fedfr server submit {folder} {self.run}` starts it"
        if self.finished <= self.before:
            return f"{self.run}: no finished round has a share of the person"
        if self.kept:
            return f"{with_person}; {model} is kept: --rewind continues from it"
        return f"{with_person}; {model} is not kept any more (federation.keep_rounds): noted. Submit a new run instead"


def record_withdrawal(coordinator: Coordinator, receipt: Receipt, *, rewind: bool) -> list[RunRemedy]:
    """Note the withdrawal in every run in which the person took part; with ``rewind``, go back to before that.

    Raises :class:`FedfrError`, before anything is changed, if the receipt is not signed by its registered site, and
    with ``rewind`` if a run is submitted. Repeating it changes nothing more.
    """
    client = str(receipt.content["site"])
    key = coordinator.sites().get(client)
    if key is None:
        raise FedfrError(f"site {client!r} is not registered here; register its key, or ask that coordinator")
    receipt.check(key.read_text("ascii").strip())
    found = _affected(coordinator, receipt)
    if rewind:
        for experiment, _ in found:
            if (experiment.folder / SUBMITTED).exists():
                raise FedfrError(
                    f"run {experiment.folder.name} is submitted; withdraw it with `fedfr server withdraw`, then repeat"
                )
    return [_apply(experiment, first, receipt, rewind=rewind) for experiment, first in found]


def _affected(coordinator: Coordinator, receipt: Receipt) -> list[tuple[Experiment, int]]:
    """Return the runs in which the person took part, with the first round."""
    first = {str(each["agreement"]): int(each["first_round"]) for each in receipt.content["removed"]["private_states"]}
    found = []
    for name in coordinator.run_names():
        place = coordinator.runs / name
        if not (place / AGREEMENT).is_file():
            continue
        agreement = Agreement.load(place / AGREEMENT)
        own = first.get(agreement.fingerprint[:16])
        if own is not None and receipt.content["site"] in agreement.clients:
            found.append((Experiment.open(place), own))
    return found


def _apply(experiment: Experiment, first: int, receipt: Receipt, *, rewind: bool) -> RunRemedy:
    journal = experiment.method_runs()[0].journal
    finished, before = max(journal.rounds(), default=0), max(first - 1, 0)
    # The starting model has a file of its own.
    kept = before == 0 or before in journal.kept()
    rewound = rewind and kept and finished > before
    remedy = RunRemedy(experiment.folder.name, first, finished, before, kept, rewound)
    place = experiment.folder / WITHDRAWALS
    noted = read_json(place) if place.exists() else []
    person = str(receipt.content["person"])
    if not any(each["person"] == person for each in noted):
        note = {"person": person, "site": receipt.content["site"], "completed": receipt.content["completed"]}
        write_json(place, [*noted, {**note, "first_round": first, "finished_rounds": finished}])
    if rewound:
        experiment.rewind(before)
    return remedy
