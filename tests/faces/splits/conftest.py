"""Fixtures of tests of split recipes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from fedfr.faces import FaceSet


@pytest.fixture(scope="module")
def lfw(data_dir: Path) -> FaceSet:
    """LFW's names and counts with windows of noise as pixels; no image is decoded."""
    folders = sorted((folder for folder in (data_dir / "lfw112").iterdir()), key=lambda folder: folder.name)
    counts = [len(list(folder.iterdir())) for folder in folders]
    total = sum(counts)
    noise = np.random.default_rng(3).integers(0, 256, 112 * 112 * 3 + total, dtype=np.uint8)
    pixels = as_strided(noise, (total, 112, 112, 3), (1, 336, 3, 1), writeable=False)
    return FaceSet(pixels, np.repeat(np.arange(len(counts)), counts), [folder.name for folder in folders])
