"""The backbones a user can choose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from fedfr.models.backbones import IResNet, MobileFaceNet, SlimFace, SphereFace
from fedfr.models.preprocessing import Preprocessing
from fedfr.registry import Entry, Registry
from fedfr.rng import derive_seed

__all__ = ["BACKBONES", "BackboneSpec", "build_backbone"]

_FULL = Preprocessing()
# The middle 96 columns, scaled by 128: what the published 112×96 checkpoints were trained with.
_NARROW = Preprocessing(std=128.0, columns=(8, 104))

_SPHEREFACE = "Liu et al., SphereFace, CVPR 2017 (arXiv 1704.08063)"
_ARCFACE = "Deng et al., ArcFace, CVPR 2019 (arXiv 1801.07698)"
_MOBILEFACENET = "Chen et al., MobileFaceNets, CCBR 2018 (arXiv 1804.07573)"


@dataclass(frozen=True)
class BackboneSpec:
    """How a backbone is made, the length of its feature, and the input it expects."""

    factory: Callable[[], nn.Module]
    embedding_dim: int = 512
    preprocessing: Preprocessing = _FULL


def _sphereface(blocks: tuple[int, int, int, int]) -> BackboneSpec:
    return BackboneSpec(lambda: SphereFace(blocks))


def _iresnet(blocks: tuple[int, int, int, int]) -> BackboneSpec:
    return BackboneSpec(lambda: IResNet(blocks))


BACKBONES: Registry[BackboneSpec] = Registry(
    "backbone",
    (
        Entry("sphereface20", _sphereface((1, 2, 4, 1)), "20 layers without BatchNorm, 24.5 M parameters", _SPHEREFACE),
        Entry("sphereface64", _sphereface((3, 7, 16, 3)), "FedFR's 64-layer CNN, 49.7 M parameters", _SPHEREFACE),
        Entry("iresnet18", _iresnet((2, 2, 2, 2)), "residual, 24.0 M parameters", _ARCFACE),
        Entry("iresnet34", _iresnet((3, 4, 6, 3)), "residual, 34.1 M parameters", _ARCFACE),
        Entry("iresnet50", _iresnet((3, 4, 14, 3)), "residual, 43.6 M parameters", _ARCFACE),
        Entry("iresnet100", _iresnet((3, 13, 30, 3)), "residual, 65.2 M parameters", _ARCFACE),
        Entry("mobilefacenet", BackboneSpec(MobileFaceNet), "depthwise, 1.2 M parameters", _MOBILEFACENET),
        Entry(
            "mobilefacenet-112x96",
            BackboneSpec(lambda: MobileFaceNet(dim=128, last=(7, 6)), 128, _NARROW),
            "depthwise, 1.0 M parameters, 128 values, middle 96 columns of the crop",
            _MOBILEFACENET,
        ),
        Entry("slimface", BackboneSpec(SlimFace), "narrow residual network for training on a CPU, 4.1 M parameters"),
    ),
)


def build_backbone(name: str, seed: int) -> nn.Module:
    """A freshly initialised backbone that depends on ``name`` and ``seed`` alone.

    The global generator is left as it was. The backbone maps (N, 3, H, W) to (N, embedding_dim), not normalised.
    Raises :class:`FedfrError` for an unknown name.
    """
    spec = BACKBONES[name]
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: it would also reseed the accelerators, which fork_rng leaves alone here.
        torch.default_generator.manual_seed(derive_seed(seed, "backbone", name))
        return spec.factory()
