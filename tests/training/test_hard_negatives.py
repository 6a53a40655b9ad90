"""Hard-negative search: equal to the definition for all search settings."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedfr.training import hard_negatives as module
from fedfr.training.bf16_screening import cosines
from fedfr.training.hard_negatives import hard_negatives
from fedfr.training.stored_features import StoredFeatures, to_half

KINDS = [torch.float32, torch.bfloat16]


def largest(public: torch.Tensor, private: torch.Tensor) -> torch.Tensor:
    """Each public feature's largest cosine, all pairs in float64, without blocks or rounding."""
    rows, columns = len(public), len(private)
    pairs = cosines(public, torch.arange(rows).repeat_interleave(columns), private, torch.arange(columns).repeat(rows))
    return pairs.reshape(rows, columns).amax(dim=1)


def chosen(public: torch.Tensor, private: torch.Tensor, threshold: float) -> list[int]:
    return torch.nonzero(largest(public, private) > threshold).flatten().tolist()


def gaussian(count: int, dim: int, seed: int) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("screen", KINDS)
@settings(max_examples=60, deadline=None)
@given(
    public=st.integers(0, 60),
    private=st.integers(1, 30),
    dim=st.integers(1, 33),
    threshold=st.sampled_from([-1.0, -0.1, 0.0, 0.2, 0.6, 1.0]),
    block=st.integers(1, 70),
    seed=st.integers(0, 10_000),
)
def test_equals_the_definition(
    screen: torch.dtype, public: int, private: int, dim: int, threshold: float, block: int, seed: int
) -> None:
    left, right = gaussian(public, dim, seed), gaussian(private, dim, seed + 1)
    # Powers of two change no bit of a direction, so lengths must not matter.
    found = hard_negatives(left * 4, right / 8, threshold, block, screen=screen)
    assert found.dtype == torch.int64
    assert found.tolist() == chosen(left, right, threshold)


@pytest.mark.parametrize("screen", KINDS)
@pytest.mark.parametrize("block", [7, 64, 4096])
@pytest.mark.parametrize("row", [0, 13, 36])
def test_a_threshold_between_two_neighbours(screen: torch.dtype, block: int, row: int) -> None:
    """At its own cosine a row is excluded; one float64 below, it is included."""
    public, private = gaussian(37, 512, 1), gaussian(23, 512, 2)
    cosine = float(largest(public, private)[row])
    at = hard_negatives(public, private, cosine, block, screen=screen).tolist()
    below = hard_negatives(public, private, math.nextafter(cosine, -1.0), block, screen=screen).tolist()
    assert row not in at
    assert below == sorted([*at, row])


@pytest.mark.parametrize("screen", KINDS)
@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e-20, 1.0, 1e18, 1e30, 3e37])
def test_lengths_at_the_ends_of_float32(screen: torch.dtype, scale: float) -> None:
    public, private = gaussian(40, 16, 3), gaussian(9, 16, 4)
    for left, right in ((public * scale, private), (public, private * scale), (public * scale, private * scale)):
        assert hard_negatives(left, right, 0.5, 16, screen=screen).tolist() == chosen(left, right, 0.5)


@pytest.mark.parametrize("screen", KINDS)
def test_features_that_are_not_finite_are_not_similar(screen: torch.dtype) -> None:
    public, private = gaussian(12, 8, 5), gaussian(6, 8, 6)
    expected = chosen(public, private, -1.0)
    assert expected == list(range(12))
    public[3, 1], public[7, 2], private[2, 0] = torch.nan, torch.inf, torch.nan
    found = hard_negatives(public, private, -1.0, 5, screen=screen).tolist()
    assert found == [row for row in expected if row not in (3, 7)]
    assert hard_negatives(public, torch.full((2, 8), torch.nan), -1.0, screen=screen).tolist() == []


@pytest.mark.parametrize("screen", KINDS)
def test_a_feature_that_is_zero(screen: torch.dtype) -> None:
    public, private = torch.zeros(2, 8), gaussian(3, 8, 7)
    assert hard_negatives(public, private, 0.0, screen=screen).tolist() == []
    assert hard_negatives(public, private, -1e-9, screen=screen).tolist() == [0, 1]
    assert hard_negatives(private, public, 0.0, screen=screen).tolist() == []


def test_none_and_no_public_faces() -> None:
    private = torch.eye(4)
    assert hard_negatives(-torch.eye(4)[:1], private, 0.5).tolist() == []
    assert hard_negatives(torch.empty(0, 4), private, 0.5).tolist() == []
    assert hard_negatives(private, torch.empty(0, 4), -1.0).tolist() == []


def test_a_similarity_equal_to_the_threshold_is_excluded() -> None:
    """Only similarities strictly above the threshold count."""
    public = torch.tensor([[0.0, 1.0], [0.6, 0.8], [1.0, 0.0]])
    private = torch.tensor([[0.0, 2.0]])
    assert hard_negatives(public, private, 1.0).tolist() == []
    assert hard_negatives(public, private, 0.5).tolist() == [0, 1]
    assert hard_negatives(public, private, 0.0).tolist() == [0, 1]


def test_precision_settings_of_the_program_have_no_effect() -> None:
    """A program's bfloat16 setting for float32 products has no effect and is restored."""
    public, private = gaussian(300, 64, 8), gaussian(100, 64, 9)
    threshold = float(largest(public, private).median())
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        found = hard_negatives(public, private, threshold, screen=torch.float32).tolist()
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert found == chosen(public, private, threshold)


def test_large_problems_are_screened_in_reduced_precision() -> None:
    public, private = gaussian(2000, 256, 10), gaussian(300, 256, 11)
    assert len(public) * private.numel() > module.SMALL
    threshold = float(largest(public, private).median())
    assert hard_negatives(public, private, threshold, 512).tolist() == chosen(public, private, threshold)


@pytest.mark.parametrize("screen", KINDS)
@pytest.mark.parametrize("block", [1, 50, 4096])
def test_half_precision_requests_only_undecided_features(screen: torch.dtype, block: int) -> None:
    public, private = gaussian(400, 128, 12) * 1e6, gaussian(60, 128, 13)
    threshold = float(largest(public, private).median())
    asked: list[int] = []

    def exact(indices: torch.Tensor) -> torch.Tensor:
        asked.extend(indices.tolist())
        return public[indices]

    stored = StoredFeatures([to_half(public[:150]), to_half(public[150:])], exact)
    found = hard_negatives(stored, private, threshold, block, screen=screen)
    assert found.tolist() == chosen(public, private, threshold)
    assert 0 < len(asked) == len(set(asked)) < 40
