"""Loss functions of tensors: margin softmax, one-vs-all, contrastive, proximal and SpreadOut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedfr.core.lazy import exports

if TYPE_CHECKING:
    from fedfr.losses.contrastive import contrastive_loss
    from fedfr.losses.loss_registry import LOSSES
    from fedfr.losses.margin import arcface_logits, cosface_logits, cosine, repeat_private_negatives
    from fedfr.losses.one_vs_all import one_vs_all_logits, one_vs_all_loss
    from fedfr.losses.proximal import proximal_term
    from fedfr.losses.spreadout import spreadout_loss
else:
    # Listing the names of losses need not wait for torch.
    __getattr__ = exports(
        __name__,
        {
            "contrastive": "contrastive_loss",
            "loss_registry": "LOSSES",
            "margin": "arcface_logits cosface_logits cosine repeat_private_negatives",
            "one_vs_all": "one_vs_all_logits one_vs_all_loss",
            "proximal": "proximal_term",
            "spreadout": "spreadout_loss",
        },
    )

__all__ = [
    "LOSSES",
    "arcface_logits",
    "contrastive_loss",
    "cosface_logits",
    "cosine",
    "one_vs_all_logits",
    "one_vs_all_loss",
    "proximal_term",
    "repeat_private_negatives",
    "spreadout_loss",
]


def __dir__() -> list[str]:
    return sorted(__all__)
