"""Features of many images in memory-mapped parts, in float32 or rounded to half precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

__all__ = ["StoredFeatures", "half_error", "to_half"]


@dataclass(frozen=True)
class StoredFeatures:
    """Features (N, D), split into consecutive ``parts`` (n, D) that may be memory-mapped.

    Without ``exact`` the parts hold the float32 features. With ``exact`` they hold :func:`to_half` of the features, and
    ``exact`` returns the float32 features (n, D) of ascending indices by running the network again.
    """

    parts: Sequence[torch.Tensor]
    exact: Callable[[torch.Tensor], torch.Tensor] | None = None

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, indices: torch.Tensor) -> torch.Tensor:
        """Return the float32 features (n, D) at ascending ``indices``, exact also if the parts are rounded."""
        if self.exact is not None:
            return self.exact(indices)
        first, rows = 0, []
        for part in self.parts:
            rows.append(part[indices[(indices >= first) & (indices < first + len(part))] - first])
            first += len(part)
        return torch.cat(rows) if rows else torch.empty(0)

    def blocks(self, size: int) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield blocks of at most ``size`` stored features, each with the index of its first feature."""
        first = 0
        for part in self.parts:
            for start in range(0, len(part), size):
                yield first + start, part[start : start + size]
            first += len(part)


def to_half(features: torch.Tensor) -> torch.Tensor:
    """Return the unit vectors of ``features`` (n, D) as float16: half the memory; their length is not kept."""
    wide = features.double()
    length: torch.Tensor = torch.linalg.vector_norm(wide, dim=1, keepdim=True)
    return wide.div_(length.clamp_min(1e-300)).half()


def half_error(dim: int) -> float:
    """Return an upper bound on ‖h/‖h‖ − d‖ for h = :func:`to_half` of a feature with direction d ∈ ℝ^dim.

    float16 has 11 significant bits: a component c ≥ 2⁻¹⁴ moves by at most 2⁻¹¹ c, a smaller one by at most 2⁻²⁵, so
    ‖h − d‖ ≤ e = 2⁻¹¹ + √dim 2⁻²⁵. The angle between h and d is at most arcsin e, the chord at most e (1 + e).
    """
    moved = 2.0**-11 + dim**0.5 * 2.0**-25
    return float(moved * (1 + moved))
