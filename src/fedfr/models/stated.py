"""What a user knows of the input of weights that do not tell it themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fedfr.models.preprocessing import Preprocessing

__all__ = ["UNSTATED", "Stated"]


@dataclass(frozen=True)
class Stated:
    """Colour order and scaling as stated by the user; None where they say nothing. Grey levels 0 … 255.

    ``entry`` is where the backbone stands in a checkpoint that holds several.
    """

    colour: str | None = None
    mean: float | None = None
    std: float | None = None
    entry: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Which parts of the input are stated."""
        return tuple(name for name in ("colour", "mean", "std") if getattr(self, name) is not None)

    def over(self, assumed: Preprocessing) -> Preprocessing:
        """``assumed``, with what is stated in its place; raises :class:`FedfrError` for values that cannot be."""
        return replace(assumed, **{name: getattr(self, name) for name in self.names})

    def explain(self, preprocessing: Preprocessing, source: str) -> str:
        """One line: the preprocessing, which of it was stated, and where the rest is known from."""
        stated = f"{', '.join(self.names)} as stated, the rest " if self.names else ""
        return f"{preprocessing.describe()} – {stated}assumed from {source}"


UNSTATED = Stated()
"""Nothing is known but what the weights themselves say."""
