"""Which public faces are hard negatives for a client (method, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fedfr.training.bf16_screening import Columns, Rows, cosines, full_accumulation, has_fast_bf16
from fedfr.training.stored_features import StoredFeatures, half_error

__all__ = ["hard_negatives"]

# Fewer multiplications than this and float32 is as fast as bfloat16 with what follows it.
SMALL = 10**8


def hard_negatives(
    public: torch.Tensor | StoredFeatures,
    private: torch.Tensor,
    threshold: float,
    block: int = 4096,
    *,
    device: torch.device | None = None,
    screen: torch.dtype | None = None,
) -> torch.Tensor:
    """Indices of the public images whose largest cosine similarity to any private image exceeds ``threshold``.

    ``public`` (N, D) and ``private`` (n, D) are features of any length; one that is not finite resembles nothing, one
    that is zero has similarity 0. Returns int64, ascending, on the CPU. Works on ``device`` (default: the CPU) in
    blocks of ``block`` × ``block`` similarities, so memory does not grow with N · n.

    The set is that of :func:`cosines`, float64 similarities of the float32 features, whatever the machine and block.
    Similarities are computed in ``screen`` (float32, or bfloat16, which processors with such instructions multiply
    several times faster; default: what is faster here); rows nearer to the threshold than the rounding errors can be,
    go through float32 and then float64, against the private images that came near. Public features stored in half
    precision are screened the same way, and the rows they cannot decide are decided on their exact features.
    """
    stored = public if isinstance(public, StoredFeatures) else StoredFeatures((public,))
    place = torch.device("cpu") if device is None else device
    if screen is None:
        small = len(stored) * private.numel() < SMALL
        screen = torch.bfloat16 if has_fast_bf16(place) and not small else torch.float32
    kinds = [torch.float32] if screen == torch.float32 else [screen, torch.float32]
    kept = []
    with full_accumulation():
        images = private.to(place)
        images = images[images.isfinite().all(dim=1)]
        searched = _Private(images, {kind: Columns.of(images, kind, block) for kind in kinds}, threshold)
        for first, rows in stored.blocks(block):
            error = 0.0 if stored.exact is None else half_error(rows.shape[1])
            found, undecided = searched.near(rows.to(place), kinds, block, error)
            if undecided.any():
                doubtful = undecided.nonzero().flatten()
                exact = stored[doubtful.cpu() + first].to(place)
                found[doubtful], _ = searched.near(exact, [torch.float32], block)
            kept.append(found.nonzero().flatten().cpu() + first)
    return torch.cat(kept) if kept else torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True)
class _Private:
    """The private images: their float32 features, and these rounded to each type used for screening."""

    features: torch.Tensor
    rounded: dict[torch.dtype, Columns]
    threshold: float

    def __getitem__(self, chosen: torch.Tensor | slice) -> _Private:
        rounded = {kind: values[chosen] for kind, values in self.rounded.items()}
        return _Private(self.features[chosen], rounded, self.threshold)

    def near(
        self, public: torch.Tensor, kinds: Sequence[torch.dtype], block: int, error: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Which public features (n, D) are near some private one, and which cannot be decided.

        The latter only where they have an ``error``.
        """
        kind, *finer = kinds
        rows = Rows.of(public, kind, error)
        finite = rows.length.isfinite()
        found, undecided = torch.zeros_like(finite), torch.zeros_like(finite)
        for start in range(0, len(self.features), block):
            private = self[start : start + block]
            products = rows.values @ private.rounded[kind].values.T
            low, high = rows.limits(private.rounded[kind], self.threshold)
            nearest = products.amax(dim=1, keepdim=True)
            found |= finite & (nearest > high)[:, 0]
            # Not "nearest >= low": a product that overflowed to NaN decides nothing.
            unsure = (finite & ~found & ~(nearest < low)[:, 0]).nonzero().flatten()
            if len(unsure) == 0:
                continue
            close = ~(products[unsure] < low[unsure])
            if finer:
                private = private[close.any(dim=0).nonzero().flatten()]
                found[unsure], undecided[unsure] = private.near(public[unsure], finer, block, error)
            elif error:
                undecided[unsure] = True
            else:
                row, column = close.nonzero(as_tuple=True)
                above = cosines(public[unsure], row, private.features, column) > self.threshold
                found[unsure[row[above]]] = True
        return found, undecided & ~found
