"""Training of one person alone: what others are enrolled changes no bit of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.support.tiny_backbone import TinyFace
from tests.support.tiny_experiment import tiny_faces
from tests.support.tiny_training import COMPUTE, PLAN

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet
from fedfr.privacy.person_dp import Mechanism, PersonSum, PersonTrainer, person_training
from fedfr.training.features import extract_features
from fedfr.training.training_set import TrainingSet

FACES = tiny_faces(7, 4)
PRIVATE, PUBLIC = (
    FACES.subset([i for i, label in enumerate(FACES.labels) if (label < 3) == own]) for own in (True, False)
)


@pytest.fixture
def trainer() -> PersonTrainer:
    torch.manual_seed(0)
    backbone = TinyFace(width=4, dim=16).eval()
    weights = {name: value.clone() for name, value in backbone.state_dict().items()}
    features = extract_features(backbone, TrainingSet([(PUBLIC, None, 0)]), COMPUTE)
    prototypes = torch.stack([features[torch.from_numpy(PUBLIC.labels == label)].mean(0) for label in range(4)])
    return PersonTrainer(backbone, weights, prototypes, PUBLIC, features, 0.3, PLAN, COMPUTE)


def images_of(person: int) -> FaceSet:
    return PRIVATE.subset(np.flatnonzero(PRIVATE.labels == person).tolist())


def trained(trainer: PersonTrainer, person: int, faces: FaceSet = PRIVATE) -> dict[str, torch.Tensor]:
    name = faces.identities[person]
    return trainer.train(faces, np.flatnonzero(faces.labels == person), name)


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_nothing_of_the_others_is_in_a_change(trainer: PersonTrainer) -> None:
    """Another order, fewer persons and other labels give the same bits."""
    everyone = [trained(trainer, person) for person in (0, 1, 2)]
    assert equal(trained(trainer, 1), everyone[1])
    assert equal(trained(trainer, 0), everyone[0])
    without = PRIVATE.subset([index for index, label in enumerate(PRIVATE.labels) if label > 0])
    assert equal(trained(trainer, 1, without), everyone[2])
    assert not equal(everyone[1], everyone[2])


def alone(trainer: PersonTrainer, people: Sequence[int]) -> list[dict[str, torch.Tensor]]:
    return [trained(trainer, person) for person in people]


def in_one_batch(trainer: PersonTrainer, people: Sequence[int]) -> list[dict[str, torch.Tensor]]:
    """As in a batch of all, the prototypes of the others are negatives of each."""
    own = {
        person: extract_features(trainer.backbone, TrainingSet([(images_of(person), None, 0)]), COMPUTE).mean(0)
        for person in people
    }
    found = []
    for person in people:
        others = [own[other] for other in people if other != person]
        joint = replace(trainer, prototypes=torch.stack([*trainer.prototypes, *others]))
        found.append(trained(joint, person))
    return found


def distances(trainer: PersonTrainer, train: Callable[..., list[dict[str, torch.Tensor]]]) -> list[float]:
    """Return how far one person moves the sum, divided by the bound, for one random model after the other."""
    generator, found = torch.Generator().manual_seed(0), []
    one_step = replace(trainer, plan=replace(PLAN, epochs=1, batch_size=32))
    count = sum(value.numel() for value in trainer.start.values())
    mechanism = Mechanism(count, 0.05, 1 << 19, 1 << 38, 2)
    for _ in range(50):
        drawn = {
            name: value + 0.1 * torch.randn(value.shape, generator=generator) for name, value in trainer.start.items()
        }
        begun, sums = replace(one_step, weights={**trainer.weights, **drawn}), []
        for present in ((0, 1, 2), (1, 2)):
            trainer.backbone.load_state_dict({**begun.weights})
            total = PersonSum(mechanism, 3)
            for after in train(begun, present):
                total.add(begun.start, after)
            assert total.empty == 0
            sums.append(total.total)
        found.append(float(np.linalg.norm(sums[0] - sums[1])) / mechanism.sensitivity)
    return found


def test_one_person_moves_the_sum_by_at_most_the_bound(trainer: PersonTrainer) -> None:
    """Trained alone; in a joint batch, in most trials it moves the sum by more."""
    moved = distances(trainer, alone)
    assert max(moved) <= 1
    assert sum(distance > 0.99 for distance in moved) > 25
    assert sum(distance > 1 for distance in distances(trainer, in_one_batch)) > 25


def test_batchnorm_and_public_prototypes_are_frozen(trainer: PersonTrainer) -> None:
    prototypes = trainer.prototypes.clone()
    after = trained(trainer, 0)
    assert not equal(after, trainer.start)
    assert {"features.weight", "features.running_mean", "stages.0.1.bias"}.isdisjoint(after)
    left = trainer.backbone.state_dict()
    assert all(torch.equal(left[name], trainer.weights[name]) for name in left.keys() - after.keys())
    assert torch.equal(trainer.prototypes, prototypes)
    assert all(parameter.requires_grad for parameter in trainer.backbone.parameters())


def test_a_person_has_hard_negatives_of_its_own(trainer: PersonTrainer) -> None:
    outcomes = [trained(replace(trainer, threshold=threshold), 0) for threshold in (-1.0, 1.0)]
    assert not equal(*outcomes)


def test_a_person_whose_training_diverges_contributes_nothing(
    trainer: PersonTrainer, caplog: pytest.LogCaptureFixture
) -> None:
    wild = replace(trainer, plan=replace(PLAN, learning_rate=lambda moment: 1e30))
    assert equal(trained(wild, 0), trainer.start)
    assert "a person contributes nothing in this round" in caplog.text
    assert not equal(trained(trainer, 1), trainer.start)


@pytest.mark.parametrize("kind", [RuntimeError, MemoryError])
def test_a_person_whose_training_fails_contributes_nothing(
    trainer: PersonTrainer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    """Whatever fails, and the others have the same bits as without."""
    expected = trained(trainer, 1)

    def fail(*given: object, **more: object) -> None:
        raise kind("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(person_training, "train", fail)
        assert equal(trained(trainer, 0), trainer.start)
    assert f"a person contributes nothing in this round: {kind.__name__}: out of memory" in caplog.text
    assert equal(trained(trainer, 1), expected)


def test_an_interruption_is_not_a_failure_of_a_person(trainer: PersonTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(person_training, "train", interrupt)
    with pytest.raises(KeyboardInterrupt):
        trained(trainer, 0)


def test_images_of_two_persons_are_refused(trainer: PersonTrainer) -> None:
    with pytest.raises(FedfrError, match="8 images of 2 persons are given; a person is trained alone"):
        trainer.train(PRIVATE, np.arange(8), "both")
