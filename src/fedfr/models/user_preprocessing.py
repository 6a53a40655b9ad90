"""What a user knows of the input of weights that do not tell it themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fedfr.core.errors import FedfrError
from fedfr.models.preprocessing import Levels, Preprocessing

__all__ = ["NO_USER_PREPROCESSING", "UserPreprocessing", "levels_of"]


@dataclass(frozen=True)
class UserPreprocessing:
    """Colour order and scaling as stated by the user; None where they say nothing.

    ``mean`` and ``std`` are grey levels 0 … 255, one number or one of each channel in the order of ``colour``.

    ``entry`` is where the backbone stands in a checkpoint that holds several.
    """

    colour: str | None = None
    mean: Levels | None = None
    std: Levels | None = None
    entry: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Which parts of the input are stated."""
        return tuple(name for name in ("colour", "mean", "std") if getattr(self, name) is not None)

    def over(self, assumed: Preprocessing) -> Preprocessing:
        """``assumed``, with what is stated in its place; raises :class:`FedfrError` for values that cannot be."""
        stds = self.std if isinstance(self.std, tuple) else (self.std,)
        if any(each is not None and 0 < each < 1 for each in stds):
            raise FedfrError(
                f"std is {', '.join(f'{each:g}' for each in stds if each is not None)}; it is in grey levels 0 … 255, "
                "as mean is: what code that divides by 255 first calls 0.5 is 127.5; multiply both by 255"
            )
        return replace(assumed, **{name: getattr(self, name) for name in self.names})

    def explain(self, preprocessing: Preprocessing, source: str) -> str:
        """One line: the preprocessing, which of it was stated, and where the rest is known from."""
        stated = f"{', '.join(self.names)} as stated, the rest " if self.names else ""
        return f"{preprocessing.describe()} – {stated}assumed from {source}"


NO_USER_PREPROCESSING = UserPreprocessing()
"""Nothing is known but what the weights themselves say."""


def levels_of(text: str | None, option: str) -> Levels | None:
    """What an option states: one number, or three with commas between; raises :class:`FedfrError` for anything else."""
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.replace(";", ",").split(","))
    except ValueError:
        numbers = ()
    if len(numbers) == 1:
        return numbers[0]
    if len(numbers) == 3:
        return numbers[0], numbers[1], numbers[2]
    raise FedfrError(f"{option} is {text!r}; allowed is one number or three with commas between, as 123.7,116.3,103.5")
