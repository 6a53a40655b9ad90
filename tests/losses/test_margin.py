"""Margin logits."""

from __future__ import annotations

import math

import torch

from fedfr.losses import arcface_logits, cosface_logits, cosine, repeat_private_negatives

GENERATOR = torch.Generator().manual_seed(3)
FEATURES = torch.randn(6, 8, generator=GENERATOR)
PROTOTYPES = torch.randn(4, 8, generator=GENERATOR)
LABELS = torch.tensor([0, 1, 2, 3, 3, 0])
OWN = torch.nn.functional.one_hot(LABELS, 4).bool()


def test_cosface_takes_the_margin_from_the_own_identity_alone() -> None:
    cosines = cosine(FEATURES, PROTOTYPES)
    logits = cosface_logits(FEATURES, PROTOTYPES, LABELS, scale=64.0, margin=0.35)
    torch.testing.assert_close(logits[OWN], 64.0 * (cosines[OWN] - 0.35))
    torch.testing.assert_close(logits[~OWN], 64.0 * cosines[~OWN])


def test_arcface_adds_the_margin_to_the_angle_of_the_own_identity() -> None:
    cosines = cosine(FEATURES, PROTOTYPES)
    logits = arcface_logits(FEATURES, PROTOTYPES, LABELS, scale=64.0, margin=0.5)
    torch.testing.assert_close(logits[OWN], 64.0 * torch.cos(torch.acos(cosines[OWN]) + 0.5))
    torch.testing.assert_close(logits[~OWN], 64.0 * cosines[~OWN])


def test_arcface_at_a_perfect_match_is_the_cosine_of_the_margin() -> None:
    logits = arcface_logits(PROTOTYPES, PROTOTYPES, torch.arange(4), scale=1.0, margin=0.5)
    torch.testing.assert_close(logits.diagonal(), torch.full((4,), math.cos(0.5)), rtol=0, atol=1e-3)


def test_without_margin_both_are_scaled_cosines() -> None:
    expected = 30.0 * cosine(FEATURES, PROTOTYPES)
    torch.testing.assert_close(cosface_logits(FEATURES, PROTOTYPES, LABELS, 30.0, 0.0), expected)
    torch.testing.assert_close(arcface_logits(FEATURES, PROTOTYPES, LABELS, 30.0, 0.0), expected)


def test_cosine_of_a_zero_vector_is_zero() -> None:
    assert torch.equal(cosine(torch.zeros(1, 8), PROTOTYPES), torch.zeros(1, 4))


def test_private_negatives_are_repeated_without_gradient() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]], requires_grad=True)
    repeated = repeat_private_negatives(logits, torch.tensor([0, 3]), num_private=2, repeats=2)
    assert repeated.tolist() == [[1, 2, 3, 4, 2, 3, 2, 3], [5, 6, 7, 8, 5, 6, 5, 6]]
    repeated[:, 4:].sum().backward()
    assert torch.equal(logits.grad if logits.grad is not None else torch.zeros(2, 4), torch.zeros(2, 4))


def test_a_single_identity_has_no_negatives_to_repeat() -> None:
    assert repeat_private_negatives(torch.ones(3, 1), torch.tensor([0, 0, 0]), 1, 5).shape == (3, 1)


def test_no_repeats_change_nothing() -> None:
    logits = torch.randn(3, 5, generator=GENERATOR)
    assert torch.equal(repeat_private_negatives(logits, torch.tensor([0, 1, 2]), 2, 0), logits)
