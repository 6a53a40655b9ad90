"""A small backbone for tests, with a hundredth of SlimFace's computation."""

from __future__ import annotations

from torch import Tensor, nn

from fedfr.models.spec import BackboneSpec

__all__ = ["TINY", "TinyFace"]


def _stage(before: int, width: int, stride: int) -> nn.Sequential:
    down = nn.Conv2d(before, width, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(down, nn.BatchNorm2d(width), nn.ReLU(inplace=True))


class TinyFace(nn.Module):
    """14×14 means of the crop, two convolutions with BatchNorm, and a feature of 512 values behind a BatchNorm."""

    def __init__(self, width: int = 16, dim: int = 512) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(8)
        self.stages = nn.Sequential(_stage(3, width, 2), _stage(width, width, 1))
        self.fc = nn.Linear(width * 49, dim, bias=False)
        self.features = nn.BatchNorm1d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 112, 112) to (N, dim)."""
        feature: Tensor = self.features(self.fc(self.stages(self.pool(x)).flatten(1)))
        return feature


TINY = BackboneSpec(TinyFace)
