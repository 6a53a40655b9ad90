"""Registry of the available backbones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fedfr.core.registry import Entry, Extensions, Registry

if TYPE_CHECKING:
    from fedfr.models.spec import BackboneSpec

__all__ = ["BACKBONES"]

_SPHEREFACE = "Liu et al., SphereFace, CVPR 2017 (arXiv 1704.08063)"
_ARCFACE = "Deng et al., ArcFace, CVPR 2019 (arXiv 1801.07698)"
_MOBILEFACENET = "Chen et al., MobileFaceNets, CCBR 2018 (arXiv 1804.07573)"


def _accept(value: Any) -> BackboneSpec | None:
    """Return a specification unchanged, that of a network class (``embedding_dim`` or 512), or None for others."""
    from torch import nn

    from fedfr.models.spec import BackboneSpec

    if isinstance(value, BackboneSpec):
        return value
    if not (isinstance(value, type) and issubclass(value, nn.Module)):
        return None
    dimension = getattr(value, "embedding_dim", BackboneSpec.embedding_dim)
    return (
        BackboneSpec(value, dimension, source=f"the defaults of {value.__module__}") if type(dimension) is int else None
    )


BACKBONES: Registry[BackboneSpec] = Registry(
    "backbone",
    (
        Entry(
            "sphereface20",
            "fedfr.models.backbones.sphereface:SPHEREFACE20",
            "20 layers without BatchNorm, 24.5 M parameters",
            _SPHEREFACE,
        ),
        Entry(
            "sphereface64",
            "fedfr.models.backbones.sphereface:SPHEREFACE64",
            "FedFR's 64-layer CNN, 49.7 M parameters",
            _SPHEREFACE,
        ),
        Entry("iresnet18", "fedfr.models.backbones.iresnet:IRESNET18", "residual, 24.0 M parameters", _ARCFACE),
        Entry("iresnet34", "fedfr.models.backbones.iresnet:IRESNET34", "residual, 34.1 M parameters", _ARCFACE),
        Entry("iresnet50", "fedfr.models.backbones.iresnet:IRESNET50", "residual, 43.6 M parameters", _ARCFACE),
        Entry("iresnet100", "fedfr.models.backbones.iresnet:IRESNET100", "residual, 65.2 M parameters", _ARCFACE),
        Entry(
            "mobilefacenet",
            "fedfr.models.backbones.mobilefacenet:MOBILEFACENET",
            "depthwise, 1.2 M parameters",
            _MOBILEFACENET,
        ),
        Entry(
            "mobilefacenet-112x96",
            "fedfr.models.backbones.mobilefacenet:MOBILEFACENET_112X96",
            "depthwise, 1.0 M parameters, 128 values, middle 96 columns of the crop",
            _MOBILEFACENET,
        ),
        Entry(
            "mobilefacenet-128",
            "fedfr.models.backbones.mobilefacenet:MOBILEFACENET_128",
            "depthwise, 1.0 M parameters, 128 values, as published by InsightFace",
            _MOBILEFACENET,
        ),
        Entry(
            "slimface",
            "fedfr.models.backbones.slimface:SLIMFACE",
            "narrow residual network for training on a CPU, 3.1 M parameters",
        ),
        Entry(
            "slimface-small",
            "fedfr.models.backbones.slimface:SLIMFACE_SMALL",
            "slimface with three narrower stages on half the image size, 0.3 M parameters, 128 values",
        ),
    ),
    Extensions(
        "fedfr.backbones",
        "a fedfr.models.BackboneSpec, or a class of torch.nn.Module that needs no arguments",
        _accept,
    ),
)
