"""Canaries of a privacy audit: a round repeated with random people, each of whom takes part with probability 1/2."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.experiments.method_run import MethodRun
from fedfr.experiments.person_privacy import is_private
from fedfr.experiments.round_replay import Replay, replay_last_round
from fedfr.federation.client import Client
from fedfr.federation.messages import Broadcast
from fedfr.privacy.audit.background import Background
from fedfr.privacy.audit.canaries import (
    Canaries,
    CanaryGradients,
    correct_guesses,
    epsilon_bound,
    largest_epsilon,
    with_canaries,
)
from fedfr.privacy.audit.measures import Guesses, auc, measure
from fedfr.results.audit_rows import AuditRow

__all__ = ["canary_rows"]

FEWEST = 8
_MOST_IMAGES = 5


def canary_rows(run: MethodRun, replay: Replay, folder: Path, background: Background, count: int) -> list[AuditRow]:
    """Repeat the last round with canaries and return what a server infers of them; ``folder`` is new.

    ``count`` is the number of canaries; 0 leaves them out.
    """
    rows = [AuditRow("canaries", observer, "canaries") for observer in ("each update", "sum only")]
    if not count:
        return [replace(row, left_out="none were asked for") for row in rows]
    clients = sorted(replay.updates)
    offered = min(count, len(clients) * _room(run, clients))
    if offered < FEWEST:
        reason = f"privacy.people leaves room for {offered}, at least {FEWEST} are needed"
        return [replace(row, left_out=reason) for row in rows]
    seed = run.components.config.seed
    canaries = Canaries.draw(clients, offered, _images_per_person(run, clients), seed)

    def include(client: Client, broadcast: Broadcast) -> None:
        client.private = with_canaries(client.private, canaries.of(client.id))

    try:
        with _without_warnings():
            repeated = replay_last_round(run, folder, include)
    except FedfrError as error:
        return [replace(row, left_out=f"with canaries, {error}") for row in rows]
    gradients = CanaryGradients(canaries, background, replay.before.weights, replay.before.prototypes)
    found = _scores(canaries, gradients, repeated)
    planted = gradients.scores(gradients.planted(canaries.included)).double().numpy()
    control = auc(planted, canaries.included)
    return [
        _row(row, found[row.observer], canaries.included, control, seed)
        if row.observer in found
        else replace(row, left_out="the server receives masked vectors and their sum")
        for row in rows
    ]


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Leave out the warnings of clients that people joined, who are canaries."""
    log = logging.getLogger("fedfr.client")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _scores(canaries: Canaries, gradients: CanaryGradients, repeated: Replay) -> Mapping[str, NDArray[np.float64]]:
    """Return the scores of the canaries by observer; a server that sees each update knows who was offered to whom."""
    before = repeated.before.weights
    found = {"sum only": gradients.scores(gradients.change(before, repeated.after.weights)).double().numpy()}
    if repeated.summed:
        return found
    own = torch.zeros(len(canaries.clients), dtype=torch.float64)
    for client, update in repeated.updates.items():
        change = gradients.change(before, {**before, **update.weights})
        offered = torch.tensor([owner == client for owner in canaries.clients])
        own[offered] = gradients.scores(change)[offered] / change.norm().clamp_min(1e-12)
    return {**found, "each update": own.double().numpy()}


def _row(
    row: AuditRow, scores: NDArray[np.float64], included: NDArray[np.bool_], control: float, seed: int
) -> AuditRow:
    found = measure(Guesses(scores[None], included[None], np.ones((1, len(scores)), np.bool_)), seed)
    if found is None:
        return replace(row, left_out="all canaries took part, or none")
    bound = epsilon_bound(correct_guesses(scores, included), len(scores))
    return replace(
        row, **asdict(found), positive_control=control, epsilon=bound, epsilon_most=largest_epsilon(len(scores))
    )


def _room(run: MethodRun, clients: list[str]) -> int:
    """Return how many canaries may take part at each client: with differential privacy, people are agreed."""
    components = run.components
    agreed = components.config.privacy.people
    if not is_private(components.config, run.name) or agreed is None:
        return len(components.faces)
    labels, split = components.faces.labels, components.split
    return min(agreed - len(np.unique(labels[np.asarray(split.clients[client].train)])) for client in clients)


def _images_per_person(run: MethodRun, clients: list[str]) -> int:
    """Return the mean number of training images of a person, at least 2 and at most 5."""
    faces, split = run.components.faces, run.components.split
    rows = np.concatenate([np.asarray(split.clients[client].train, np.int64) for client in clients])
    return min(max(round(len(rows) / len(np.unique(faces.labels[rows]))), 2), _MOST_IMAGES)
