"""Gradient inversion in a privacy audit: one image and one step as the control, beside the change of a whole round."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedfr.experiments.audit_people import Candidates
from fedfr.experiments.method_run import MethodRun
from fedfr.experiments.round_replay import Replay
from fedfr.privacy.audit.background import Background
from fedfr.privacy.audit.inversion import LayerInversion, last_linear, pixel_patterns
from fedfr.privacy.audit.measures import Guesses, auc, measure
from fedfr.results.audit_rows import AuditRow
from fedfr.training.features import extract_features, mean_features
from fedfr.training.training_set import TrainingSet

__all__ = ["inversion_row"]

_MOST_CLIENTS, _TRIALS, _MOST_IMAGES, _PHOTOGRAPHS = 8, 8, 5, 256


def inversion_row(run: MethodRun, replay: Replay, background: Background, candidates: Candidates) -> AuditRow:
    """Return what a server that sees each update infers from images that it reconstructs.

    A person's score is the largest similarity of a coarse grey pattern between the reconstructed image and one of the
    person's training images.
    """
    row = AuditRow("inversion", "each update")
    if replay.summed:
        return replace(row, left_out="the server receives masked vectors and their sum")
    network = background.network(replay.before.weights)
    name = last_linear(network)
    weight = f"{name}.weight"
    clients = [client for client in replay.updates if weight in replay.updates[client].weights][:_MOST_CLIENTS]
    if name is None or not clients:
        return replace(row, left_out="no fully connected layer is sent")
    people = _People(run, background, candidates)
    inversion = LayerInversion(network, name, people.inputs(_some(background)))
    means = mean_features(people.features(network), people.labels, len(people.owners)).to(background.compute.device)
    trials = np.linspace(0, len(people.owners) - 1, min(_TRIALS, len(people.owners))).astype(int)
    shown = []
    for person in trials:
        first = int((people.labels == person).nonzero()[0])
        gradient = inversion.gradient(people.images[first : first + 1], means, int(person))
        shown.append(people.scores(inversion.invert(gradient)))
    control = _guesses(shown, [np.arange(len(people.owners)) == person for person in trials])
    before = replay.before.weights[weight].to(background.compute.device)
    found = [
        people.scores(inversion.invert(replay.updates[client].weights[weight].to(before) - before))
        for client in clients
    ]
    measured = measure(
        _guesses(found, [np.array([owner == client for owner in people.owners]) for client in clients]),
        run.components.config.seed,
    )
    if measured is None:
        return replace(row, left_out="one client has all people")
    return replace(row, **asdict(measured), positive_control=auc(*control.values()))


class _People:
    """Training images of the enrolled candidates, preprocessed, with the person of each and each person's client."""

    def __init__(self, run: MethodRun, background: Background, candidates: Candidates) -> None:
        faces, split = run.components.faces, run.components.split
        self._background = background
        chosen = [(owner, label) for owner, label in zip(candidates.owners, candidates.labels, strict=True) if owner]
        rows = []
        for owner, label in chosen:
            own = np.asarray(split.clients[owner].train, np.int64)
            rows.append(own[faces.labels[own] == label][:_MOST_IMAGES])
        self.faces = faces.subset(np.concatenate(rows))
        self.owners = [owner for owner, _ in chosen]
        self.labels = torch.from_numpy(self.faces.labels.astype(np.int64))
        self.images = self.inputs(self.faces.images(np.arange(len(self.faces))))
        patterns = pixel_patterns(self.images)
        self._mean = patterns.mean(0)
        self._patterns = nn.functional.normalize(patterns - self._mean)

    def inputs(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Return images (n, H, W, 3) as a network's input."""
        compute = self._background.compute
        return compute.preprocessing.apply(torch.from_numpy(images).to(compute.device))

    def features(self, network: nn.Module) -> torch.Tensor:
        """Return the features of all images."""
        return extract_features(network, TrainingSet([(self.faces, None, 0)]), self._background.compute)

    def scores(self, image: torch.Tensor) -> NDArray[np.float64]:
        """Return the largest similarity of each person's images to a reconstructed one, (people,)."""
        similar = (self._patterns @ nn.functional.normalize(pixel_patterns(image) - self._mean)[0]).cpu().double()
        best = torch.full((len(self.owners),), -1.0, dtype=torch.float64)
        return best.scatter_reduce(0, self.labels, similar, "amax").numpy()


def _guesses(scores: list[NDArray[np.float64]], truth: list[NDArray[np.bool_]]) -> Guesses:
    given = np.stack(scores)
    given = (given - given.mean(1, keepdims=True)) / np.maximum(given.std(1, keepdims=True), 1e-12)
    return Guesses(given, np.stack(truth), np.ones(given.shape, np.bool_))


def _some(background: Background) -> NDArray[np.uint8]:
    """Return some of the photographs that an attacker has."""
    photographs = background.photographs
    return photographs.images(np.linspace(0, len(photographs) - 1, min(_PHOTOGRAPHS, len(photographs))).astype(int))
