"""Features of frozen networks: equal to running the network on every batch."""

from __future__ import annotations

import pytest
import torch
from tests.support.tiny_experiment import BACKBONE, tiny_faces

from fedfr.models import build_backbone
from fedfr.models.preprocessing import Preprocessing
from fedfr.training.features import Compute, extract_features, freeze
from fedfr.training.training_set import TrainingSet

COMPUTE = Compute(Preprocessing(), torch.device("cpu"))
FACES = tiny_faces(4, 5)
POOL = TrainingSet([(FACES, None, 0)])


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Relative difference, because features of an untrained network can have any length."""
    return float(torch.linalg.norm(found - expected) / torch.linalg.norm(expected))


@pytest.fixture(scope="module")
def backbone() -> torch.nn.Module:
    return build_backbone(BACKBONE, 0)


EVERY = torch.ones(2, len(POOL), dtype=torch.bool)


def test_both_flips_equal_running_the_network(backbone: torch.nn.Module) -> None:
    frozen = freeze(backbone, POOL, COMPUTE, EVERY)
    indices = torch.tensor([3, 3, 0, 19, 7])
    flips = torch.tensor([False, True, True, False, True])
    images = POOL.images(indices)
    images = torch.where(flips[:, None, None, None], images.flip(2), images)
    backbone.eval()
    with torch.no_grad():
        expected = backbone((images.permute(0, 3, 1, 2).float() - 127.5) / 127.5)
    assert difference(frozen.of(indices, flips), expected) < 1e-5
    assert difference(frozen.both[0], frozen.both[1]) > 0.01


def test_only_what_is_used_is_computed(backbone: torch.nn.Module) -> None:
    whole, seen = freeze(backbone, POOL, COMPUTE, EVERY).both, list[int]()
    used = torch.rand(2, len(POOL), generator=torch.Generator().manual_seed(2)) < 0.4
    handle = backbone.register_forward_pre_hook(lambda layer, given: seen.append(len(given[0])))
    try:
        some = freeze(backbone, POOL, COMPUTE, used).both
        assert sum(seen) == int(used.sum())
        seen.clear()
        known = freeze(backbone, POOL, COMPUTE, used, upright=whole[0]).both
        assert sum(seen) == int(used[1].sum())
        seen.clear()
        unflipped = freeze(backbone, POOL, COMPUTE, used & torch.tensor([[True], [False]])).both
        assert sum(seen) == int(used[0].sum())
    finally:
        handle.remove()
    finite = some.isfinite().all(2)
    assert difference(some[finite], whole[finite]) < 1e-5
    assert torch.equal(known[0], whole[0])
    assert torch.equal(known[1].nan_to_num(), some[1].nan_to_num())
    assert torch.equal(unflipped[0].nan_to_num(), some[0].nan_to_num())
    assert torch.equal(unflipped[0].nan_to_num(), unflipped[1].nan_to_num())


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_mode_and_back(backbone: torch.nn.Module, training: bool) -> None:
    backbone.train(training)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    whole = extract_features(backbone, POOL, COMPUTE)
    assert backbone.training is training
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())
    assert difference(extract_features(backbone, POOL, COMPUTE, batch_size=3), whole) < 1e-5
    assert whole.dtype == torch.float32
    assert whole.shape == (20, 512)


def test_features_may_enter_a_backward_pass(backbone: torch.nn.Module) -> None:
    """Features are not inference-mode tensors, which autograd refuses."""
    weight = torch.ones(512, requires_grad=True)
    (extract_features(backbone, POOL, COMPUTE) @ weight).sum().backward()
    assert weight.grad is not None


def test_bf16_changes_angles_little_and_returns_float32(backbone: torch.nn.Module) -> None:
    full = extract_features(backbone, POOL, COMPUTE)
    half = extract_features(backbone, POOL, Compute(Preprocessing(), torch.device("cpu"), bf16=True))
    assert half.dtype == torch.float32
    assert not torch.equal(half, full)
    assert float(torch.nn.functional.cosine_similarity(half, full).min()) > 0.99


def test_channels_last_changes_no_result() -> None:
    plain = build_backbone(BACKBONE, 0)
    placed = COMPUTE.place(build_backbone(BACKBONE, 0))
    assert difference(extract_features(placed, POOL, COMPUTE), extract_features(plain, POOL, COMPUTE)) < 1e-5
