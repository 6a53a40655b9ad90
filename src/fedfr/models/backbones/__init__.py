"""Backbone architectures."""

from __future__ import annotations

from fedfr.models.backbones.iresnet import IResNet
from fedfr.models.backbones.mobilefacenet import MobileFaceNet
from fedfr.models.backbones.slimface import SlimFace
from fedfr.models.backbones.sphereface import SphereFace

__all__ = ["IResNet", "MobileFaceNet", "SlimFace", "SphereFace"]


def __dir__() -> list[str]:
    return sorted(__all__)
