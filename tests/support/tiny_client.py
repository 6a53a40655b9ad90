"""A small federation of one client: faces, weights and broadcasts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tests.support.tiny_experiment import BACKBONE, tiny_faces

from fedfr.federation.client import Client
from fedfr.federation.messages import Broadcast
from fedfr.federation.private_state import PrivateState
from fedfr.models import build_backbone
from fedfr.training.batchnorm import batchnorm_entries

FACES = tiny_faces(10, 4)
PUBLIC = FACES.subset([index for index, label in enumerate(FACES.labels) if label >= 6])
PRIVATE = FACES.subset([index for index, label in enumerate(FACES.labels) if label < 3])
WEIGHTS = build_backbone(BACKBONE, 0).state_dict()
PROTOTYPES = torch.randn(4, 512, generator=torch.Generator().manual_seed(1))
BATCHNORM = batchnorm_entries(build_backbone(BACKBONE, 0))

MakeClient = Callable[..., Client]
STANDSTILL = ("local.learning_rate=1e-12", "local.weight_decay=0", "method.hard_negatives.threshold=1.0")
"""Overrides with which training changes nothing."""


def broadcast(round_number: int = 1) -> Broadcast:
    """Return the broadcast of a round with :data:`WEIGHTS` and :data:`PROTOTYPES`."""
    return Broadcast(round_number, {name: value.clone() for name, value in WEIGHTS.items()}, PROTOTYPES.clone())


def state_of(client: Client) -> PrivateState:
    """Return the newest private state of a client, which must have one."""
    state = client.store.latest()
    assert state is not None
    return state
