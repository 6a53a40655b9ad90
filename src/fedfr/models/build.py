"""Construction of backbones by name."""

from __future__ import annotations

import torch
from torch import nn

from fedfr.core.errors import FedfrError
from fedfr.core.rng import derive_seed
from fedfr.models.backbone_registry import BACKBONES
from fedfr.models.spec import BackboneSpec

__all__ = ["build_backbone"]


def build_backbone(name: str, seed: int) -> nn.Module:
    """Build a freshly initialized backbone; its weights depend on ``name`` and ``seed`` only.

    The state of PyTorch's global generator is not changed. The backbone maps images (N, 3, H, W) to features
    (N, embedding_dim), not normalized. Raises :class:`FedfrError` for an unknown name, and for a backbone of another
    package that cannot be built or does not map faces to features of the length in its specification.

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
        if name in BACKBONES.builtin:
            return spec.factory()
        return _build_checked(name, spec)


def _build_checked(name: str, spec: BackboneSpec) -> nn.Module:
    """Build a backbone of another package and try it on two blank faces, which also creates its lazy parameters."""
    blank = spec.preprocessing.apply(torch.zeros(2, 112, 112, 3, dtype=torch.uint8))
    try:
        backbone: object = spec.factory()
        if not isinstance(backbone, nn.Module):
            raise FedfrError(f"backbone {name!r} makes a {type(backbone).__name__}; let it make a torch.nn.Module")
        modes = [(layer, layer.training) for layer in backbone.modules()]
        # Not inference_mode: lazy parameters created there could not be trained.
        with torch.no_grad():
            features: object = backbone.eval()(blank)
        for layer, training in modes:
            layer.training = training
    except FedfrError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        shape = tuple(blank.shape)
        raise FedfrError(
            f"backbone {name!r} cannot be built or fails on blank images {shape} ({type(error).__name__}: {reason}); "
            "correct it"
        ) from error
    wanted = (2, spec.embedding_dim)
    if not isinstance(features, torch.Tensor) or tuple(features.shape) != wanted or not features.is_floating_point():
        description = (
            f"shape {tuple(features.shape)}" if isinstance(features, torch.Tensor) else type(features).__name__
        )
        kind = (
            f" of {features.dtype}" if isinstance(features, torch.Tensor) and description == f"shape {wanted}" else ""
        )
        raise FedfrError(
            f"backbone {name!r} returns {description}{kind} for two faces, not {wanted}; correct its last layer or its "
            "embedding_dim"
        )
    return backbone
