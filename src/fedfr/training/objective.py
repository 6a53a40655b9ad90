"""The training objective: a weighted sum of named loss terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from fedfr.losses import (
    LOSSES,
    contrastive_loss,
    cosface_logits,
    cosine,
    one_vs_all_loss,
    proximal_term,
    repeat_private_negatives,
)
from fedfr.models.heads import DFC

__all__ = [
    "Batch",
    "BranchMarginSoftmax",
    "Contrastive",
    "Distillation",
    "MarginSoftmax",
    "Network",
    "Objective",
    "OneVsAll",
    "Proximal",
    "Term",
]


class Network(nn.Module):
    """All parameters trained at one client: backbone, prototypes, and, if the method has them, DFC module, projection.

    ``private``: prototypes Φ_i (K_i, D) of the client's identities. ``public``: prototypes Φ_g (K_g, D) of the public
    identities, or None if these are not classes of the softmax. Both are copied. ``projection`` maps the features that
    the contrastive term compares.
    """

    def __init__(
        self,
        backbone: nn.Module,
        private: torch.Tensor,
        public: torch.Tensor | None = None,
        dfc: DFC | None = None,
        projection: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.private = nn.Parameter(private.detach().clone())
        self.public = None if public is None else nn.Parameter(public.detach().clone())
        self.dfc = dfc
        self.projection = projection

    def classifier(self) -> torch.Tensor:
        """Return the prototypes of all classes, [Φ_i; Φ_g] (K_i + K_g, D)."""
        return self.private if self.public is None else torch.cat([self.private, self.public])


@dataclass(frozen=True)
class Batch:
    """Input of the loss terms in one step: features u (b, D) with gradient, labels (b,) and frozen features (b, D).

    Labels 0..K_i-1 are private identities, larger ones public. ``global_features`` are those of the global backbone,
    ``previous_features`` those of the client's backbone of its previous round; None if no term needs them.
    """

    features: torch.Tensor
    labels: torch.Tensor
    global_features: torch.Tensor | None = None
    previous_features: torch.Tensor | None = None


class Term(Protocol):
    """A named, weighted term of the training loss."""

    @property
    def name(self) -> str:
        """Name under which the value is reported."""
        ...

    @property
    def weight(self) -> float:
        """Factor of the term in the objective."""
        ...

    def value(self, batch: Batch, network: Network) -> torch.Tensor:
        """Return the unweighted value of the term for one batch, a scalar."""
        ...


@dataclass(frozen=True)
class MarginSoftmax:
    """The term L_cos: cross-entropy of CosFace or ArcFace logits over the prototypes [Φ_i; Φ_g].

    ``kind``: a loss of fedfr in :data:`fedfr.losses.LOSSES`.
    ``negative_repeats`` > 0 appends private negative logits, see :func:`fedfr.losses.repeat_private_negatives`.
    """

    kind: str = "cosface"
    scale: float = 30.0
    margin: float = 0.4
    weight: float = 1.0
    negative_repeats: int = 0
    name: str = "margin_softmax"

    def value(self, batch: Batch, network: Network) -> torch.Tensor:
        """Return the mean over the batch."""
        logits = LOSSES[self.kind](batch.features, network.classifier(), batch.labels, self.scale, self.margin)
        if self.negative_repeats:
            logits = repeat_private_negatives(logits, batch.labels, len(network.private), self.negative_repeats)
        return nn.functional.cross_entropy(logits, batch.labels)


@dataclass(frozen=True)
class Contrastive:
    """The term L_con: model-contrastive regularization (MOON, CVPR 2021), see :func:`fedfr.losses.contrastive_loss`.

    If the network has a projection, the batch's frozen features are projected ones.
    """

    weight: float = 5.0
    temperature: float = 0.5
    name: str = "contrastive"

    def value(self, batch: Batch, network: Network) -> torch.Tensor:
        """Return the mean over the batch; raises ``ValueError`` if the batch has no frozen features."""
        if batch.global_features is None or batch.previous_features is None:
            raise ValueError("the contrastive term needs the global and previous features of the batch")
        features = batch.features if network.projection is None else network.projection(batch.features)
        return contrastive_loss(features, batch.global_features, batch.previous_features, self.temperature)


@dataclass(frozen=True)
class OneVsAll:
    """The term L_dfc: one-vs-all loss of the DFC branches (SphereFace2), see :func:`fedfr.losses.one_vs_all_loss`.

    A public image is negative for every branch. ``detach`` stops the gradient to the backbone.
    """

    weight: float = 10.0
    scale: float = 30.0
    margin: float = 0.4
    positive_weight: float = 0.7
    power: int = 3
    detach: bool = False
    name: str = "one_vs_all"

    def value(self, batch: Batch, network: Network) -> torch.Tensor:
        """Return the sum over all branches, averaged over the batch; raises ``ValueError`` without a DFC module."""
        branches, transformed = _branches(batch, network, self)
        return one_vs_all_loss(
            transformed,
            branches.weight,
            branches.bias,
            batch.labels,
            scale=self.scale,
            margin=self.margin,
            positive_weight=self.positive_weight,
            power=self.power,
        )


@dataclass(frozen=True)
class BranchMarginSoftmax:
    """Ablation of :class:`OneVsAll`: CosFace over the DFC branches; public images do not contribute.

    ``detach`` stops the gradient to the backbone.
    """

    weight: float = 1.0
    scale: float = 30.0
    margin: float = 0.4
    detach: bool = False
    name: str = "branch_softmax"

    def value(self, batch: Batch, network: Network) -> torch.Tensor:
        """Return the sum over the private images divided by the size of the batch, zero without private images.

        Raises ``ValueError`` without a DFC module.
        """
        branches, transformed = _branches(batch, network, self)
        private = batch.labels < len(branches.weight)
        labels = torch.where(private, batch.labels, 0)
        logits = cosface_logits(transformed, branches.weight, labels, self.scale, self.margin)
        # Weights instead of a selection: counting the private images would wait for the device.
        return (nn.functional.cross_entropy(logits, labels, reduction="none") * private).mean()


def _branches(batch: Batch, network: Network, term: OneVsAll | BranchMarginSoftmax) -> tuple[nn.Linear, torch.Tensor]:
    """Return the branches of the DFC module, and the batch's transformed features (b, D)."""
    if network.dfc is None:
        raise ValueError(f"the {term.name} term needs a DFC module")
    features = batch.features.detach() if term.detach else batch.features
    return network.dfc.branches, network.dfc.transform_features(features)


@dataclass(frozen=True)
class Distillation:
    """Knowledge distillation, T²·KL(teacher ‖ student), over the private identities.

    Both distributions are softmaxes of ``scale`` times cosines at temperature T. The teacher uses the frozen global
    features of the batch and the teacher's ``prototypes`` (K_i, D). Hinton et al. 2015 (arXiv 1503.02531), section 2.
    """

    prototypes: torch.Tensor
    temperature: float = 2.0
    scale: float = 30.0
    weight: float = 0.5
    name: str = "distillation"

    def value(self, batch: Batch, network: Network) -> torch.Tensor:
        """Return the mean over the batch; raises ``ValueError`` if the batch has no global features."""
        if batch.global_features is None:
            raise ValueError("the distillation term needs the global features of the batch")
        scale = self.scale / self.temperature
        student = nn.functional.log_softmax(scale * cosine(batch.features, network.private), dim=1)
        teacher = nn.functional.log_softmax(scale * cosine(batch.global_features, self.prototypes), dim=1)
        return self.temperature**2 * nn.functional.kl_div(student, teacher, reduction="batchmean", log_target=True)


@dataclass(frozen=True)
class Proximal:
    """Half the squared distance ½‖θ − θ^t‖² of the backbone to that at the start of the round (FedProx, MLSys 2020).

    ``reference``: parameters θ^t by name.
    """

    reference: Mapping[str, torch.Tensor]
    weight: float = 0.01
    name: str = "proximal"

    def value(self, batch: Batch, network: Network) -> torch.Tensor:
        """Return the term, which does not depend on the batch."""
        parameters = dict(network.backbone.named_parameters())
        return proximal_term(list(parameters.values()), [self.reference[name] for name in parameters])


class Objective:
    """Weighted sum of loss terms."""

    def __init__(self, terms: Sequence[Term]) -> None:
        self.terms = tuple(terms)

    def __call__(self, batch: Batch, network: Network) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the scalar to minimize, and the unweighted value of every term and the ``total``, detached."""
        values = {term.name: term.value(batch, network) for term in self.terms}
        total = torch.stack([term.weight * values[term.name] for term in self.terms]).sum()
        return total, {name: value.detach() for name, value in values.items()} | {"total": total.detach()}
