"""Centralized training on the pooled private faces without the public ones."""

from __future__ import annotations

import torch

from fedfr.federation.method import Method, RoundContext
from fedfr.methods.centralized import Centralized

__all__ = ["CentralizedPrivate"]


class CentralizedPrivate(Centralized):
    """Centralized training: one participant has the training faces of all clients, and no public faces."""

    generic_model = "centralized-private"
    uses_public_prototypes = False

    def public_faces(self, context: RoundContext) -> torch.Tensor:
        """Return none."""
        return Method.public_faces(self, context)
