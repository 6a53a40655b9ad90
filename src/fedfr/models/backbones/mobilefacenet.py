"""MobileFaceNet: a network of about a million parameters for mobile devices and CPUs."""

from __future__ import annotations

from torch import Tensor, nn

from fedfr.models.backbones.folding import FoldingSequential, convolve
from fedfr.models.backbones.prelu import PReLU
from fedfr.models.preprocessing import Preprocessing
from fedfr.models.spec import BackboneSpec

__all__ = ["MOBILEFACENET", "MOBILEFACENET_112X96", "MOBILEFACENET_128", "MobileFaceNet"]

# (expansion, channels, repeats, stride), table 1 of the paper.
_BOTTLENECKS = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


class _Unit(nn.Module):
    """Convolution, BatchNorm and, unless ``linear``, PReLU."""

    def __init__(
        self,
        before: int,
        width: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int = 0,
        *,
        depthwise: bool = False,
        linear: bool = False,
    ) -> None:
        super().__init__()
        groups = before if depthwise else 1
        self.conv = nn.Conv2d(before, width, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(width)
        if not linear:
            self.prelu = PReLU(width)
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        x = convolve(self.conv, self.bn, x)
        return x if self.linear else self.prelu(x)


class _Bottleneck(nn.Module):
    """1×1 expansion, 3×3 depthwise, 1×1 projection without activation; residual if the shape is unchanged."""

    def __init__(self, before: int, width: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = before * expansion
        self.residual = stride == 1 and before == width
        self.conv = FoldingSequential(
            nn.Conv2d(before, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            PReLU(inner),
            nn.Conv2d(inner, inner, 3, stride, 1, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            PReLU(inner),
            nn.Conv2d(inner, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.conv(x)
        return x + inner if self.residual else inner


def _bottlenecks(width: int) -> nn.Sequential:
    blocks = []
    for expansion, after, repeats, stride in _BOTTLENECKS:
        for index in range(repeats):
            blocks.append(_Bottleneck(width, after, stride if index == 0 else 1, expansion))
            width = after
    return nn.Sequential(*blocks)


class MobileFaceNet(nn.Module):
    """MobileFaceNet: (N, 3, 112, 16·w) to (N, dim); ``last`` = (7, w) is the size of the last feature map.

    Chen et al., MobileFaceNets, CCBR 2018 (arXiv 1804.07573), table 1. PReLU slopes start at 0.25.
    """

    def __init__(self, dim: int = 512, last: tuple[int, int] = (7, 7)) -> None:
        super().__init__()
        self.conv1 = _Unit(3, 64, 3, 2, 1)
        self.dw_conv1 = _Unit(64, 64, 3, 1, 1, depthwise=True)
        self.blocks = _bottlenecks(64)
        self.conv2 = _Unit(128, 512, 1)
        self.linear7 = _Unit(512, 512, last, depthwise=True, linear=True)
        self.linear1 = _Unit(512, dim, 1, linear=True)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, dim)."""
        x = self.blocks(self.dw_conv1(self.conv1(x)))
        feature: Tensor = self.linear1(self.linear7(self.conv2(x)))
        return feature.flatten(1)


MOBILEFACENET = BackboneSpec(MobileFaceNet)
# The published 112×96 checkpoints were trained with the middle 96 columns, scaled by 128.
MOBILEFACENET_112X96 = BackboneSpec(
    lambda: MobileFaceNet(dim=128, last=(7, 6)),
    128,
    Preprocessing(std=128.0, columns=(8, 104)),
    source="MobileFaceNet_Pytorch, CASIA_Face_loader.py: RGB of scipy.misc.imread, 112×96, (x − 127.5) / 128",
)
# The same network on the whole crop, as InsightFace publishes it ("y1").
MOBILEFACENET_128 = BackboneSpec(
    lambda: MobileFaceNet(dim=128),
    128,
    Preprocessing(std=128.0),
    source="InsightFace, MobileFaceNet of its model zoo: RGB, 112×112, (x − 127.5) / 128",
)
