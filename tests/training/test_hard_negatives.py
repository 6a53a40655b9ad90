"""Hard negatives in blocks are exactly those of all similarities at once."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedfr.training.hard_negatives import hard_negatives


def plainly(public: torch.Tensor, private: torch.Tensor, threshold: float) -> torch.Tensor:
    similarity = torch.nn.functional.normalize(public) @ torch.nn.functional.normalize(private).T
    return torch.nonzero(similarity.amax(dim=1) > threshold).flatten()


@settings(max_examples=60, deadline=None)
@given(
    public=st.integers(1, 60),
    private=st.integers(1, 30),
    threshold=st.sampled_from([-1.0, -0.1, 0.0, 0.2, 0.6, 1.0]),
    block=st.integers(1, 70),
    seed=st.integers(0, 10_000),
)
def test_equals_the_definition(public: int, private: int, threshold: float, block: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    left, right = torch.randn(public, 8, generator=generator), torch.randn(private, 8, generator=generator)
    # Powers of two change no bit of a normalised feature, so lengths must not matter.
    found = hard_negatives(left * 4, right / 8, threshold, block)
    expected = plainly(left, right, threshold)
    near = torch.nn.functional.normalize(left) @ torch.nn.functional.normalize(right).T
    safe = (near.amax(dim=1) - threshold).abs() > 1e-6
    assert set(found[safe[found]].tolist()) == set(expected[safe[expected]].tolist())
    assert found.dtype == torch.int64
    assert torch.equal(found, found.sort().values)


def test_none_and_no_public_faces() -> None:
    private = torch.eye(4)
    assert hard_negatives(-torch.eye(4)[:1], private, 0.5).tolist() == []
    assert hard_negatives(torch.empty(0, 4), private, 0.5).tolist() == []


def test_the_threshold_itself_is_not_kept() -> None:
    """Strictly above, as the specification has it."""
    public = torch.tensor([[0.0, 1.0], [0.6, 0.8], [1.0, 0.0]])
    private = torch.tensor([[0.0, 2.0]])
    assert hard_negatives(public, private, 1.0).tolist() == []
    assert hard_negatives(public, private, 0.5).tolist() == [0, 1]
    assert hard_negatives(public, private, 0.0).tolist() == [0, 1]
