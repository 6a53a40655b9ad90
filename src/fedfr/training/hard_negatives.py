"""Hard-negative search: public images that resemble a client's private images (FedFR, hard negative sampling)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fedfr.training.bf16_screening import RoundedDirections, RoundedFeatures, cosines, full_accumulation, has_fast_bf16
from fedfr.training.stored_features import StoredFeatures, half_error

__all__ = ["hard_negatives"]

# Below this number of multiplications, float32 is as fast as bfloat16 with its re-examination of undecided rows.
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
    """Return the indices of the public images whose largest cosine with any private image exceeds ``threshold``.

    The set H_i of FedFR (arXiv 2112.12496), with ``threshold`` τ_HN. ``public`` (N, D) and ``private`` (n, D) are
    float32 features of any length; a feature that is not finite is never selected and selects nothing, a zero feature
    has cosine 0. Returns int64 indices in ascending order on the CPU. Works on ``device`` (default: the CPU) in blocks
    of ``block`` × ``block`` similarities, so memory does not grow with N · n.

    The result is that of float64 cosines of the float32 features (:func:`cosines`) on every machine, with every
    ``block``. For speed, similarities are first computed in ``screen`` (torch.float32 or torch.bfloat16; default: the
    faster one on this machine); rows closer to the threshold than the bound of the rounding error are computed again
    in float32 and then float64. Public features stored in half precision (:class:`StoredFeatures`) are screened in the
    same way, and undecided rows are computed from their exact features.

    >>> import torch
    >>> from fedfr.training.hard_negatives import hard_negatives
    >>> public = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 4.0]])
    >>> private = torch.tensor([[2.0, 0.0]])  # cosines with the public images: 1, 0 and 0.6
    >>> hard_negatives(public, private, threshold=0.4)
    tensor([0, 2])
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
        searched = _Private(images, {kind: RoundedDirections.of(images, kind, block) for kind in kinds}, threshold)
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
    """Float32 features of the private images, and their rounded unit vectors in each type used for screening."""

    features: torch.Tensor
    rounded: dict[torch.dtype, RoundedDirections]
    threshold: float

    def __getitem__(self, chosen: torch.Tensor | slice) -> _Private:
        rounded = {kind: values[chosen] for kind, values in self.rounded.items()}
        return _Private(self.features[chosen], rounded, self.threshold)

    def near(
        self, public: torch.Tensor, kinds: Sequence[torch.dtype], block: int, error: float = 0.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return two masks (n,): public features above the threshold for some private image, and undecided ones.

        Features are screened in the first of ``kinds``, undecided ones in the next, then in float64. Features remain
        undecided only if they have a relative ``error`` themselves.
        """
        kind, *finer = kinds
        rows = RoundedFeatures.of(public, kind, error)
        finite = rows.length.isfinite()
        found, undecided = torch.zeros_like(finite), torch.zeros_like(finite)
        for start in range(0, len(self.features), block):
            private = self[start : start + block]
            products = rows.values @ private.rounded[kind].values.T
            low, high = rows.limits(private.rounded[kind], self.threshold)
            nearest = products.amax(dim=1, keepdim=True)
            found |= finite & (nearest > high)[:, 0]
            # Not "nearest >= low": a product that overflowed to NaN must remain undecided.
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
