"""Properties of all losses: finite values, independence of the order of a batch, a single identity."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fedfr.losses import (
    arcface_logits,
    contrastive_loss,
    cosface_logits,
    one_vs_all_loss,
    spreadout_loss,
)

# Features, prototypes, labels, and what multiplies the cosines before the exponential.
Loss = Callable[[Tensor, Tensor, Tensor, float], Tensor]


def cosface(features: Tensor, prototypes: Tensor, labels: Tensor, scale: float) -> Tensor:
    return functional.cross_entropy(cosface_logits(features, prototypes, labels, scale=scale), labels)


def arcface(features: Tensor, prototypes: Tensor, labels: Tensor, scale: float) -> Tensor:
    return functional.cross_entropy(arcface_logits(features, prototypes, labels, scale=scale), labels)


def one_vs_all(features: Tensor, prototypes: Tensor, labels: Tensor, scale: float) -> Tensor:
    bias = torch.zeros(prototypes.shape[0], device=features.device)
    return one_vs_all_loss(features, prototypes, bias, labels, scale=scale)


def contrastive(features: Tensor, prototypes: Tensor, labels: Tensor, scale: float) -> Tensor:
    near, far = prototypes[labels], prototypes[(labels + 1) % prototypes.shape[0]]
    return contrastive_loss(features, near, far, temperature=1.0 / scale)


def spreadout(features: Tensor, prototypes: Tensor, labels: Tensor, scale: float) -> Tensor:
    del features, labels
    return spreadout_loss(prototypes) * scale


LOSSES = [cosface, arcface, one_vs_all, contrastive, spreadout]


def draw(samples: int = 8, identities: int = 5, dim: int = 16, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(samples, dim, generator=generator)
    prototypes = torch.randn(identities, dim, generator=generator)
    return features, prototypes, torch.arange(samples) % identities


def gradients(loss: Loss, features: Tensor, prototypes: Tensor, labels: Tensor, scale: float) -> list[Tensor]:
    leaves = [features.clone().requires_grad_(), prototypes.clone().requires_grad_()]
    value = loss(leaves[0], leaves[1], labels, scale)
    value.backward()
    return [value.detach(), *(torch.zeros_like(x) if x.grad is None else x.grad for x in leaves)]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("length", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
def test_finite_at_logits_up_to_ten_thousand(loss: Loss, length: float, scale: float) -> None:
    features, prototypes, labels = draw()
    for features_ in (features, prototypes[labels], -prototypes[labels]):
        assert all(x.isfinite().all() for x in gradients(loss, features_ * length, prototypes, labels, scale))


@pytest.mark.parametrize("loss", LOSSES)
def test_zero_features_leave_finite_gradients(loss: Loss) -> None:
    features, prototypes, labels = draw()
    assert all(x.isfinite().all() for x in gradients(loss, features * 0, prototypes, labels, 30.0))


@pytest.mark.parametrize("loss", LOSSES)
def test_order_of_the_batch_does_not_matter(loss: Loss) -> None:
    features, prototypes, labels = draw()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    value, grad_features, grad_prototypes = gradients(loss, features, prototypes, labels, 30.0)
    again, grad_again, grad_prototypes_again = gradients(loss, features[order], prototypes, labels[order], 30.0)
    torch.testing.assert_close(again, value)
    torch.testing.assert_close(grad_again, grad_features[order])
    torch.testing.assert_close(grad_prototypes_again, grad_prototypes)


@pytest.mark.parametrize("loss", [cosface, arcface, one_vs_all, spreadout])
def test_order_of_the_identities_does_not_matter(loss: Loss) -> None:
    features, prototypes, labels = draw()
    order = torch.randperm(len(prototypes), generator=torch.Generator().manual_seed(1))
    value = loss(features, prototypes, labels, 30.0)
    torch.testing.assert_close(loss(features, prototypes[order], order.argsort()[labels], 30.0), value)


@pytest.mark.parametrize("loss", LOSSES)
def test_one_identity_and_one_image(loss: Loss) -> None:
    features, prototypes, labels = draw(samples=1, identities=1)
    assert all(x.isfinite().all() for x in gradients(loss, features, prototypes, labels, 30.0))


@pytest.mark.parametrize("loss", [cosface, arcface, one_vs_all, contrastive])
def test_length_of_the_feature_does_not_matter(loss: Loss) -> None:
    features, prototypes, labels = draw()
    torch.testing.assert_close(loss(features * 7.0, prototypes, labels, 30.0), loss(features, prototypes, labels, 30.0))


@pytest.mark.parametrize("loss", LOSSES)
def test_autocast_keeps_single_precision(loss: Loss) -> None:
    features, prototypes, labels = draw()
    expected = loss(features, prototypes, labels, 30.0)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(features, prototypes, labels, 30.0)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_features_give_a_single_precision_loss(loss: Loss) -> None:
    features, prototypes, labels = draw()
    value = loss(features.bfloat16(), prototypes, labels, 30.0)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(features, prototypes, labels, 30.0), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_those_of_the_value(loss: Loss) -> None:
    features, prototypes, labels = (x.double() if x.is_floating_point() else x for x in draw(samples=4, dim=6))
    inputs = (features.requires_grad_(), prototypes.requires_grad_())
    if loss is contrastive:
        # The two reference features carry no gradient by design.
        assert torch.autograd.gradcheck(lambda f: loss(f, prototypes.detach(), labels, 5.0), inputs[:1])
    elif loss is spreadout:
        assert torch.autograd.gradcheck(lambda p: loss(features, p, labels, 5.0), inputs[1:])
    else:
        assert torch.autograd.gradcheck(lambda f, p: loss(f, p, labels, 5.0), inputs)
