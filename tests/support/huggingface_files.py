"""Images in all PIL modes, and as ``datasets`` stores them."""

from __future__ import annotations

import io
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = ["PEOPLE", "as_parquet", "as_saved", "flat", "named", "png", "table"]

PEOPLE = ("Zoë Müller", "Adam", "Анна")


def flat(value: int, size: tuple[int, int] = (112, 112), mode: str = "RGB") -> Image.Image:
    """One colour: twice as much green as blue, and no red, so that a swapped order shows."""
    return Image.fromarray(np.full((*size, 3), (0, 2 * value, value), np.uint8)).convert(mode)


def png(value: int, size: tuple[int, int] = (112, 112)) -> bytes:
    """Its file."""
    file = io.BytesIO()
    flat(value, size).save(file, "PNG")
    return file.getvalue()


def named(hf: Any, people: tuple[str, ...] = PEOPLE, column: str = "label") -> Any:
    """A data set of five images with a ClassLabel, whose names are not in order of the alphabet."""
    features = hf.Features({"image": hf.Image(), column: hf.ClassLabel(names=list(people))})
    labels = [0, 1, 0, 2, 1]
    return hf.Dataset.from_dict({"image": [flat(10 + row) for row in range(5)], column: labels}, features=features)


def as_parquet(dataset: Any, place: Path) -> Path:
    """Written by the library."""
    dataset.to_parquet(str(place / "train-00000-of-00001.parquet"))
    return place / "train-00000-of-00001.parquet"


def as_saved(dataset: Any, place: Path) -> Path:
    """Written by the library."""
    dataset.save_to_disk(str(place / "saved"))
    return place / "saved"


def table(path: Path, **columns: Any) -> Path:
    """A Parquet file that ``datasets`` did not write."""
    import_module("pyarrow.parquet").write_table(import_module("pyarrow").table(columns), path)
    return path
