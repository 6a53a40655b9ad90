"""Fixtures of tests of split recipes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from fedfr.faces import FaceSet
from fedfr.faces.face_sets import NamedSet, combine
from fedfr.faces.identity_lists import read_identities


@pytest.fixture(scope="module")
def lfw(data_dir: Path) -> FaceSet:
    """LFW's names and counts with windows of noise as pixels; no image is decoded."""
    return names_and_counts(data_dir / "lfw112", 3)


@pytest.fixture(scope="module")
def lfw_and_pins(lfw: FaceSet, data_dir: Path) -> FaceSet:
    """LFW as public and Pins as private set, by names and counts; people of both are left out of LFW."""
    left_out = dict.fromkeys(read_identities(data_dir / "pins112_overlap.tsv", lfw.identities), "in both")
    pins = names_and_counts(data_dir / "pins112", 4)
    sets = [NamedSet("lfw", "public", lfw, left_out), NamedSet("pins", "private", pins)]
    return combine(sets, overlap="keep")


def names_and_counts(folder: Path, seed: int) -> FaceSet:
    folders = sorted(folder.iterdir(), key=lambda each: each.name)
    counts = [len(list(each.iterdir())) for each in folders]
    total = sum(counts)
    noise = np.random.default_rng(seed).integers(0, 256, 112 * 112 * 3 + total, dtype=np.uint8)
    pixels = as_strided(noise, (total, 112, 112, 3), (1, 336, 3, 1), writeable=False)
    return FaceSet(pixels, np.repeat(np.arange(len(counts)), counts), [each.name for each in folders])
