"""Training sets: several face sets under one index and common labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.support.tiny_experiment import tiny_faces

from fedfr.training.training_set import DeviceFaces, TrainingSet

PRIVATE, PUBLIC = tiny_faces(3, 2, seed=1), tiny_faces(4, 3, seed=2)


def test_public_labels_follow_the_private_ones() -> None:
    kept = np.array([11, 0, 5])
    training_set = TrainingSet([(PRIVATE, None, 0), (PUBLIC, kept, 3)])
    assert len(training_set) == 9
    assert training_set.labels.tolist() == [0, 0, 1, 1, 2, 2, 6, 3, 4]
    wanted = torch.tensor([8, 0, 6, 5, 8])
    images = training_set.images(wanted).numpy()
    expected = [PUBLIC.images([5])[0], PRIVATE.images([0])[0], PUBLIC.images([11])[0], PRIVATE.images([5])[0]]
    for found, image in zip(images, [*expected, expected[0]], strict=True):
        assert np.array_equal(found, image)


def test_empty_parts_are_ignored() -> None:
    training_set = TrainingSet([(PRIVATE, None, 0), (PUBLIC, np.empty(0, np.int64), 3)])
    assert len(training_set) == 6
    assert np.array_equal(training_set.images(torch.tensor([2])).numpy(), PRIVATE.images([2]))


@pytest.mark.parametrize("resident", [False, True])
def test_faces_on_the_device_are_equal(resident: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploaded in pieces of two, or read on request."""
    monkeypatch.setattr("fedfr.training.training_set._UPLOADED_AT_ONCE", 2)
    training_set = TrainingSet([(PRIVATE, None, 0), (PUBLIC, np.array([11, 0, 5]), 3)])
    faces = DeviceFaces(training_set, torch.device("cpu"), resident=resident)
    for wanted in (torch.tensor([8, 0, 6, 5, 8]), torch.tensor([3]), torch.arange(9)):
        assert torch.equal(faces.images(wanted, wanted.clone()), training_set.images(wanted))
