"""Training of one person alone, from the generic model and public data: the change depends on nobody else."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet
from fedfr.training.batchnorm import batchnorm_entries, train_all_but
from fedfr.training.features import Compute, extract_features
from fedfr.training.hard_negatives import hard_negatives
from fedfr.training.loop import TrainingPlan, train
from fedfr.training.objective import MarginSoftmax, Network, Objective, Term
from fedfr.training.stored_features import StoredFeatures
from fedfr.training.training_set import TrainingSet

__all__ = ["PersonTrainer", "trained_names"]

# The client's own log; it stays on the client's machine.
_log = logging.getLogger("fedfr.client")


def trained_names(backbone: nn.Module) -> tuple[str, ...]:
    """Return the names of the parameters that persons train, in the order of a change: all but BatchNorm's."""
    frozen = batchnorm_entries(backbone)
    return tuple(name for name, _ in backbone.named_parameters() if name not in frozen)


@dataclass(frozen=True, eq=False)
class PersonTrainer:
    """Trainer of single persons in one round; every person begins with the same model.

    ``backbone``: a network in which all persons are trained, one after the other. ``weights``: all its entries θ^t.
    ``prototypes``: Φ_g (K_g, D) of the public identities, which are not trained. ``public``: their images, with the
    features ``public_features`` (n, D) under θ^t. ``threshold``: cosine from which a public image is a hard negative of
    a person. ``term``: the loss of the identities; there is no contrastive term, because it needs former local models,
    which depend on other persons. BatchNorm is frozen, its scales and shifts included.
    """

    backbone: nn.Module
    weights: Mapping[str, torch.Tensor]
    prototypes: torch.Tensor
    public: FaceSet
    public_features: torch.Tensor | StoredFeatures
    threshold: float
    plan: TrainingPlan
    compute: Compute
    term: Term = field(default_factory=MarginSoftmax)

    @property
    def start(self) -> dict[str, torch.Tensor]:
        """Trained parameters before training, for :func:`~fedfr.privacy.person_dp.person_changes.person_change`."""
        return {name: self.weights[name] for name in trained_names(self.backbone)}

    def train(self, faces: FaceSet, rows: npt.NDArray[np.int64], key: str) -> dict[str, torch.Tensor]:
        """Train with the images ``rows`` of one person in ``faces``; return the trained parameters, as :attr:`start`.

        Order and flips are drawn for ``key``. It must be the person's own, such as a hash of the name: with a position
        in a list, removing one person would change the draws of others.

        A person whose training fails with any exception contributes the starting parameters, and the reason is in the
        client's log: an error that others see would tell them about the person. Raises :class:`FedfrError` if ``rows``
        are not images of one person.
        """
        labels = np.unique(faces.labels[rows])
        if len(labels) != 1:
            raise FedfrError(f"{len(rows)} images of {len(labels)} persons are given; a person is trained alone")
        try:
            return self._trained(faces, rows, int(labels[0]), key)
        except Exception as error:  # noqa: BLE001 - whatever it is, it may be caused by this person's images
            _log.warning("a person contributes nothing in this round: %s: %s", type(error).__name__, error)
            return {name: value.clone() for name, value in self.start.items()}

    def _trained(self, faces: FaceSet, rows: npt.NDArray[np.int64], label: int, key: str) -> dict[str, torch.Tensor]:
        backbone = self.backbone
        # Everything that the training of another person has left in the network is replaced.
        backbone.load_state_dict(dict(self.weights))
        own = TrainingSet([(faces, rows, -label)])
        features = extract_features(backbone, own, self.compute)
        negatives = hard_negatives(self.public_features, features, self.threshold, device=self.compute.device)
        network = Network(backbone, features.mean(0, keepdim=True), self.prototypes)
        network = network.to(self.compute.device)
        requires_grad = {name: parameter.requires_grad for name, parameter in backbone.named_parameters()}
        try:
            train_all_but(backbone, batchnorm_entries(backbone))
            if network.public is not None:
                network.public.requires_grad_(False)
            train(
                network,
                TrainingSet([(faces, rows, -label), (self.public, negatives.numpy(), 1)]),
                Objective([self.term]),
                replace(self.plan, purpose=(*self.plan.purpose, "person", key), freeze_batchnorm=True),
                self.compute,
            )
        finally:
            for name, parameter in backbone.named_parameters():
                parameter.requires_grad_(requires_grad[name])
        parameters = dict(backbone.named_parameters())
        return {name: parameters[name].detach().to("cpu", copy=True) for name in self.start}
