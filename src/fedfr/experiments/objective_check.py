"""Check, before a run begins, that a method uses the loss that its configuration chooses."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from fedfr.config.schema import ExperimentConfig, LocalConfig
from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet
from fedfr.federation.method import Method, chosen_loss, round_objective
from fedfr.federation.networks import Networks
from fedfr.federation.public_faces import PublicFaces
from fedfr.federation.round_context import ClientSettings, RoundContext, RoundModels
from fedfr.models import BACKBONES
from fedfr.training.features import Compute

__all__ = ["check_objective"]


def check_objective(
    name: str, method: Method, local: LocalConfig, config: ExperimentConfig, compute: Compute, backbone: nn.Module
) -> None:
    """Raise :class:`FedfrError` if the method called ``name`` ignores ``local.loss`` in its first round.

    The objective is made for an example client with two identities. If it cannot be made for one, as with a method that
    needs other inputs, the check is left to the first round.
    """
    if chosen_loss(local) is None or not method.rounds(config.federation.rounds):
        return
    try:
        round_objective(method, _example(local, config, compute, backbone))
    except FedfrError as error:
        raise FedfrError(f"method {name}: {error}") from error
    except Exception:  # noqa: BLE001 - only the real round decides
        return


def _example(local: LocalConfig, config: ExperimentConfig, compute: Compute, backbone: nn.Module) -> RoundContext:
    """Return the first round of a client with two identities of one blank image each, and no public faces."""
    private = FaceSet(np.zeros((2, 112, 112, 3), np.uint8), np.arange(2), ("a", "b"))
    public = PublicFaces(private.subset([]))
    settings = ClientSettings(config.model.backbone, 2, config.seed, local, config.federation, compute)
    networks = Networks(config.model.backbone, compute)
    return RoundContext(
        round=1,
        client="example",
        settings=settings,
        private=private,
        public=public.faces,
        weights=backbone.state_dict(),
        prototypes=torch.zeros(0, BACKBONES[config.model.backbone].embedding_dim),
        identities=None,
        local_entries=frozenset(),
        state=None,
        models=RoundModels(backbone, networks, settings, "example", private, public, own=False),
    )
