"""The contrastive loss, SpreadOut and the proximal term."""

from __future__ import annotations

import math

import pytest
import torch

from fedfr.losses import contrastive_loss, proximal_term, spreadout_loss

GENERATOR = torch.Generator().manual_seed(5)
U = torch.randn(4, 8, generator=GENERATOR)
GLOBAL = torch.randn(4, 8, generator=GENERATOR)
PREVIOUS = torch.randn(4, 8, generator=GENERATOR)


def test_contrastive_is_log_two_without_gradient_when_there_is_no_previous_model() -> None:
    u = U.clone().requires_grad_()
    loss = contrastive_loss(u, GLOBAL, GLOBAL)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2.0))
    assert u.grad is not None
    assert u.grad.abs().max() == 0


def test_contrastive_rewards_the_global_feature() -> None:
    assert contrastive_loss(GLOBAL, GLOBAL, PREVIOUS) < contrastive_loss(PREVIOUS, GLOBAL, PREVIOUS)


def test_contrastive_gives_the_references_no_gradient() -> None:
    near, far = GLOBAL.clone().requires_grad_(), PREVIOUS.clone().requires_grad_()
    contrastive_loss(U.clone().requires_grad_(), near, far).backward()
    assert near.grad is None
    assert far.grad is None


def test_contrastive_at_a_tiny_temperature() -> None:
    u = PREVIOUS.clone().requires_grad_()
    loss = contrastive_loss(u, -PREVIOUS, PREVIOUS, temperature=2e-4)
    loss.backward()
    assert loss.item() == pytest.approx(1e4, rel=1e-4)
    assert u.grad is not None
    assert u.grad.isfinite().all()


def test_spreadout_of_orthogonal_prototypes_is_zero() -> None:
    assert spreadout_loss(torch.eye(5)).item() == 0.0


def test_spreadout_of_twins_by_hand() -> None:
    twins = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    assert spreadout_loss(twins, margin=0.4).item() == pytest.approx(2 * 0.6**2)
    assert spreadout_loss(twins, margin=0.4, reduction="mean").item() == pytest.approx(2 * 0.6**2 / 6)


def test_spreadout_of_one_prototype_is_zero() -> None:
    prototype = torch.ones(1, 4, requires_grad=True)
    for reduction in ("sum", "mean"):
        loss = spreadout_loss(prototype, reduction=reduction)
        loss.backward()
        assert loss.item() == 0.0
        assert prototype.grad is not None
        assert prototype.grad.abs().max() == 0


def test_proximal_term_by_hand() -> None:
    parameters = [torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([[3.0]], requires_grad=True)]
    term = proximal_term(parameters, [torch.zeros(2), torch.ones(1, 1)])
    term.backward()
    assert term.item() == pytest.approx(0.5 * (1 + 4 + 4))
    assert [p.grad.tolist() if p.grad is not None else None for p in parameters] == [[1.0, 2.0], [[2.0]]]


def test_proximal_term_at_the_reference_and_without_parameters_is_zero() -> None:
    assert proximal_term([U], [U]).item() == 0.0
    assert proximal_term([], []).item() == 0.0


def test_proximal_term_refuses_lists_of_different_length() -> None:
    with pytest.raises(ValueError, match="shorter"):
        proximal_term([U, U], [U])
