"""Contrastive regularization: stay near the global backbone, away from the client's previous one."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from fedfr.losses.precision import at_least_single

__all__ = ["contrastive_loss"]


def contrastive_loss(u: Tensor, u_global: Tensor, u_previous: Tensor, temperature: float = 0.5) -> Tensor:
    """Model-contrastive loss, mean over the batch, as a scalar.

    ``−log(e^{cos(u, u_g)/T} / (e^{cos(u, u_g)/T} + e^{cos(u, u_p)/T}))``, which is
    ``softplus((cos(u, u_p) − cos(u, u_g))/T)`` and is computed so: it never overflows.
    All three are (N, D); ``u_global`` and ``u_previous`` carry no gradient. With ``u_previous`` equal to ``u_global``
    the loss is log 2 and its gradient zero. Li et al., MOON, CVPR 2021 (arXiv 2103.16257), eq. 3;
    FedFR (arXiv 2112.12496), contrastive regularization.
    """
    unit, near, far = (functional.normalize(at_least_single(x), dim=1) for x in (u, u_global, u_previous))
    # One product with the difference, not a difference of two: equal references then give a gradient of exactly zero.
    return functional.softplus((unit * (far - near).detach()).sum(dim=1) / temperature).mean()
