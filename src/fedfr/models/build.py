"""Construction of backbones by name."""

from __future__ import annotations

import torch
from torch import nn

from fedfr.core.rng import derive_seed
from fedfr.models.backbone_registry import BACKBONES

__all__ = ["build_backbone"]


def build_backbone(name: str, seed: int) -> nn.Module:
    """Build a freshly initialized backbone; its weights depend on ``name`` and ``seed`` only.

    The state of PyTorch's global generator is not changed. The backbone maps images (N, 3, H, W) to features
    (N, embedding_dim), not normalized. Raises :class:`FedfrError` for an unknown name.

    >>> import torch
    >>> from fedfr.models import build_backbone
    >>> backbone = build_backbone("slimface", seed=0).eval()
    >>> with torch.no_grad():
    ...     backbone(torch.zeros(2, 3, 112, 112)).shape
    torch.Size([2, 512])
    """
    spec = BACKBONES[name]
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: it would also reseed the accelerators, which fork_rng leaves alone here.
        torch.default_generator.manual_seed(derive_seed(seed, "backbone", BACKBONES.stored_name(name)))
        return spec.factory()
