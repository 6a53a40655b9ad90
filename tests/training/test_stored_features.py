"""Stored features: parts are read as one array; half precision stays within its bound."""

from __future__ import annotations

import pytest
import torch

from fedfr.training.stored_features import StoredFeatures, half_error, to_half


@pytest.mark.parametrize("sizes", [[], [5], [3, 4], [1, 1, 7], [0, 4]])
def test_parts_read_as_one(sizes: list[int]) -> None:
    whole = torch.randn(sum(sizes), 6, generator=torch.Generator().manual_seed(0))
    stored = StoredFeatures(list(whole.split(sizes)) if sizes else [])
    assert len(stored) == len(whole)
    for wanted in (torch.arange(len(whole)), torch.arange(0, len(whole), 2), torch.empty(0, dtype=torch.int64)):
        if sizes:
            assert torch.equal(stored[wanted], whole[wanted])
    for size in (1, 2, 100):
        blocks = list(stored.blocks(size))
        assert all(len(rows) <= size and torch.equal(rows, whole[first : first + len(rows)]) for first, rows in blocks)
        assert sum(len(rows) for _, rows in blocks) == len(whole)


@pytest.mark.parametrize("dim", [1, 3, 512])
@pytest.mark.parametrize("scale", [1e-40, 1.0, 1e38])
def test_half_precision_is_within_its_bound(dim: int, scale: float) -> None:
    features = torch.rand(200, dim, generator=torch.Generator().manual_seed(1)) * scale
    directions = torch.nn.functional.normalize(features.double(), eps=0)
    half = to_half(features)
    assert half.dtype == torch.float16
    moved = torch.nn.functional.normalize(half.double()) - directions
    assert float(moved.norm(dim=1).max()) <= half_error(dim)


def test_half_precision_of_small_components_is_within_its_bound() -> None:
    """Components below 2⁻¹⁴ lose bits to float16's narrow range."""
    features = torch.full((1, 512), 2.0**-16 * 1.37)
    features[0, 0] = 1.0
    moved = torch.nn.functional.normalize(to_half(features).double()) - torch.nn.functional.normalize(features.double())
    assert float(moved.norm()) <= half_error(512)
    assert to_half(torch.zeros(1, 4)).tolist() == [[0, 0, 0, 0]]
