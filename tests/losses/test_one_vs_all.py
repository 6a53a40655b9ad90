"""The one-vs-all loss of decoupled feature customization."""

from __future__ import annotations

import math

import pytest
import torch

from fedfr.losses import one_vs_all_logits, one_vs_all_loss

GENERATOR = torch.Generator().manual_seed(4)
FEATURES = torch.randn(5, 8, generator=GENERATOR)
WEIGHT = torch.randn(3, 8, generator=GENERATOR)
BIAS = torch.zeros(3)
LABELS = torch.tensor([0, 2, 1, 3, 40])


def test_public_images_are_negative_for_every_branch() -> None:
    _, positives = one_vs_all_logits(FEATURES, WEIGHT, BIAS, LABELS)
    assert positives.sum(dim=1).tolist() == [1, 1, 1, 0, 0]
    assert positives[0, 0]
    assert positives[1, 2]


@pytest.mark.parametrize("bias", [-1e4, 1e4])
def test_stable_at_logits_of_ten_thousand(bias: float) -> None:
    biases = torch.full((3,), bias, requires_grad=True)
    loss = one_vs_all_loss(FEATURES, WEIGHT, biases, LABELS)
    loss.backward()
    assert loss.isfinite()
    assert biases.grad is not None
    assert biases.grad.isfinite().all()
    # softplus is linear there: 3 positives, or the 12 other terms, of 5 images, weighted, divided by r.
    expected = (0.7 * 3 if bias < 0 else 0.3 * 12) / 5 * 1e4 / 30
    assert loss.item() == pytest.approx(expected, rel=0.01)


def test_value_of_a_perfect_match_by_hand() -> None:
    weight = torch.eye(2)
    loss = one_vs_all_loss(weight[:1], weight, torch.zeros(2), torch.tensor([0]))
    # cosines 1 and 0: g is 1 and 2·(1/2)³ − 1 = −0.75.
    own = 0.7 / 30 * math.log1p(math.exp(-30 * (1 - 0.4)))
    other = 0.3 / 30 * math.log1p(math.exp(30 * (-0.75 + 0.4)))
    assert loss.item() == pytest.approx(own + other, rel=1e-4)


def test_gradient_is_finite_when_cosine_is_minus_one() -> None:
    features = (-WEIGHT[:1]).clone().requires_grad_()
    one_vs_all_loss(features, WEIGHT, BIAS, torch.tensor([0])).backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()
