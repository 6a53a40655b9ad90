"""Pre-training: schedules by value, learning on separable faces, and resuming to the bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.tiny_experiment import BACKBONE, tiny_faces

from fedfr.config.schema import PretrainConfig
from fedfr.core.errors import FedfrError
from fedfr.models import build_backbone
from fedfr.models.preprocessing import Preprocessing
from fedfr.training.batchnorm import batchnorm_entries
from fedfr.training.features import Compute
from fedfr.training.pretraining import learning_rate, pretrain
from fedfr.training.training_set import TrainingSet

FACES = tiny_faces(4, 6)
POOL = TrainingSet([(FACES, None, 0)])


def rates(progress: list[float], **settings: object) -> list[float]:
    config = PretrainConfig.model_validate({"learning_rate": 1.0, "epochs": 11, **settings})
    return [learning_rate(config, int(at), at) for at in progress]


def test_schedules() -> None:
    assert rates([0.25, 0.5, 1.0], schedule="constant") == pytest.approx([0.25, 0.5, 1.0])
    assert rates([0, 5, 10.9], schedule="constant", warmup_epochs=0) == [1.0, 1.0, 1.0]
    assert rates([1, 6, 11], schedule="cosine") == pytest.approx([1.0, 0.5, 0.0], abs=1e-9)
    step = rates([1, 3.9, 4, 7.9, 8], schedule="step", decay_epochs=[4, 8])
    assert step == pytest.approx([1.0, 1.0, 0.1, 0.1, 0.01])
    assert rates([0.0])[0] > 0


def run(
    checkpoint: Path,
    *,
    stop_after: int | None = None,
    bf16: bool = False,
    prototypes: Callable[[], torch.Tensor] | None = None,
    **settings: object,
) -> tuple[dict[str, torch.Tensor], list[float]]:
    config = PretrainConfig.model_validate({"epochs": 3, "batch_size": 8, "learning_rate": 0.05, **settings})
    backbone = build_backbone(BACKBONE, 0)
    losses: list[float] = []

    def on_epoch(epoch: int, means: Mapping[str, float], rate: float) -> None:
        losses.append(means["total"])
        assert rate == pytest.approx(learning_rate(config, epoch, epoch + 2 / 3)), "of the last of three steps"
        if stop_after is not None and len(losses) == stop_after:
            raise KeyboardInterrupt

    compute = Compute(Preprocessing(), torch.device("cpu"), bf16)
    compute.place(backbone)  # channels_last, as in a run
    found = pretrain(
        backbone, POOL, 4, config, compute, seed=0, checkpoint=checkpoint, prototypes=prototypes, on_epoch=on_epoch
    )
    assert all(parameter.requires_grad for parameter in backbone.parameters())
    return {**backbone.state_dict(), "prototypes": found}, losses


def test_pretraining_learns(tmp_path: Path) -> None:
    _, losses = run(tmp_path / "state.safetensors", epochs=8)
    assert losses[-1] < 0.5 * losses[0]


def test_arcface_and_bf16(tmp_path: Path) -> None:
    state, losses = run(tmp_path / "state.safetensors", loss="arcface", bf16=True)
    assert all(value.isfinite().all() for value in state.values())
    assert state["fc.weight"].dtype == torch.float32, "weights stay in full precision"
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("after", [1, 2, 3])
@pytest.mark.slow
def test_interrupted_and_resumed_ends_with_the_same_bits(tmp_path: Path, after: int) -> None:
    expected, _ = run(tmp_path / "whole.safetensors")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "state.safetensors", stop_after=after)
    found, losses = run(tmp_path / "state.safetensors")
    assert len(losses) == 3 - (after - 1), "an epoch that was told of but not saved is told of again"
    assert [name for name, value in expected.items() if not torch.equal(found[name], value)] == []


def test_tuning_begins_with_given_prototypes_and_keeps_frozen_batchnorm(tmp_path: Path) -> None:
    """Interrupted and resumed, too, to the bit."""
    asked = []

    def prototypes() -> torch.Tensor:
        asked.append(1)
        return torch.eye(4, 512)

    settings: dict[str, Any] = {"batchnorm": "frozen", "epochs": 2, "warmup_epochs": 0}
    state, _ = run(tmp_path / "whole.safetensors", prototypes=prototypes, **settings)
    before = build_backbone(BACKBONE, 0)
    names = batchnorm_entries(before)
    changed = {name for name, value in before.state_dict().items() if not torch.equal(state[name], value)}
    assert names
    assert not changed & names
    assert changed == set(before.state_dict()) - names
    begun, _ = run(tmp_path / "slow.safetensors", prototypes=prototypes, epochs=1, learning_rate=1e-9)
    assert torch.allclose(begun["prototypes"], torch.eye(4, 512), atol=1e-6)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "state.safetensors", stop_after=2, prototypes=prototypes, **settings)
    found, _ = run(tmp_path / "state.safetensors", prototypes=prototypes, **settings)
    assert [name for name, value in state.items() if not torch.equal(found[name], value)] == []
    assert len(asked) == 3, "a resumed tuning has prototypes of its own"


@pytest.mark.parametrize("keep", [0, 20, -1])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "state.safetensors"
    run(path, epochs=1)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FedfrError) as caught:
        run(path)
    assert str(path) in str(caught.value)
    assert "remove it to restart pre-training" in str(caught.value)
