"""SlimFace: a narrow residual network that trains at a useful speed on two CPU cores."""

from __future__ import annotations

from torch import Tensor, nn

from fedfr.models.backbones.folding import FoldingSequential, convolve
from fedfr.models.spec import BackboneSpec

__all__ = ["SLIMFACE", "SLIMFACE_SMALL", "SlimFace"]


class _Block(nn.Module):
    """conv – BN – ReLU – conv – BN, added to the input, ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        # Every block starts as the identity: safer in training with few images.
        nn.init.zeros_(self.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.relu(convolve(self.conv1, self.bn1, x))
        inner = convolve(self.conv2, self.bn2, inner)
        out: Tensor = self.relu(x + inner)
        return out


def _stage(before: int, width: int, blocks: int) -> nn.Sequential:
    down = nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False)
    rest = (_Block(width) for _ in range(blocks))
    return FoldingSequential(down, nn.BatchNorm2d(width), nn.ReLU(inplace=True), *rest)


class SlimFace(nn.Module):
    """Stages of plain 3×3 convolutions, each beginning with stride 2, then 1×1, depthwise 7×7 and linear.

    (N, 3, 112, 112) to (N, dim). Plain convolutions, because depthwise ones leave a CPU's vector units idle in
    training; ReLU, because PReLU's backward pass costs a quarter to nearly half of the training speed here.
    The global depthwise convolution is MobileFaceNet's (arXiv 1804.07573): it weighs face regions with 0.2 % of the
    parameters of a 25 088 → 512 layer. Residual blocks: He et al., CVPR 2016 (arXiv 1512.03385). Widths and blocks are
    the fastest of five shapes of equal accuracy (``benchmarks/slimface_shapes.py``).
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (32, 64, 160, 256),
        blocks: tuple[int, ...] = (0, 1, 2, 1),
        dim: int = 512,
        expanded: int = 512,
    ) -> None:
        super().__init__()
        before = (3, *widths[:-1])
        # Fewer stages take a smaller image, so that the last one is always 7×7.
        self.shrink = 2 ** (4 - len(widths))
        self.stages = nn.Sequential(*(_stage(b, w, n) for b, w, n in zip(before, widths, blocks, strict=True)))
        self.expand = FoldingSequential(
            nn.Conv2d(widths[-1], expanded, 1, bias=False), nn.BatchNorm2d(expanded), nn.ReLU(inplace=True)
        )
        self.pool = FoldingSequential(
            nn.Conv2d(expanded, expanded, 7, groups=expanded, bias=False), nn.BatchNorm2d(expanded)
        )
        self.fc = nn.Linear(expanded, dim, bias=False)
        self.features = nn.BatchNorm1d(dim)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 112, 112) to (N, dim)."""
        if self.shrink > 1:
            x = nn.functional.avg_pool2d(x, self.shrink)
        x = self.pool(self.expand(self.stages(x)))
        feature: Tensor = self.features(self.fc(x.flatten(1)))
        return feature


SLIMFACE = BackboneSpec(SlimFace)
# For the quickstart: fifteen times as fast in training on a CPU.
SLIMFACE_SMALL = BackboneSpec(lambda: SlimFace((24, 48, 96), (0, 0, 1), dim=128, expanded=256), 128)
