"""The improved residual network of ArcFace; published checkpoints load unchanged."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fedfr.models.backbones.folding import FoldingSequential, convolve
from fedfr.models.backbones.prelu import PReLU
from fedfr.models.spec import BackboneSpec

__all__ = ["IRESNET18", "IRESNET34", "IRESNET50", "IRESNET100", "IResNet"]

_WIDTHS = (64, 128, 256, 512)
_EPS = 1e-5


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=_EPS)


class _Block(nn.Module):
    """BN – conv – BN – PReLU – conv – BN, added to the input."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = _norm(before)
        self.conv1 = nn.Conv2d(before, width, 3, padding=1, bias=False)
        self.bn2 = _norm(width)
        self.prelu = PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn3 = _norm(width)
        self.downsample: FoldingSequential | None = None
        if stride > 1:
            shortcut = nn.Conv2d(before, width, 1, stride=stride, bias=False)
            self.downsample = FoldingSequential(shortcut, _norm(width))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.prelu(convolve(self.conv1, self.bn2, self.bn1(x)))
        inner = convolve(self.conv2, self.bn3, inner)
        return inner + (x if self.downsample is None else self.downsample(x))


def _stage(before: int, width: int, blocks: int) -> nn.Sequential:
    rest = (_Block(width, width, 1) for _ in range(blocks - 1))
    return nn.Sequential(_Block(before, width, 2), *rest)


class IResNet(nn.Module):
    """ArcFace's residual network with ``blocks`` residual blocks in its four stages.

    (N, 3, 112, 112) to (N, dim). ``blocks``: 18 (2, 2, 2, 2), 34 (3, 4, 6, 3), 50 (3, 4, 14, 3), 100 (3, 13, 30, 3).
    Deng et al., ArcFace, CVPR 2019 (arXiv 1801.07698), section 3.1.
    """

    def __init__(self, blocks: tuple[int, int, int, int], dim: int = 512) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = _norm(_WIDTHS[0])
        self.prelu = PReLU(_WIDTHS[0])
        self.layer1 = _stage(_WIDTHS[0], _WIDTHS[0], blocks[0])
        self.layer2 = _stage(_WIDTHS[0], _WIDTHS[1], blocks[1])
        self.layer3 = _stage(_WIDTHS[1], _WIDTHS[2], blocks[2])
        self.layer4 = _stage(_WIDTHS[2], _WIDTHS[3], blocks[3])
        self.bn2 = _norm(_WIDTHS[3])
        self.fc = nn.Linear(_WIDTHS[3] * 7 * 7, dim)
        self.features = nn.BatchNorm1d(dim, eps=_EPS)
        # As in the original: normalization of the feature would cancel a learnt scale.
        self.features.weight.requires_grad = False
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 112, 112) to (N, dim)."""
        x = self.prelu(convolve(self.conv1, self.bn1, x))
        x = self.bn2(self.layer4(self.layer3(self.layer2(self.layer1(x)))))
        # The sum over 25 088 inputs stays in full precision under autocast, as in the original.
        with torch.autocast(x.device.type, enabled=False):
            feature: Tensor = self.features(self.fc(x.flatten(1).to(self.fc.weight.dtype)))
        return feature


_SOURCE = "InsightFace, recognition/arcface_torch/dataset.py: RGB of mx.image.imdecode, ToTensor, Normalize(0.5, 0.5)"

IRESNET18 = BackboneSpec(lambda: IResNet((2, 2, 2, 2)), source=_SOURCE)
IRESNET34 = BackboneSpec(lambda: IResNet((3, 4, 6, 3)), source=_SOURCE)
IRESNET50 = BackboneSpec(lambda: IResNet((3, 4, 14, 3)), source=_SOURCE)
IRESNET100 = BackboneSpec(lambda: IResNet((3, 13, 30, 3)), source=_SOURCE)
