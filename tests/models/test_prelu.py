"""The fast PReLU equals PyTorch's: values and gradients for all shapes, layouts and types."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedfr.models.backbones import prelu
from fedfr.models.backbones.prelu import PReLU


def both(x: torch.Tensor, slopes: torch.Tensor, gradient: torch.Tensor) -> list[tuple[torch.Tensor, ...]]:
    """Output, gradient of the input and of the slopes: ours, then PyTorch's in double precision."""
    found: list[tuple[torch.Tensor, ...]] = []
    for kind, dtype in ((PReLU, x.dtype), (nn.PReLU, torch.float64)):
        layer = kind(len(slopes))
        layer.weight.data = slopes.to(dtype if dtype == torch.float64 else torch.float32)
        given_x = x.detach().to(dtype, memory_format=torch.preserve_format, copy=True).requires_grad_()
        out = layer(given_x)
        out.backward(gradient.to(dtype))
        assert given_x.grad is not None
        assert layer.weight.grad is not None
        found.append((out.detach(), given_x.grad, layer.weight.grad))
    return found


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(1, 70), st.integers(1, 9), st.integers(1, 9), st.booleans(), st.integers(0, 99))
def test_equal_to_the_plain_one(count: int, channels: int, height: int, width: int, last: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, channels, height, width, generator=generator)
    x[0, 0, 0, 0] = 0.0
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    gradient = torch.randn(x.shape, generator=generator)
    ours, plain = both(x, torch.randn(channels, generator=generator), gradient)
    for mine, theirs in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-5, atol=1e-5)


def test_more_than_one_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of three rows, the last one smaller."""
    monkeypatch.setattr(prelu, "_CHUNK", 12)
    x = torch.randn(3, 4, 5, 7).contiguous(memory_format=torch.channels_last)
    ours, plain = both(x, torch.rand(4), torch.randn(x.shape))
    for mine, theirs in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-5, atol=1e-5)


def test_half_precision_sums_in_single() -> None:
    """A bfloat16 sum of 100 000 equal values would stop at 256; the gradient of the slopes does not."""
    x = -torch.ones(10, 1, 100, 100).contiguous(memory_format=torch.channels_last).bfloat16()
    ours, plain = both(x, torch.tensor([0.25]), torch.ones_like(x))
    assert ours[2].dtype == torch.float32
    torch.testing.assert_close(ours[2].double(), plain[2], rtol=1e-6, atol=0)


def test_second_derivatives_are_an_error() -> None:
    layer = PReLU(2)
    x = torch.randn(1, 2, 3, 3).contiguous(memory_format=torch.channels_last).requires_grad_()
    (first,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
