"""Which public faces are hard negatives for a client (method, section 3.1)."""

from __future__ import annotations

import torch

__all__ = ["hard_negatives"]


def hard_negatives(public: torch.Tensor, private: torch.Tensor, threshold: float, block: int = 4096) -> torch.Tensor:
    """Indices of the public images whose largest cosine similarity to any private image exceeds ``threshold``.

    ``public`` (N, D) and ``private`` (n, D) are features of any length, normalised here. Returns int64, ascending.
    Works in blocks of ``block`` × ``block`` similarities, so memory does not grow with N · n.
    """
    private = torch.nn.functional.normalize(private, dim=1)
    kept = []
    for start in range(0, len(public), block):
        rows = torch.nn.functional.normalize(public[start : start + block], dim=1)
        nearest = rows.new_full((len(rows),), -torch.inf)
        for columns in private.split(block):
            nearest = torch.maximum(nearest, (rows @ columns.T).amax(dim=1))
        kept.append(torch.nonzero(nearest > threshold).flatten() + start)
    return torch.cat(kept) if kept else torch.empty(0, dtype=torch.int64)
