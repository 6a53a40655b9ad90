"""Preprocessing of face crops into the input of a backbone."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from fedfr.core.errors import FedfrError

__all__ = ["COLOURS", "Levels", "Preprocessing"]

COLOURS = ("RGB", "BGR")
"""Channel orders of a backbone's input; images in fedfr are RGB."""

Levels: TypeAlias = "float | tuple[float, float, float]"
"""Grey levels: one value for all channels, or one for each."""


@dataclass(frozen=True)
class Preprocessing:
    """Alignment, size, channel order and scaling ``(x − mean) / std`` of a backbone's input.

    ``template`` names the landmark template of the alignment, ``size`` is the height and width of a crop in pixels,
    ``colour`` the channel order of the input. ``mean`` and ``std`` are in grey levels 0 … 255, one number or one per
    channel in that order. ``columns``: first column used, and the one after the last.
    Raises :class:`FedfrError` for another colour order and for values that are not finite or ``std`` ≤ 0.

    >>> import torch
    >>> from fedfr.models import Preprocessing
    >>> images = torch.full((1, 112, 112, 3), 255, dtype=torch.uint8)
    >>> inputs = Preprocessing().apply(images)
    >>> inputs.shape, float(inputs.max())
    (torch.Size([1, 3, 112, 112]), 1.0)
    """

    template: str = "arcface-112"
    size: tuple[int, int] = (112, 112)
    colour: str = "RGB"
    mean: Levels = 127.5
    std: Levels = 127.5
    columns: tuple[int, int] = (0, 112)

    def __post_init__(self) -> None:
        if self.colour not in COLOURS:
            raise FedfrError(
                f"preprocessing: colour is {self.colour!r}; allowed are {' and '.join(COLOURS)}; give the order of the "
                "channels that the backbone was trained with"
            )
        means, stds = _each(self.mean), _each(self.std)
        finite = all(map(math.isfinite, means + stds)) and len(means) in (1, 3) and len(stds) in (1, 3)
        if not finite or min(stds) <= 0:
            raise FedfrError(
                f"preprocessing: mean is {self.mean}, std is {self.std}; allowed are finite grey levels, std above 0, "
                "one or three each; (x − 127.5) / 127.5 is the usual scaling"
            )
        # Three equal values are the same scaling as one.
        for name, given in (("mean", means), ("std", stds)):
            object.__setattr__(self, name, given[0] if len(set(given)) == 1 else given)

    def apply(self, images: Tensor, flip: Tensor | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """Convert uint8 crops to network input on their device.

        ``images`` (N, H, W, 3) uint8, RGB; ``flip`` (N,) bool mirrors the flagged images before columns are cut.
        Returns (N, 3, H, columns) of ``dtype`` in channels_last layout. Raises :class:`FedfrError` for any other shape
        or type, because a wrong crop would reduce accuracy silently.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or tuple(images.shape[1:]) != (*self.size, 3):
            raise FedfrError(
                f"images are {images.dtype} of shape {tuple(images.shape)}; "
                f"allowed is torch.uint8 of shape (N, {self.size[0]}, {self.size[1]}, 3); "
                "align and crop the faces first"
            )
        if flip is not None:
            images = torch.where(flip.view(-1, 1, 1, 1), images.flip(2), images)
        first, end = self.columns
        # A permuted NHWC tensor is in channels_last layout: the conversion to floats is the only copy.
        planes = images[:, :, first:end].permute(0, 3, 1, 2)
        if self.colour == "BGR":
            planes = planes.flip(1)
        values = planes.to(torch.float32, memory_format=torch.channels_last)
        mean, std = (
            level if isinstance(level, float) else torch.tensor(level, device=values.device).view(-1, 1, 1)
            for level in (self.mean, self.std)
        )
        return values.sub_(mean).div_(std).to(dtype)

    def describe(self) -> str:
        """Describe crop, colour order and scaling in one line."""
        height, width = self.size
        first, end = self.columns
        cut = "" if (first, end) == (0, width) else f", columns {first} to {end - 1}"
        scaling = f"(x − {_shown(self.mean)}) / {_shown(self.std)}"
        return f"{width}×{height} crops aligned to {self.template}{cut}; {self.colour}; {scaling}"

    def to_metadata(self) -> dict[str, Any]:
        """Return JSON values for the header of a model file."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_metadata(cls, metadata: dict[str, Any]) -> Preprocessing:
        """Inverse of :meth:`to_metadata`; raises :class:`FedfrError` if an entry is missing, unknown or invalid."""
        try:
            size, columns = metadata["size"], metadata["columns"]
            preprocessing = cls(
                template=str(metadata["template"]),
                size=(int(size[0]), int(size[1])),
                colour=str(metadata["colour"]),
                mean=_levels(metadata["mean"]),
                std=_levels(metadata["std"]),
                columns=(int(columns[0]), int(columns[1])),
            )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise FedfrError(
                f"preprocessing {metadata!r} cannot be read ({error!r}); "
                f"needed are {', '.join(cls.__dataclass_fields__)}; write the model again with this version"
            ) from error
        if preprocessing.to_metadata() != metadata:
            raise FedfrError(
                f"preprocessing {metadata!r} has entries that this version does not know; "
                f"known are {', '.join(cls.__dataclass_fields__)}; use the version that wrote it"
            )
        return preprocessing


def _each(level: Levels) -> tuple[float, ...]:
    return tuple(map(float, level)) if isinstance(level, tuple) else (float(level),)


def _shown(level: Levels) -> str:
    text = ", ".join(f"{each:g}" for each in _each(level))
    return f"({text})" if isinstance(level, tuple) else text


def _levels(stored: Any) -> Levels:
    if isinstance(stored, list):
        first, second, third = map(float, stored)
        return first, second, third
    return float(stored)
