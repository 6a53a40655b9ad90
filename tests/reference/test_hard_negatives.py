"""Hard negatives compared with the original implementation, for all block sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fedfr.training.hard_negatives import hard_negatives


@pytest.mark.parametrize("block", [1, 7, 100, 4096])
def test_exact_sets(reference_dir: Path, block: int) -> None:
    with np.load(reference_dir / "hard_negatives.npz") as given:
        public, private = torch.from_numpy(given["public_features"]), torch.from_numpy(given["local_features"])
        selected = {name: given[name] for name in given.files if name.startswith("selected_")}
    assert selected
    for name, expected in selected.items():
        threshold = float(name.removeprefix("selected_"))
        assert np.array_equal(hard_negatives(public, private, threshold, block).numpy(), expected), name
