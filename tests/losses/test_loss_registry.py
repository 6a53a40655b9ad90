"""Every loss of the registry as a softmax over prototypes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from fedfr.losses import LOSSES, cosine


@pytest.mark.parametrize("name", LOSSES.builtin)
def test_a_loss_is_a_softmax_whose_margin_costs(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    features, prototypes = (torch.randn(count, 8, generator=generator).requires_grad_() for count in (6, 5))
    labels = torch.arange(6) % 5
    plain = LOSSES[name](features, prototypes, labels, scale=16.0, margin=0.0)
    torch.testing.assert_close(plain, 16 * cosine(features, prototypes), rtol=1e-4, atol=1e-4)
    strict = LOSSES[name](features, prototypes, labels, scale=16.0, margin=0.3)
    own = labels.unsqueeze(1) == torch.arange(5)
    assert (strict[own] < plain[own]).all()
    torch.testing.assert_close(strict[~own], plain[~own])
    functional.cross_entropy(strict, labels).backward()
    assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in (features, prototypes))
