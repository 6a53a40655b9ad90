"""SphereFace's plain residual CNN: convolution and PReLU, no BatchNorm."""

from __future__ import annotations

from torch import Tensor, nn

from fedfr.models.backbones.prelu import PReLU
from fedfr.models.spec import BackboneSpec

__all__ = ["SPHEREFACE20", "SPHEREFACE64", "SphereFace"]

_WIDTHS = (64, 128, 256, 512)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.prelu1 = PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.prelu2 = PReLU(width)

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.prelu2(self.conv2(self.prelu1(self.conv1(x))))
        return x + inner


def _stage(before: int, width: int, blocks: int) -> nn.Sequential:
    down = nn.Conv2d(before, width, 3, stride=2, padding=1)
    return nn.Sequential(down, PReLU(width), *(_Block(width) for _ in range(blocks)))


class SphereFace(nn.Module):
    """Four stages of ``blocks`` residual blocks, each beginning with a stride-2 convolution, then 25 088 → ``dim``.

    (N, 3, 112, 112) to (N, dim). ``blocks`` (1, 2, 4, 1) is the 20-layer, (3, 7, 16, 3) the 64-layer network.
    Liu et al., SphereFace, CVPR 2017 (arXiv 1704.08063), table 2.
    """

    def __init__(self, blocks: tuple[int, int, int, int], dim: int = 512) -> None:
        super().__init__()
        self.layer1 = _stage(3, _WIDTHS[0], blocks[0])
        self.layer2 = _stage(_WIDTHS[0], _WIDTHS[1], blocks[1])
        self.layer3 = _stage(_WIDTHS[1], _WIDTHS[2], blocks[2])
        self.layer4 = _stage(_WIDTHS[2], _WIDTHS[3], blocks[3])
        self.fc = nn.Linear(_WIDTHS[3] * 7 * 7, dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is None:
                # Without BatchNorm, residual branches must start small or 64 layers explode.
                nn.init.normal_(module.weight, std=0.01)
            elif isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 112, 112) to (N, dim)."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        feature: Tensor = self.fc(x.flatten(1))
        return feature


_SOURCE = "FedFR's released dataset.py: RGB of mx.image.imdecode, ToTensor, Normalize(0.5, 0.5)"

SPHEREFACE20 = BackboneSpec(lambda: SphereFace((1, 2, 4, 1)), source=_SOURCE)
SPHEREFACE64 = BackboneSpec(lambda: SphereFace((3, 7, 16, 3)), source=_SOURCE)
