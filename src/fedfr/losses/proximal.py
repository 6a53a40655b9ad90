"""FedProx: the squared distance to the model the round began with."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["proximal_term"]


def proximal_term(parameters: Iterable[Tensor], reference: Iterable[Tensor]) -> Tensor:
    """``½ Σ ‖p − r‖²`` over parameters and their reference values, in the same order, as a scalar.

    Shapes must agree pairwise, and so must the number of tensors (``ValueError`` otherwise); ``reference`` carries no
    gradient. No parameters give zero. Li et al., FedProx, MLSys 2020 (arXiv 1812.06127), eq. 2 without its factor μ.
    """
    terms = [((p - r.detach()) ** 2).sum() for p, r in zip(parameters, reference, strict=True)]
    return 0.5 * torch.stack(terms).sum() if terms else torch.zeros(())
