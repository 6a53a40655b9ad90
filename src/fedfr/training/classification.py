"""The loss term that classifies identities, chosen by name: one of fedfr or a function of another package."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from fedfr.core.errors import FedfrError
from fedfr.core.rng import torch_generator
from fedfr.losses import LOSSES, repeat_private_negatives
from fedfr.losses.loss_registry import loss_arguments
from fedfr.models.heads import DFC
from fedfr.training.objective import Batch, MarginSoftmax, Network, Term

__all__ = ["NamedLoss", "check_loss", "classification_term", "loss_of"]


@dataclass(frozen=True)
class NamedLoss:
    """A loss of another package in the place of L_cos; ``kind`` is its name in :data:`fedfr.losses.LOSSES`."""

    kind: str
    scale: float = 30.0
    margin: float = 0.4
    weight: float = 1.0
    negative_repeats: int = 0
    name: str = "classification"

    def value(self, batch: Batch, network: Network) -> torch.Tensor:
        """Return the mean over the batch: the loss itself, or the cross-entropy of the logits.

        Raises :class:`FedfrError` if the function returns neither.
        """
        output = self.output(batch, network)
        if output.dim() == 0:
            return output
        if self.negative_repeats:
            output = repeat_private_negatives(output, batch.labels, len(network.private), self.negative_repeats)
        return nn.functional.cross_entropy(output, batch.labels)

    def output(self, batch: Batch, network: Network) -> torch.Tensor:
        """Return what the function returns for one batch: the loss, a scalar, or logits (b, K)."""
        function, classes = LOSSES[self.kind], network.classifier()
        given = {
            "features": batch.features,
            "prototypes": classes,
            "labels": batch.labels,
            "scale": self.scale,
            "margin": self.margin,
            "batch": batch,
            "network": network,
        }
        output = function(**{name: given[name] for name in loss_arguments(function)})
        expected = (len(batch.labels), len(classes))
        if not isinstance(output, torch.Tensor) or tuple(output.shape) not in ((), expected):
            shape = f"shape {tuple(output.shape)}" if isinstance(output, torch.Tensor) else f"a {type(output).__name__}"
            raise FedfrError(
                f"loss {self.kind!r} returned {shape} for {expected[0]} images and {expected[1]} prototypes; return "
                f"the loss, a scalar tensor, or logits {expected}"
            )
        return output


def classification_term(
    kind: str, scale: float, margin: float, *, weight: float = 1.0, negative_repeats: int = 0
) -> Term:
    """Return the term of the loss called ``kind`` in :data:`fedfr.losses.LOSSES`."""
    if kind in LOSSES.builtin:
        return MarginSoftmax(kind, scale, margin, weight, negative_repeats)
    return NamedLoss(kind, scale, margin, weight, negative_repeats)


def loss_of(term: Term) -> str | None:
    """Return the name of the loss of a term that :func:`classification_term` returned; None for another term."""
    return term.kind if isinstance(term, MarginSoftmax | NamedLoss) else None


def check_loss(kind: str, scale: float, margin: float, embedding_dim: int, *, logits: bool = False) -> None:
    """Raise :class:`FedfrError` for an unknown loss, and for one that fails on an example batch.

    ``logits``: whether the method needs the logits of the loss. Losses of fedfr itself are not tried.
    """
    _ = LOSSES[kind]
    if kind in LOSSES.builtin:
        return
    generator = torch_generator(0, "loss check")
    features = torch.randn(4, embedding_dim, generator=generator).requires_grad_()
    private, public, frozen = (torch.randn(number, embedding_dim, generator=generator) for number in (2, 2, 4))
    batch = Batch(features, torch.arange(4), frozen, frozen)
    try:
        with torch.random.fork_rng(devices=[]):
            network = Network(nn.Identity(), private, public, DFC(2, embedding_dim))
            output = NamedLoss(kind, scale, margin).output(batch, network)
    except FedfrError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise FedfrError(
            f"loss {kind!r} failed on an example batch ({type(error).__name__}: {reason}); correct it"
        ) from error
    if not output.requires_grad or not output.is_floating_point():
        raise FedfrError(f"loss {kind!r} returned a tensor without a gradient; compute it from the features")
    if logits and output.dim() == 0:
        raise FedfrError(
            f"loss {kind!r} returns the loss itself, but a setting of the method repeats its logits "
            "(method.reweight_negatives); return logits, or leave that setting off"
        )
