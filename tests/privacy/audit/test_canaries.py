"""Canaries certify what their number allows, and nothing where guesses are coin tosses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom
from tests.support.tiny_experiment import BACKBONE, tiny_faces

from fedfr.models import build_backbone
from fedfr.models.preprocessing import Preprocessing
from fedfr.privacy.audit.background import Background
from fedfr.privacy.audit.canaries import (
    Canaries,
    CanaryGradients,
    correct_guesses,
    epsilon_bound,
    largest_epsilon,
    with_canaries,
)
from fedfr.privacy.audit.measures import auc
from fedfr.training.features import Compute


@pytest.mark.parametrize("count", [8, 32, 100, 1000])
def test_so_many_canaries_certify_about_the_logarithm_of_a_third(count: int) -> None:
    assert largest_epsilon(count) == pytest.approx(math.log(count / 3), abs=0.5 if count == 1000 else 0.25)
    assert epsilon_bound(count // 2, count) == 0


@pytest.mark.parametrize(("correct", "guesses"), [(24, 32), (30, 32), (70, 100)])
def test_a_bound_is_where_so_many_correct_guesses_become_unlikely(correct: int, guesses: int) -> None:
    bound = epsilon_bound(correct, guesses)
    assert bound > 0
    allowed = 0.05 - 2 * guesses * 1e-5
    assert binom.sf(correct - 1, guesses, 1 / (1 + math.exp(-bound))) == pytest.approx(allowed, rel=1e-6)


def test_the_bound_holds_for_a_mechanism_whose_epsilon_is_known() -> None:
    """Randomized response with ε = 1: the bound is above it in at most one of twenty trials."""
    drawn, odds = np.random.default_rng(0), 1 / (1 + math.exp(-1))
    above = sum(epsilon_bound(int(drawn.binomial(64, odds)), 64) > 1 for _ in range(2000))
    assert above <= 0.05 * 2000 + 3 * math.sqrt(2000 * 0.05 * 0.95)


def test_planted_canaries_are_recognized_and_others_are_not() -> None:
    background = Background(tiny_faces(2, 2), tiny_faces(2, 2), BACKBONE, Compute(Preprocessing(), torch.device("cpu")))
    canaries = Canaries.draw(("north", "south"), 16, 2, seed=0)
    backbone = build_backbone(BACKBONE, 0)
    gradients = CanaryGradients(canaries, background, backbone.state_dict(), torch.randn(3, 512))
    scores = gradients.scores(gradients.planted(canaries.included)).double().numpy()
    assert auc(scores, canaries.included) > 0.99
    assert correct_guesses(scores, canaries.included) >= 14
    other = gradients.scores(torch.randn(gradients.rows.shape[1], generator=torch.Generator().manual_seed(0)))
    assert 0.1 < auc(other.double().numpy(), canaries.included) < 0.9
    faces = tiny_faces(3, 2)
    joined = with_canaries(faces, canaries.of("north"))
    assert joined.num_identities == 3 + canaries.included[::2].sum()
    assert (joined.images(np.arange(len(faces))) == faces.images(np.arange(len(faces)))).all()
