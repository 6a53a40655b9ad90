"""A network small enough to follow by hand, and a plan to train it."""

from __future__ import annotations

from typing import Any

import torch
from tests.support.tiny_experiment import tiny_faces
from torch import nn

from fedfr.models.preprocessing import Preprocessing
from fedfr.training.features import Compute
from fedfr.training.loop import TrainingPlan
from fedfr.training.objective import MarginSoftmax, Network, Objective
from fedfr.training.training_set import TrainingSet

COMPUTE = Compute(Preprocessing(), torch.device("cpu"))
FACES = tiny_faces(3, 4)
POOL = TrainingSet([(FACES, None, 0)])
OBJECTIVE = Objective([MarginSoftmax()])
PLAN = TrainingPlan(
    epochs=2,
    batch_size=5,
    learning_rate=lambda moment: 0.05,
    momentum=0.9,
    weight_decay=5e-4,
    seed=0,
    purpose=("test",),
)


class Linear(nn.Module):
    """A backbone small enough to follow by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 4)
        nn.init.constant_(self.fc.weight, 0.5)

    def forward(self, images: torch.Tensor) -> Any:
        return self.fc(images.mean(dim=(2, 3)))


def network(backbone: nn.Module | None = None) -> Network:
    torch.manual_seed(3)
    made = Linear() if backbone is None else backbone
    return Network(made, torch.randn(3, 512 if backbone is not None else 4))


def entries(network: Network) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
