"""Bounds of reduced-precision products, checked in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from fedfr.training.bf16_screening import RoundedDirections, RoundedFeatures, cosines


def features(count: int, dim: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator) * torch.rand(count, 1, generator=generator)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dim", [1, 8, 512, 1023])
@pytest.mark.parametrize("threshold", [-0.3, 0.0, 0.05, 0.4])
def test_limits_hold(kind: torch.dtype, dim: int, threshold: float) -> None:
    left, right = features(150, dim, 1), features(130, dim, 2)
    exact = torch.nn.functional.normalize(left.double()) @ torch.nn.functional.normalize(right.double()).T
    rows, columns = RoundedFeatures.of(left, kind), RoundedDirections.of(right, kind, 50)
    low, high = rows.limits(columns, threshold)
    products = rows.values @ columns.values.T
    assert bool((exact[products > high] > threshold).all())
    assert bool((exact[products < low] < threshold).all())
    unsure = float(((products >= low) & (products <= high)).float().mean())
    assert unsure < 0.6 if dim > 1 else True


def test_the_largest_rounding_error_of_bfloat16() -> None:
    """1 + 2⁻⁸ is half-way between its neighbours, the largest possible rounding error."""
    value = torch.tensor([1 + 2.0**-8])
    assert float((value.bfloat16().float() - value).abs()) == 2.0**-8


def test_columns_measure_their_error() -> None:
    columns = RoundedDirections.of(features(100, 512, 3), torch.bfloat16, 7)
    assert 0.001 < columns.error < 2.0**-8
    assert RoundedDirections.of(torch.zeros(2, 5), torch.bfloat16, 7).error == 0


@pytest.mark.parametrize("dim", [1, 2, 3, 7, 64, 513])
def test_cosines_are_those_of_exact_arithmetic(dim: int) -> None:
    left, right = features(5, dim, 4), features(4, dim, 5)
    row, column = torch.tensor([0, 4, 2, 2]), torch.tensor([3, 0, 1, 1])
    found = cosines(left, row, right, column).tolist()
    for value, a, b in zip(found, left[row].tolist(), right[column].tolist(), strict=True):
        x, y = [Fraction(term) for term in a], [Fraction(term) for term in b]
        dot = sum(p * q for p, q in zip(x, y, strict=True))
        squares = sum(p * p for p in x) * sum(q * q for q in y)
        assert value == pytest.approx(float(dot) / float(squares) ** 0.5, abs=1e-15)
    assert found[2] == found[3]


def test_no_pairs() -> None:
    none = torch.empty(0, dtype=torch.int64)
    assert cosines(torch.ones(1, 3), none, torch.ones(1, 3), none).shape == (0,)
