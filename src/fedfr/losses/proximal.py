"""Proximal regularization of local training (FedProx)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["proximal_term"]


def proximal_term(parameters: Iterable[Tensor], reference: Iterable[Tensor]) -> Tensor:
    """Return half the squared distance ``½ Σ ‖p − r‖²`` between parameters and reference values, a scalar.

    ``reference`` holds the values at the start of the round, in the order of ``parameters``; it receives no gradient.
    Both must have the same number of tensors and pairwise the same shapes (``ValueError`` for another number,
    ``RuntimeError`` for shapes that do not fit). Without parameters the term is zero.
    Li et al., FedProx, MLSys 2020 (arXiv 1812.06127), eq. 2 without its factor μ.

    >>> import torch
    >>> from fedfr.losses import proximal_term
    >>> backbone = torch.nn.Linear(2, 1)
    >>> start_of_round = [torch.zeros_like(p) for p in backbone.parameters()]
    >>> for p in backbone.parameters():
    ...     _ = torch.nn.init.ones_(p)
    >>> proximal_term(backbone.parameters(), start_of_round)  # three parameters: ½ · 3 · 1²
    tensor(1.5000, grad_fn=<MulBackward0>)
    """
    terms = [((p - r.detach()) ** 2).sum() for p, r in zip(parameters, reference, strict=True)]
    return 0.5 * torch.stack(terms).sum() if terms else torch.zeros(())
