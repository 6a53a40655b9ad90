"""Evaluation of the starting model, as a baseline."""

from __future__ import annotations

from fedfr.federation.method import Method

__all__ = ["Pretrained"]


class Pretrained(Method):
    """Runs no round: the generic model is the starting model of every method."""

    generic_model = "pretrained"
    personal_model = None

    def rounds(self, configured: int) -> int:
        """Return 0."""
        return 0
