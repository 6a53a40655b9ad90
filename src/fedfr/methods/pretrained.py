"""The starting model, for comparison."""

from __future__ import annotations

from fedfr.federation.method import Method

__all__ = ["Pretrained"]


class Pretrained(Method):
    """No round is run: the generic model is the one every method starts from."""

    generic_model = "pretrained"
    personal_model = None

    def rounds(self, configured: int) -> int:
        """None."""
        return 0
