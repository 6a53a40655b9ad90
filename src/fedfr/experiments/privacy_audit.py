"""Privacy audit of a finished run on this machine: what each observer infers, with controls."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json, write_json
from fedfr.core.locks import locked
from fedfr.experiments.audit_canaries import canary_rows
from fedfr.experiments.audit_inversion import inversion_row
from fedfr.experiments.audit_observers import PERSONAL, observations_of
from fedfr.experiments.audit_people import Candidates, candidates_of
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.method_run import MethodRun
from fedfr.experiments.round_replay import Replay, check_repeated, replay_last_round
from fedfr.federation.client import Client
from fedfr.federation.messages import Broadcast
from fedfr.privacy.audit.background import Background
from fedfr.privacy.audit.inferences import enrolment, membership, mined, reconstructed
from fedfr.privacy.audit.measures import Guesses, auc, measure
from fedfr.privacy.audit.observations import (
    FinalModel,
    Observation,
    OwnSite,
    PersonalModels,
    SeenModel,
    SingleUpdates,
    SumOnly,
)
from fedfr.privacy.audit.planted import overfitted, plant_enrolment, plant_mined, with_after
from fedfr.reporting.progress import Progress, Silent
from fedfr.results.audit_rows import AUDIT_FILE, AuditRow
from fedfr.results.stored_records import records_of

__all__ = ["audit_run", "stored_audit"]

PROTOTYPES = "private prototypes"

_FOLDER = ".privacy-audit.tmp"

Truth = Callable[[Observation, str], NDArray[np.bool_]]


def stored_audit(folder: Path) -> list[AuditRow]:
    """Return the rows of the audit stored in a run's folder, none without one."""
    path = folder / AUDIT_FILE
    return records_of(AuditRow, read_json(path), path, "repeat the audit") if path.exists() else []


def audit_run(
    folder: str | Path, *, people: int = 200, canaries: int = 32, progress: Progress | None = None
) -> list[AuditRow]:
    """Audit the main method of a finished run and store the rows as ``privacy-audit.json`` in its folder.

    The last round is repeated in a temporary folder inside the run's, and its result is compared with the stored one.
    ``people``: at most so many candidates who are enrolled, and as many who are not. ``canaries``: number of drawn
    people with whom the round is repeated once more, 0 for none. Raises :class:`FedfrError` for a run that is
    unfinished or no simulation, or that cannot be repeated.
    """
    experiment = Experiment.open(folder)
    if not experiment.finished:
        raise FedfrError(f"{experiment.folder} is not finished; continue with `fedfr resume {experiment.folder}`")
    with locked(experiment.folder):
        scratch = experiment.folder / _FOLDER
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            (run, *_), reporter = experiment.method_runs(), progress or Silent()
            rows = [*_Audit(run, scratch, people, canaries, reporter).rows()]
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        write_json(experiment.folder / AUDIT_FILE, [row.to_dict() for row in rows])
    return rows


@dataclass(frozen=True)
class _Inference:
    """One kind of inference: name, units, its scores, the truth, and how its leak is planted.

    ``of_files``: also by those who hold a personalized model or a gallery.
    """

    name: str
    units: str
    score: Callable[[Observation, Background], Mapping[str, torch.Tensor]]
    truth: Truth
    plant: Callable[[Observation], Observation]
    of_files: bool = False


class _Audit:
    """Audit of one method's run, in a temporary folder."""

    def __init__(self, run: MethodRun, folder: Path, people: int, canaries: int, progress: Progress) -> None:
        components = run.components
        self._run = run
        self._seed = components.config.seed
        self._candidates: Candidates = candidates_of(components, people)
        self._public = components.faces.subset(components.split.public)
        self._prototypes, self._owners = _private_prototypes(run)
        self._folder = folder
        self._canaries = canaries
        self._mined: dict[str, NDArray[np.bool_]] = {}
        self._models: dict[tuple[bytes, bool], SeenModel] = {}
        progress.note("repeating the last round, with the messages of every client")
        self._replay: Replay = replay_last_round(run, folder / "round", self._note_mined)
        check_repeated(run, self._replay)
        self._background = Background(
            self._candidates.photographs, self._public, components.config.model.backbone, components.compute
        )
        self._progress = progress

    def _note_mined(self, client: Client, broadcast: Broadcast) -> None:
        chosen = client.chosen_public_faces(broadcast).numpy()
        self._mined[client.id] = np.isin(np.arange(self._public.num_identities), self._public.labels[chosen])

    def rows(self) -> Iterator[AuditRow]:
        """Yield one row for each inference and observer."""
        observed = observations_of(self._run, self._replay)
        for inference in (
            _Inference("mined", "public identities", mined, self._is_mined, self._plant_mined),
            _Inference("enrolment", "people", enrolment, self._is_enrolled, self._plant_enrolment),
            _Inference("membership", "people", membership, self._is_enrolled, self._plant_membership, of_files=True),
            _Inference("prototypes", PROTOTYPES, self._near, self._is_owned, self._plant_prototypes, of_files=True),
        ):
            for observer, observations in observed.items():
                if observer not in PERSONAL or inference.of_files:
                    self._progress.note(f"{inference.name}: {observer}")
                    yield self._row(inference, observer, observations)
        self._progress.note("inversion: each update")
        yield inversion_row(self._run, self._replay, self._background, self._candidates)
        self._progress.note("canaries: repeating the round with them")
        yield from canary_rows(self._run, self._replay, self._folder / "canaries", self._background, self._canaries)

    def _row(self, inference: _Inference, observer: str, observations: Sequence[Observation]) -> AuditRow:
        named = AuditRow(inference.name, observer, inference.units)
        guesses = self._guesses(inference, observations)
        if guesses is None:
            return replace(named, left_out=self._why_unseen(inference, observer))
        found = measure(guesses, self._seed)
        if found is None:
            return replace(named, left_out=self._why_same(inference))
        return replace(named, **asdict(found), positive_control=self._control(inference, observations))

    def _control(self, inference: _Inference, observations: Sequence[Observation]) -> float | None:
        """Return the AUC for the first observation that can show a planted leak, since planting takes a training."""
        for observation in observations:
            guesses = self._guesses(inference, [inference.plant(observation)])
            if guesses is not None and not math.isnan(found := auc(*guesses.values())):
                return found
        return None

    def _guesses(self, inference: _Inference, observations: Sequence[Observation]) -> Guesses | None:
        """Return the scores of all observations, each normalized over its units, with the truth; None without scores.

        In an average, only people of clients that took part count; a site knows its own, who do not.
        """
        scores, truth, counted = [], [], []
        for observation in observations:
            for name, values in inference.score(observation, self._background).items():
                given = values.double().numpy()
                scores.append((given - given.mean()) / (given.std() or 1.0))
                truth.append(inference.truth(observation, name))
                averaged = inference.units == "people" and isinstance(observation, SumOnly | OwnSite)
                counted.append(self._in_average(observation) if averaged else np.ones(len(given), np.bool_))
        return Guesses(np.stack(scores), np.stack(truth), np.stack(counted)) if scores else None

    def _in_average(self, observation: Observation) -> NDArray[np.bool_]:
        seen = {"", *self._replay.updates}
        if isinstance(observation, OwnSite):
            seen.discard(observation.site)
        return np.array([owner in seen for owner in self._candidates.owners])

    def _near(self, observation: Observation, background: Background) -> Mapping[str, torch.Tensor]:
        """Score true private prototypes by their largest cosine with a reconstructed one."""
        targets = nn.functional.normalize(self._prototypes)
        return {name: (targets @ rows.T).amax(1) for name, rows in reconstructed(observation).items()}

    def _is_owned(self, observation: Observation, name: str) -> NDArray[np.bool_]:
        return np.array([owner == name for owner in self._owners])

    def _plant_prototypes(self, observation: Observation) -> Observation:
        """Plant an update that sends the private prototypes of its client, or rows of a file that are those."""

        def own(name: str) -> torch.Tensor:
            return self._prototypes[torch.from_numpy(self._is_owned(observation, name))]

        if isinstance(observation, PersonalModels):
            return replace(observation, templates={"planted": own(observation.site)})
        return with_after(observation, lambda name, model: replace(model, identities=own(name)))

    def _is_enrolled(self, observation: Observation, name: str) -> NDArray[np.bool_]:
        own = isinstance(observation, SingleUpdates | PersonalModels)
        return self._candidates.enrolled_at(name) if own else self._candidates.enrolled

    def _is_mined(self, observation: Observation, name: str) -> NDArray[np.bool_]:
        if isinstance(observation, SingleUpdates):
            return self._mined[name]
        site = observation.site if isinstance(observation, OwnSite) else ""
        others = [mined for client, mined in self._mined.items() if client != site]
        return np.array(np.stack(others).any(0))

    def _plant_mined(self, observation: Observation) -> Observation:
        return plant_mined(observation, lambda name: self._is_mined(observation, name))

    def _plant_enrolment(self, observation: Observation) -> Observation:
        return plant_enrolment(observation, self._background, lambda name: self._is_enrolled(observation, name))

    def _plant_membership(self, observation: Observation) -> Observation:
        """Plant models that were trained on the candidates' photographs, at one client, or templates made from them."""
        if isinstance(observation, PersonalModels):
            enrolled = self._candidates.enrolled_at(observation.site)
            if observation.templates:
                found = self._background.templates(self._background.features_under(observation.network))
                return replace(observation, templates={"planted": found[torch.from_numpy(enrolled)]})
            return replace(observation, network=self._background.network(self._overfitted(enrolled, False).weights))
        if isinstance(observation, SingleUpdates):
            client = next(iter(observation.updates))
            model = self._overfitted(self._candidates.enrolled_at(client))
            return SingleUpdates(observation.before, {client: model})
        compared = not isinstance(observation, FinalModel)
        return with_after(observation, lambda name, model: self._overfitted(self._candidates.enrolled, compared))

    def _overfitted(self, who: NDArray[np.bool_], compared: bool = True) -> SeenModel:
        key = who.tobytes(), compared
        if key not in self._models:
            self._models[key] = overfitted(self._background, self._replay.before.weights, who, compared)
        return self._models[key]

    def _why_unseen(self, inference: _Inference, observer: str) -> str:
        """Return why an observer has nothing to infer from."""
        run = self._run
        reasons = {
            "the server receives masked vectors and their sum": observer == "each update" and self._replay.summed,
            "of two clients, each knows the other's update, as `each update`": (
                observer == "another site" and len(run.participants) < 3
            ),
            f"{run.name} has no generic model": observer == "final model" and run.method.generic_model is None,
            f"{run.name} has no personalized models": observer in PERSONAL and run.method.personal_model is None,
            "branches and private prototypes are stripped from the file": observer in PERSONAL,
            "an average belongs to no single client, see enrolment": (
                inference.units == PROTOTYPES and observer in ("sum only", "another site")
            ),
            "the file holds no change of public prototypes": observer == "final model",
            "the run has no public faces": not self._public.num_identities,
            f"{run.name} has no public prototypes": not run.method.uses_public_prototypes,
            "federation.prototypes = keep: public prototypes are not sent": (
                run.components.config.federation.prototypes == "keep"
            ),
        }
        return next((reason for reason, holds in reasons.items() if holds), "the observer sees nothing of it")

    def _why_same(self, inference: _Inference) -> str:
        if inference.name == "mined":
            return "all public identities were mined, or none"
        if inference.units == PROTOTYPES:
            return "one client has all people"
        return "the split has no people that nobody trains on"


def _private_prototypes(run: MethodRun) -> tuple[torch.Tensor, list[str]]:
    """Return the private prototypes of all clients, and the client of each."""
    rows, owners = [torch.empty(0)], []
    for client in run.participants:
        state = run.store(client).latest()
        if state is not None:
            rows.append(state.prototypes)
            owners += [client] * len(state.prototypes)
    return torch.cat(rows[1:] or rows), owners
