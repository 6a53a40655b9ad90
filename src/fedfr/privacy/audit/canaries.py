"""Canaries: random people, some of whom take part in a round, for an empirical lower bound on ε.

After Steinke, Nasr and Jagielski, *Privacy Auditing with One (1) Training Run* (NeurIPS 2023): each canary is included
with probability 1/2, and an observer of the round guesses for each whether it was. Under (ε, δ)-differential privacy no
guess is right with odds above e^ε, up to δ. So m canaries certify at most about ln(m / 3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedfr.core.rng import numpy_generator
from fedfr.faces import FaceSet
from fedfr.losses import cosface_logits
from fedfr.privacy.audit.background import Background
from fedfr.training.features import extract_features, mean_features
from fedfr.training.training_set import TrainingSet

__all__ = ["Canaries", "CanaryGradients", "correct_guesses", "epsilon_bound", "largest_epsilon", "with_canaries"]

CONFIDENCE = 0.95
DELTA = 1e-5
"""Largest δ for which the bounds hold."""

# Values of all parameters that scores are computed from, counted from the last parameter: bounds the memory.
_VALUES = 1 << 22
_SCALE, _MARGIN = 30.0, 0.4
# Relative to the squared length of a gradient.
_RIDGE = 0.1


@dataclass(frozen=True)
class Canaries:
    """Canaries with the same number of images each, the client that each was offered to, and whether it takes part."""

    faces: FaceSet
    clients: tuple[str, ...]
    included: NDArray[np.bool_]

    @classmethod
    def draw(cls, clients: Sequence[str], count: int, images: int, seed: int) -> Canaries:
        """Draw ``count`` canaries, coarse random patterns with noise, dealt to the clients in turn."""
        drawn = numpy_generator(seed, "audit", "canaries")
        patterns = drawn.integers(0, 200, (count, 7, 7, 3)).repeat(16, axis=1).repeat(16, axis=2)
        labels = np.repeat(np.arange(count), images)
        pixels = patterns[labels] + drawn.integers(0, 56, (len(labels), 112, 112, 3))
        names = [f"canary {number:04d}" for number in range(count)]
        owners = tuple(clients[number % len(clients)] for number in range(count))
        return cls(FaceSet(pixels.astype(np.uint8), labels, names), owners, drawn.random(count) < 0.5)

    def of(self, client: str) -> FaceSet:
        """Return the canaries that take part at a client."""
        chosen = [place for place, owner in enumerate(self.clients) if owner == client and self.included[place]]
        return self.faces.subset(np.flatnonzero(np.isin(self.faces.labels, chosen)))


def with_canaries(faces: FaceSet, canaries: FaceSet) -> FaceSet:
    """Return a client's faces, and after them those of canaries, in memory."""
    if not len(canaries):
        return faces
    pixels = np.concatenate([part.images(np.arange(len(part))) for part in (faces, canaries)])
    labels = np.concatenate([faces.labels, canaries.labels + faces.num_identities])
    return FaceSet(pixels, labels, [*faces.identities, *canaries.identities])


class CanaryGradients:
    """Gradients by which canaries would change a model, without what they have in common; rows have length 1.

    All canaries and the public prototypes are classes. Only the last parameters are used, up to 4 million values.
    Gradients of people resemble each other, so that a score is a coefficient of the change's ridge regression on all
    of them, not its product with one.
    """

    def __init__(
        self, canaries: Canaries, background: Background, weights: Mapping[str, torch.Tensor], public: torch.Tensor
    ) -> None:
        network, compute, faces = background.network(weights), background.compute, canaries.faces
        self._names = _last_parameters(network)
        seen = extract_features(network, TrainingSet([(faces, None, 0)]), compute)
        labels = torch.from_numpy(faces.labels.astype(np.int64))
        classes = torch.cat([mean_features(seen, labels, faces.num_identities), public]).to(compute.device)
        parameters = dict(network.named_parameters())
        rows = []
        for person in range(faces.num_identities):
            images = torch.from_numpy(faces.images(np.flatnonzero(faces.labels == person))).to(compute.device)
            wanted = torch.full((len(images),), person, device=compute.device)
            logits = cosface_logits(compute.features(network, images), classes, wanted, _SCALE, _MARGIN)
            loss = nn.functional.cross_entropy(logits, wanted)
            found = torch.autograd.grad(loss, [parameters[name] for name in self._names])
            rows.append(torch.cat([value.flatten().cpu() for value in found]))
        gradients = torch.stack(rows)
        self.rows = nn.functional.normalize(gradients - gradients.mean(0))
        products = (self.rows @ self.rows.T).double()
        self._solve = torch.linalg.inv(products + _RIDGE * torch.eye(len(products), dtype=torch.float64))

    def scores(self, change: torch.Tensor) -> torch.Tensor:
        """Return by how much a change of the parameters follows each canary, (canaries,) in float64."""
        coefficients: torch.Tensor = self._solve @ (self.rows @ change).double()
        return -coefficients

    def change(self, before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the change of the parameters between two models."""
        return torch.cat([(after[name] - before[name]).flatten() for name in self._names])

    def planted(self, included: NDArray[np.bool_]) -> torch.Tensor:
        """Return the change of a round in which nothing but the included canaries was trained on."""
        return -self.rows[torch.from_numpy(included)].sum(0)


def _last_parameters(network: nn.Module) -> list[str]:
    chosen, left = [], _VALUES
    for name, value in reversed([*network.named_parameters()]):
        if value.numel() <= left:
            chosen.append(name)
            left -= value.numel()
    return chosen


def correct_guesses(scores: NDArray[np.float64], included: NDArray[np.bool_]) -> int:
    """Return how many guesses are right: the upper half of the scores is taken for included."""
    order = np.argsort(scores, kind="stable")
    guessed = np.zeros(len(scores), np.bool_)
    guessed[order[len(scores) // 2 :]] = True
    return int((guessed == included).sum())


def epsilon_bound(correct: int, guesses: int) -> float:
    """Return the largest ε that so many correct guesses refute with 95 % confidence, 0 if none; for δ up to 1e-5.

    >>> from fedfr.privacy.audit.canaries import epsilon_bound
    >>> round(epsilon_bound(32, 32), 1), epsilon_bound(16, 32)
    (2.3, 0.0)
    """
    allowed = 1 - CONFIDENCE - 2 * guesses * DELTA
    if allowed <= 0 or _tail(correct, guesses, 0.5) > allowed:
        return 0.0
    low, high = 0.0, 50.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _tail(correct, guesses, _sigmoid(middle)) <= allowed else (low, middle)
    return low


def largest_epsilon(guesses: int) -> float:
    """Return the largest ε that so many canaries can refute, about ln(m / 3): all guesses are right."""
    return epsilon_bound(guesses, guesses)


def _sigmoid(epsilon: float) -> float:
    return 1 / (1 + math.exp(-epsilon))


def _tail(correct: int, guesses: int, odds: float) -> float:
    """Return the probability that at least ``correct`` of so many tosses succeed."""
    return math.fsum(
        math.comb(guesses, number) * odds**number * (1 - odds) ** (guesses - number)
        for number in range(correct, guesses + 1)
    )
