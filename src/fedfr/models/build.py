"""Backbones by name."""

from __future__ import annotations

import torch
from torch import nn

from fedfr.core.rng import derive_seed
from fedfr.models.backbone_registry import BACKBONES

__all__ = ["build_backbone"]


def build_backbone(name: str, seed: int) -> nn.Module:
    """A freshly initialized backbone that depends on ``name`` and ``seed`` alone.

    The global generator is left as it was. The backbone maps (N, 3, H, W) to (N, embedding_dim), not normalized.
    Raises :class:`FedfrError` for an unknown name.
    """
    spec = BACKBONES[name]
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: it would also reseed the accelerators, which fork_rng leaves alone here.
        torch.default_generator.manual_seed(derive_seed(seed, "backbone", BACKBONES.stored_name(name)))
        return spec.factory()
