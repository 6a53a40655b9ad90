"""Model-contrastive regularization of local training (MOON)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from fedfr.losses.precision import at_least_float32

__all__ = ["contrastive_loss"]


def contrastive_loss(u: Tensor, u_global: Tensor, u_previous: Tensor, temperature: float = 0.5) -> Tensor:
    """Return the model-contrastive loss L_con of a batch, a scalar (mean over the images).

    Pulls the features ``u`` of the backbone in training towards those of the global backbone, ``u_global``, and away
    from those of the client's backbone of its previous round, ``u_previous``:
    ``−log(e^{cos(u, u_g)/T} / (e^{cos(u, u_g)/T} + e^{cos(u, u_p)/T}))``, with T the ``temperature`` (> 0).
    Computed as ``softplus((cos(u, u_p) − cos(u, u_g))/T)``, which cannot overflow.

    All three tensors are (N, D), of any length; ``u_global`` and ``u_previous`` receive no gradient. If they are equal,
    the loss is log 2 and its gradient zero. Li et al., MOON, CVPR 2021 (arXiv 2103.16257), eq. 3; FedFR
    (arXiv 2112.12496), contrastive regularization.

    >>> import torch
    >>> from fedfr.losses import contrastive_loss
    >>> u, u_global, u_previous = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    >>> contrastive_loss(u, u_global, u_previous)  # softplus((0 - 1) / 0.5)
    tensor(0.1269)
    """
    unit, near, far = (functional.normalize(at_least_float32(x), dim=1) for x in (u, u_global, u_previous))
    # One product with the difference, not a difference of two: equal references then give a gradient of exactly zero.
    return functional.softplus((unit * (far - near).detach()).sum(dim=1) / temperature).mean()
