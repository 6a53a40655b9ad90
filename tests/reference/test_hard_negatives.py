"""The hard negatives the original implementation keeps, whatever the size of a block."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fedfr.training.hard_negatives import hard_negatives


@pytest.mark.parametrize("block", [1, 7, 100, 4096])
@pytest.mark.parametrize("threshold", [0.2, 0.4, 0.6])
def test_exact_sets(reference_dir: Path, threshold: float, block: int) -> None:
    with np.load(reference_dir / "hard_negatives.npz") as given:
        public, private = torch.from_numpy(given["public_features"]), torch.from_numpy(given["local_features"])
        expected = given[f"selected_{threshold}"]
    assert 0 < len(expected) < len(public)
    assert np.array_equal(hard_negatives(public, private, threshold, block).numpy(), expected)
