"""Features of people drawn at random: a centre for every person, and images around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass
class People:
    """A population with unit features of ``dim`` dimensions, of which a few carry most of the differences."""

    seed: int
    dim: int = 48
    noise: float = 0.7

    def __post_init__(self) -> None:
        self._generator = np.random.default_rng(self.seed)
        self._scale = 1 / np.sqrt(1 + np.arange(self.dim) / 8)

    def centres(self, count: int) -> Floats:
        """Return the centres of further people (count, dim)."""
        return unit(self._generator.standard_normal((count, self.dim)) * self._scale)

    def images(self, centres: Floats, each: int = 1) -> Floats:
        """Return ``each`` images of every person, those of one person in a row."""
        noise = self._generator.standard_normal((len(centres) * each, self.dim)) * self._scale
        return unit(np.repeat(centres, each, axis=0) + self.noise * unit(noise))

    def templates(self, centres: Floats, photos: int = 3) -> Floats:
        """Return one template per person, the mean of some images."""
        return unit(self.images(centres, photos).reshape(len(centres), photos, -1).mean(axis=1))


def unit(features: NDArray[np.floating]) -> Floats:
    """Return the rows scaled to length one."""
    scaled: Floats = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def names(count: int) -> list[str]:
    """Return ids of people."""
    return [f"{place:012x}" for place in range(count)]
