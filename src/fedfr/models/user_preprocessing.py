"""Preprocessing given by the user for weights without a contract."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fedfr.core.errors import FedfrError
from fedfr.models.preprocessing import Levels, Preprocessing

__all__ = ["NO_USER_PREPROCESSING", "UserPreprocessing", "levels_of"]


@dataclass(frozen=True)
class UserPreprocessing:
    """Colour order and scaling given by the user; None for values not given.

    ``mean`` and ``std`` are grey levels 0 … 255, one number or one per channel in the order of ``colour``.
    ``entry`` is the location of the backbone in a checkpoint with several.

    >>> from fedfr.models import Preprocessing, UserPreprocessing
    >>> UserPreprocessing(colour="BGR", std=128.0).over(Preprocessing()).describe()
    '112×112 crops aligned to arcface-112; BGR; (x − 127.5) / 128'
    """

    colour: str | None = None
    mean: Levels | None = None
    std: Levels | None = None
    entry: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the values given, among ``colour``, ``mean`` and ``std``."""
        return tuple(name for name in ("colour", "mean", "std") if getattr(self, name) is not None)

    def over(self, assumed: Preprocessing) -> Preprocessing:
        """Return ``assumed`` with the values given by the user; raise :class:`FedfrError` for invalid values."""
        stds = self.std if isinstance(self.std, tuple) else (self.std,)
        if any(each is not None and 0 < each < 1 for each in stds):
            raise FedfrError(
                f"std is {', '.join(f'{each:g}' for each in stds if each is not None)}; it is in grey levels 0 … 255, "
                "as mean is: 0.5 in code that first divides by 255 is 127.5 here; multiply both by 255"
            )
        return replace(assumed, **{name: getattr(self, name) for name in self.names})

    def explain(self, preprocessing: Preprocessing, source: str) -> str:
        """Describe in one line the preprocessing, the values given by the user, and the source of the others."""
        given = f"{', '.join(self.names)} as given, the rest " if self.names else ""
        return f"{preprocessing.describe()} – {given}assumed from {source}"


NO_USER_PREPROCESSING = UserPreprocessing()
"""No value is given by the user."""


def levels_of(text: str | None, option: str) -> Levels | None:
    """Parse the value of ``option``: one number or three, separated by commas; raise :class:`FedfrError` otherwise."""
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
    raise FedfrError(
        f"{option} is {text!r}; allowed is one number, or three separated by commas, for example 123.7,116.3,103.5"
    )
