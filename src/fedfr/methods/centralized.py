"""Centralized training on all private and public faces, as an upper bound."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fedfr.core.client_ids import POOLED
from fedfr.faces import Split
from fedfr.faces.array_columns import ImageIndices, concatenate_indices
from fedfr.federation.method import Method, RoundContext

__all__ = ["Centralized"]


class Centralized(Method):
    """Centralized training: one participant has the training faces of all clients and all public faces."""

    generic_model = "centralized"
    personal_model = None
    uses_public_prototypes = True

    def participants(self, split: Split) -> dict[str, Sequence[int]]:
        """Return a single participant, ``pooled``, with the images of all clients."""
        return {POOLED: ImageIndices(concatenate_indices(faces.train for faces in split.clients.values()))}

    def public_faces(self, context: RoundContext) -> torch.Tensor:
        """Return all public faces."""
        return torch.arange(len(context.public))
