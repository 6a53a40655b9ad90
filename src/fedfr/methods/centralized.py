"""All private and public faces in one place: what could be had if faces could be pooled."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fedfr.core.client_ids import POOLED
from fedfr.faces import Split
from fedfr.faces.array_columns import ImageIndices, concatenate_indices
from fedfr.federation.method import Method, RoundContext

__all__ = ["Centralized"]


class Centralized(Method):
    """One participant holds every client's training faces and trains with all public ones, for the same epochs."""

    generic_model = "centralized"
    personal_model = None
    uses_public_prototypes = True

    def participants(self, split: Split) -> dict[str, Sequence[int]]:
        """A single one, called ``pooled``."""
        return {POOLED: ImageIndices(concatenate_indices(faces.train for faces in split.clients.values()))}

    def public_faces(self, context: RoundContext) -> torch.Tensor:
        """All of them."""
        return torch.arange(len(context.public))
