"""Inferences find planted leaks, and see nothing but the observation that they are given."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from tests.support.tiny_backbone import TINY
from tests.support.tiny_experiment import BACKBONE, tiny_faces

from fedfr.models import build_backbone
from fedfr.models.preprocessing import Preprocessing
from fedfr.privacy.audit.background import Background
from fedfr.privacy.audit.inferences import enrolment, membership, mined, reconstructed, seen_models, with_others
from fedfr.privacy.audit.measures import auc
from fedfr.privacy.audit.observations import FinalModel, OwnSite, SeenModel, SingleUpdates, SumOnly
from fedfr.privacy.audit.planted import overfitted, plant_enrolment, plant_mined
from fedfr.training.features import Compute

ENROLLED = np.arange(12) < 4
MINED = np.arange(6) % 2 == 0


@pytest.fixture(scope="module")
def background() -> Background:
    faces = tiny_faces(12, 4, alike=0.6)
    return Background(faces, tiny_faces(6, 2, seed=1), BACKBONE, Compute(Preprocessing(), torch.device("cpu")))


@pytest.fixture(scope="module")
def before() -> SeenModel:
    return SeenModel(build_backbone(BACKBONE, 0).state_dict(), torch.randn(6, TINY.embedding_dim))


def moved(model: SeenModel, seed: int) -> SeenModel:
    drawn = torch.Generator().manual_seed(seed)
    weights = {
        name: value + 0.01 * torch.randn(value.shape, generator=drawn) if value.is_floating_point() else value
        for name, value in model.weights.items()
    }
    assert model.prototypes is not None
    return SeenModel(weights, model.prototypes + 0.01 * torch.randn(model.prototypes.shape, generator=drawn))


def test_planted_leaks_are_found(background: Background, before: SeenModel) -> None:
    seen = SumOnly(before, moved(before, 0))
    for observation in (seen, SingleUpdates(before, {"north": moved(before, 0)})):
        (score,) = mined(plant_mined(observation, lambda name: MINED), background).values()
        assert auc(score.numpy(), MINED) == 1.0
        (score,) = enrolment(plant_enrolment(observation, background, lambda name: ENROLLED), background).values()
        assert auc(score.numpy(), ENROLLED) > 0.9
    gained = overfitted(background, before.weights, ENROLLED, True)
    beside = with_others(OwnSite("north", before, moved(before, 1), before, 3), gained)
    for other in (SumOnly(before, gained), beside, FinalModel(overfitted(background, before.weights, ENROLLED, False))):
        (score,) = membership(other, background).values()
        assert auc(score.numpy(), ENROLLED) > 0.9


def test_a_site_sees_the_others_that_were_planted(before: SeenModel) -> None:
    seen = OwnSite("north", before, moved(before, 1), moved(before, 2), 3)
    others = moved(before, 3)
    ((_, found),) = seen_models(with_others(seen, others))[1].items()
    assert found.prototypes is not None
    assert others.prototypes is not None
    torch.testing.assert_close(found.prototypes, others.prototypes)
    assert found.weights.keys() == others.weights.keys()
    for name, value in others.weights.items():
        torch.testing.assert_close(found.weights[name], value)


def test_without_a_leak_nothing_is_found(background: Background, before: SeenModel) -> None:
    """Over 20 random changes, which have nothing to do with anybody."""
    found = []
    for seed in range(20):
        (score,) = enrolment(SumOnly(before, moved(before, seed)), background).values()
        found.append(auc(score.numpy(), ENROLLED))
    assert np.mean(found) == pytest.approx(0.5, abs=0.2)
    assert max(found) < 1


def test_an_observer_of_sums_cannot_tell_updates_with_the_same_sum(background: Background, before: SeenModel) -> None:
    """Its observation has no field for a single update, so that two federations with one average look the same."""
    assert {field.name for field in fields(SumOnly)} == {"before", "after"}
    assert {field.name for field in fields(FinalModel)} == {"model"}
    assert {field.name for field in fields(OwnSite)} == {"site", "before", "after", "own", "clients"}
    after = moved(before, 0)
    assert reconstructed(SumOnly(before, after)) == {}
    assert mined(FinalModel(after), background) == enrolment(FinalModel(after), background) == {}


def test_a_site_takes_its_own_update_out_of_the_average(background: Background, before: SeenModel) -> None:
    own, other = moved(before, 1), moved(before, 2)
    assert own.prototypes is not None
    assert other.prototypes is not None
    after = SeenModel(
        {name: (value + other.weights[name]) / 2 for name, value in own.weights.items()},
        (own.prototypes + other.prototypes) / 2,
    )
    (inferred,) = mined(OwnSite("north", before, after, own, 2), background).values()
    (direct,) = mined(SingleUpdates(before, {"south": other}), background).values()
    assert torch.allclose(inferred, direct, atol=1e-5)
