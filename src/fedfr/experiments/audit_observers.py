"""Observers of a privacy audit, with what each of them saw in a repeated round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn

from fedfr.evaluation.identification import gallery_templates
from fedfr.experiments.method_run import MethodRun
from fedfr.experiments.round_replay import Replay
from fedfr.federation.messages import Update
from fedfr.federation.private_store import PERSONAL_MODEL
from fedfr.models import open_model
from fedfr.privacy.audit.observations import (
    FinalModel,
    Observation,
    OwnSite,
    PersonalModels,
    SeenModel,
    SingleUpdates,
    SumOnly,
)
from fedfr.training.features import extract_features
from fedfr.training.training_set import TrainingSet

__all__ = ["PERSONAL", "ROUND", "observations_of"]

ROUND = ("each update", "sum only", "another site")
"""Observers of the round."""

PERSONAL = ("personalized model", "unstripped model", "gallery")
"""Observers of one site's model or gallery."""

Observed = Mapping[str, Sequence[Observation]]


def observations_of(run: MethodRun, replay: Replay) -> Observed:
    """Return what each observer saw, by observer; a site and the holder of its model are one observer for each client.

    The observer of each update does not exist in a run with secure sums, and that of the sum alone is what a secure sum
    would leave in a run without.
    """
    before = SeenModel(replay.before.weights, replay.before.prototypes)
    shares = any(replay.updates[name].prototypes is not None for name in [*replay.updates][:1])
    after = SeenModel(replay.after.weights, replay.after.prototypes if shares else None)
    updates = _SeenUpdates(before, replay.updates)
    clients = len(updates)
    seen: dict[str, Sequence[Observation]] = {
        "each update": [] if replay.summed else [SingleUpdates(before, updates)],
        "sum only": [SumOnly(before, after)],
        "another site": [OwnSite(name, before, after, updates[name], clients) for name in updates if clients > 2],
        "final model": [FinalModel(after)] if run.method.generic_model is not None else [],
    }
    return {**seen, **_personal(run)}


class _SeenUpdates(Mapping[str, SeenModel]):
    """Updates as an observer sees them: entries that are not sent are those of the model before."""

    def __init__(self, before: SeenModel, updates: Mapping[str, Update]) -> None:
        self._before = before
        self._updates = updates

    def __getitem__(self, client: str) -> SeenModel:
        update = self._updates[client]
        # Under noise in a secure sum, a client stores a vector in place of weights.
        sent = {name: value for name, value in update.weights.items() if name in self._before.weights}
        return SeenModel({**self._before.weights, **sent}, update.prototypes, update.identities)

    def __iter__(self) -> Iterator[str]:
        return iter(self._updates)

    def __len__(self) -> int:
        return len(self._updates)


def _personal(run: MethodRun) -> Observed:
    found: dict[str, list[Observation]] = {name: [] for name in PERSONAL}
    for client in run.participants:
        path, state = run.folder / "clients" / client / PERSONAL_MODEL, run.store(client).latest()
        if not path.exists() or state is None:
            continue
        network = run.components.compute.place(open_model(path).network)
        dfc = run.method.personal_modules(state)
        rows = {"private prototypes": state.personal.get("prototypes", state.prototypes)}
        rows |= {} if dfc is None else {"branches": dfc.branches.weight.detach()}
        found["personalized model"].append(PersonalModels(client, network))
        found["unstripped model"].append(PersonalModels(client, network, rows))
        found["gallery"].append(PersonalModels(client, network, {"templates": _templates(run, client, network)}))
    return found


def _templates(run: MethodRun, client: str, network: nn.Module) -> torch.Tensor:
    """Return the templates of a client's gallery: the mean normalized feature of each person's training images."""
    faces = run.components.faces.subset(run.components.split.clients[client].train)
    seen = extract_features(network, TrainingSet([(faces, None, 0)]), run.components.compute)
    templates, _ = gallery_templates(seen.numpy(), faces.labels)
    return torch.from_numpy(templates)
