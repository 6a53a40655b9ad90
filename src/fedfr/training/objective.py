"""What a training step minimizes: a sum of named, weighted terms that each report their own value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import nn

from fedfr.losses import (
    arcface_logits,
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
    """All that is trained at one place: backbone, prototypes of own and public identities, optional DFC module.

    ``private``: Φ_i, K_i × D. ``public``: Φ_g, K_g × D, or None when public identities are no classes here.
    """

    def __init__(
        self, backbone: nn.Module, private: torch.Tensor, public: torch.Tensor | None = None, dfc: DFC | None = None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.private = nn.Parameter(private.detach().clone())
        self.public = None if public is None else nn.Parameter(public.detach().clone())
        self.dfc = dfc

    def classifier(self) -> torch.Tensor:
        """[Φ_i; Φ_g]."""
        return self.private if self.public is None else torch.cat([self.private, self.public])


@dataclass(frozen=True)
class Batch:
    """One step's view: features u (b, D) with gradient, labels (b,), and frozen features where a term needs them."""

    features: torch.Tensor
    labels: torch.Tensor
    global_features: torch.Tensor | None = None
    previous_features: torch.Tensor | None = None


class Term(Protocol):
    """A named part of the loss."""

    @property
    def name(self) -> str:
        """Key under which the value is reported."""
        ...

    @property
    def weight(self) -> float:
        """Factor in the sum."""
        ...

    def value(self, batch: Batch, network: Network) -> torch.Tensor:
        """The unweighted scalar."""
        ...


@dataclass(frozen=True)
class MarginSoftmax:
    """L_cos: cross-entropy over margin logits of [Φ_i; Φ_g]; ``negative_repeats``: see the loss of that name."""

    kind: Literal["cosface", "arcface"] = "cosface"
    scale: float = 30.0
    margin: float = 0.4
    weight: float = 1.0
    negative_repeats: int = 0
    name: str = "margin_softmax"

    def value(self, batch: Batch, network: Network) -> torch.Tensor:
        """Mean over the batch."""
        margin_logits = cosface_logits if self.kind == "cosface" else arcface_logits
        logits = margin_logits(batch.features, network.classifier(), batch.labels, self.scale, self.margin)
        if self.negative_repeats:
            logits = repeat_private_negatives(logits, batch.labels, len(network.private), self.negative_repeats)
        return nn.functional.cross_entropy(logits, batch.labels)


@dataclass(frozen=True)
class Contrastive:
    """L_con: stay near the global features, away from the previous local ones (MOON, CVPR 2021)."""

    weight: float = 5.0
    temperature: float = 0.5
    name: str = "contrastive"

    def value(self, batch: Batch, network: Network) -> torch.Tensor:
        """Mean over the batch; needs the frozen features."""
        if batch.global_features is None or batch.previous_features is None:
            raise ValueError("the contrastive term needs frozen features")
        return contrastive_loss(batch.features, batch.global_features, batch.previous_features, self.temperature)


@dataclass(frozen=True)
class OneVsAll:
    """L_dfc: SphereFace2's binary losses of the DFC branches; a public face is negative for every branch."""

    weight: float = 10.0
    scale: float = 30.0
    margin: float = 0.4
    positive_weight: float = 0.7
    power: int = 3
    detach: bool = False
    name: str = "one_vs_all"

    def value(self, batch: Batch, network: Network) -> torch.Tensor:
        """Sum over branches, mean over the batch; ``detach`` keeps the gradient from the backbone."""
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
    """CosFace over the DFC branches alone, in place of the one-vs-all loss; public faces have no branch and sit out."""

    weight: float = 1.0
    scale: float = 30.0
    margin: float = 0.4
    detach: bool = False
    name: str = "branch_softmax"

    def value(self, batch: Batch, network: Network) -> torch.Tensor:
        """Sum over the private faces divided by all faces of the batch, zero where there is none."""
        branches, transformed = _branches(batch, network, self)
        private = batch.labels < len(branches.weight)
        labels = torch.where(private, batch.labels, 0)
        logits = cosface_logits(transformed, branches.weight, labels, self.scale, self.margin)
        # Weights instead of a selection: a device must be waited for to know how many faces are private.
        return (nn.functional.cross_entropy(logits, labels, reduction="none") * private).mean()


def _branches(batch: Batch, network: Network, term: OneVsAll | BranchMarginSoftmax) -> tuple[nn.Linear, torch.Tensor]:
    """The branches of the DFC module, and the batch's features behind its transform."""
    if network.dfc is None:
        raise ValueError(f"the {term.name} term needs a DFC module")
    features = batch.features.detach() if term.detach else batch.features
    return network.dfc.branches, network.dfc.transform_features(features)


@dataclass(frozen=True)
class Distillation:
    """K²·KL(teacher ‖ student) over the private classes, softmax of scaled cosines at temperature K.

    Hinton et al. 2015 (arXiv 1503.02531). The teacher: the frozen global features and ``prototypes`` (K_i, D).
    """

    prototypes: torch.Tensor
    temperature: float = 2.0
    scale: float = 30.0
    weight: float = 0.5
    name: str = "distillation"

    def value(self, batch: Batch, network: Network) -> torch.Tensor:
        """Mean over the batch; needs the frozen global features."""
        if batch.global_features is None:
            raise ValueError("distillation needs the teacher's features")
        scale = self.scale / self.temperature
        student = nn.functional.log_softmax(scale * cosine(batch.features, network.private), dim=1)
        teacher = nn.functional.log_softmax(scale * cosine(batch.global_features, self.prototypes), dim=1)
        return self.temperature**2 * nn.functional.kl_div(student, teacher, reduction="batchmean", log_target=True)


@dataclass(frozen=True)
class Proximal:
    """½‖θ − θ^t‖² over the backbone's parameters (FedProx, MLSys 2020)."""

    reference: Mapping[str, torch.Tensor]
    weight: float = 0.01
    name: str = "proximal"

    def value(self, batch: Batch, network: Network) -> torch.Tensor:
        """Independent of the batch."""
        parameters = dict(network.backbone.named_parameters())
        return proximal_term(list(parameters.values()), [self.reference[name] for name in parameters])


class Objective:
    """Σ weight · term."""

    def __init__(self, terms: Sequence[Term]) -> None:
        self.terms = tuple(terms)

    def __call__(self, batch: Batch, network: Network) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The scalar to minimize, and every term's unweighted value (detached)."""
        values = {term.name: term.value(batch, network) for term in self.terms}
        total = torch.stack([term.weight * values[term.name] for term in self.terms]).sum()
        return total, {name: value.detach() for name, value in values.items()} | {"total": total.detach()}
