"""Features of faces under a network that is not being trained."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from fedfr.models.preprocessing import Preprocessing
from fedfr.training.pool import FacePool

__all__ = ["Compute", "FrozenFeatures", "extract_features", "freeze"]


@dataclass(frozen=True)
class Compute:
    """How networks are run: input preprocessing, device, and whether convolutions run in bfloat16."""

    preprocessing: Preprocessing
    device: torch.device
    bf16: bool = False

    def place(self, module: nn.Module) -> nn.Module:
        """``module`` on the device, convolutions in the channels_last layout that both devices run fastest."""
        placed: nn.Module = nn.utils.convert_conv2d_weight_memory_format(module.to(self.device), torch.channels_last)
        return placed

    def autocast(self) -> torch.autocast:
        """Context in which the backbone runs; losses are always computed in float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def features(self, backbone: nn.Module, images: torch.Tensor, flip: torch.Tensor | None = None) -> torch.Tensor:
        """Float32 features (n, D) of uint8 images (n, 112, 112, 3), those flagged by ``flip`` mirrored."""
        images = images.to(self.device)
        inputs = self.preprocessing.apply(images, None if flip is None else flip.to(self.device))
        with self.autocast():
            features: torch.Tensor = backbone(inputs)
        return features.float()


def extract_features(
    backbone: nn.Module, pool: FacePool, compute: Compute, *, mirrored: bool = False, batch_size: int = 128
) -> torch.Tensor:
    """Features (n, D), float32 on the CPU, of every face in evaluation mode; the training mode is put back."""
    was_training = backbone.training
    backbone.eval()
    parts = []
    with torch.inference_mode():
        for indices in torch.arange(len(pool)).split(batch_size):
            flip = torch.full((len(indices),), mirrored) if mirrored else None
            parts.append(compute.features(backbone, pool.images(indices), flip).cpu())
    backbone.train(was_training)
    # Cloned outside inference mode so that autograd may save it for a backward pass.
    return torch.cat(parts).clone()


@dataclass(frozen=True)
class FrozenFeatures:
    """Features of a pool under a network that stays as it is during a round, for both flips: (2, n, D).

    The only augmentation is a flip, so this holds every feature the contrastive term can ask for (method, section 3).
    """

    both: torch.Tensor

    def of(self, indices: torch.Tensor, flip: torch.Tensor) -> torch.Tensor:
        """Features (b, D) of the faces, each in the mirrored version where ``flip`` is set."""
        return self.both[flip.long(), indices]


def freeze(
    backbone: nn.Module, pool: FacePool, compute: Compute, *, flips: bool, upright: torch.Tensor | None = None
) -> FrozenFeatures:
    """Compute :class:`FrozenFeatures` once; ``upright`` supplies the unflipped ones when they are known already."""
    plain = extract_features(backbone, pool, compute) if upright is None else upright
    mirror = extract_features(backbone, pool, compute, mirrored=True) if flips else plain
    return FrozenFeatures(torch.stack([plain, mirror]).to(compute.device))
