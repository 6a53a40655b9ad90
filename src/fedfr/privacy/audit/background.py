"""What every attacker has beside its observation: photographs of candidates, public faces, the kind of network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import nn

from fedfr.core.short_repr import Brief
from fedfr.faces import FaceSet
from fedfr.models import build_backbone, load_weights
from fedfr.training.features import Compute, extract_features, mean_features
from fedfr.training.training_set import TrainingSet

__all__ = ["Background", "compactness"]

# Models whose features are kept: the one that was sent, and its average.
_KEPT = 2


class Background(Brief):
    """Knowledge of an attacker that comes from elsewhere.

    ``photographs``: images of candidates, at least two of each; their labels number the candidates and do not say who
    is enrolled. No image of them was trained on. ``public``: the public faces, in the order of the public prototypes.
    """

    def __init__(self, photographs: FaceSet, public: FaceSet, backbone: str, compute: Compute) -> None:
        self.photographs = photographs
        self.public = public
        self.compute = compute
        self._backbone = backbone
        self._kept: list[tuple[Mapping[str, torch.Tensor], torch.Tensor]] = []

    @property
    def candidates(self) -> int:
        """Number of candidates."""
        return self.photographs.num_identities

    @cached_property
    def labels(self) -> torch.Tensor:
        """Candidate of each photograph, int64 (n,)."""
        return torch.from_numpy(self.photographs.labels.astype("int64"))

    @cached_property
    def _network(self) -> nn.Module:
        return self.compute.place(build_backbone(self._backbone, 0))

    def network(self, weights: Mapping[str, torch.Tensor]) -> nn.Module:
        """Return the backbone with these weights, in evaluation mode; valid until the next call."""
        load_weights(self._network, weights)
        return self._network.eval()

    def features(self, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the normalized features (n, D) of the photographs under a backbone with these weights."""
        for known, found in self._kept:
            if known is weights:
                return found
        found = self.features_under(self.network(weights))
        self._kept = [*self._kept, (weights, found)][-_KEPT:]
        return found

    def features_under(self, network: nn.Module) -> torch.Tensor:
        """Return the normalized features (n, D) of the photographs under any network."""
        seen = extract_features(network, TrainingSet([(self.photographs, None, 0)]), self.compute)
        return nn.functional.normalize(seen)

    def templates(self, features: torch.Tensor) -> torch.Tensor:
        """Return the normalized mean feature (candidates, D) of each candidate."""
        return nn.functional.normalize(mean_features(features, self.labels, self.candidates))

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean (candidates,) of values (n,) of the photographs."""
        return mean_features(values[:, None], self.labels, self.candidates)[:, 0]

    def compactness(self, features: torch.Tensor) -> torch.Tensor:
        """Return the compactness (candidates,) of each candidate's features."""
        return compactness(features, self.labels, self.candidates)


def compactness(features: torch.Tensor, labels: torch.Tensor, people: int) -> torch.Tensor:
    """Return by how much two images of a person are more alike than those of two people, (people,).

    Both are mean cosines of normalized features (n, D). The difference does not grow if a model draws all faces
    together.
    """
    count = torch.bincount(labels, minlength=people).to(features)
    total = torch.zeros(people, features.shape[1]).index_add(0, labels, features)
    same = (total.square().sum(1) - count) / (count * (count - 1))
    other = (total @ total.sum(0) - total.square().sum(1)) / (count * (count.sum() - count).clamp_min(1))
    return same - other
