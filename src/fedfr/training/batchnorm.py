"""Entries of BatchNorm layers, and their exclusion from training."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

__all__ = ["batchnorm_entries", "batchnorm_statistics", "train_all_but"]


def batchnorm_statistics(backbone: nn.Module) -> frozenset[str]:
    """Return the names of all BatchNorm entries that are not parameters: running mean, variance, counter."""
    parameters = {name for name, _ in backbone.named_parameters()}
    return batchnorm_entries(backbone) - parameters


def batchnorm_entries(backbone: nn.Module) -> frozenset[str]:
    """Return the names of all state entries (affine and statistics) of BatchNorm layers."""
    names: set[str] = set()
    for prefix, module in backbone.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            names.update(f"{prefix}.{entry}" for entry in module.state_dict())
    return frozenset(names)


def train_all_but(backbone: nn.Module, excluded: Collection[str]) -> None:
    """Set ``requires_grad`` of every parameter: false for those in ``excluded``."""
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(name not in excluded)
