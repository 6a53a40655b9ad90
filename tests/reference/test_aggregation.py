"""Weighted average compared with the original implementation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fedfr.federation.aggregation import StreamingAverage


def test_average(reference_dir: Path) -> None:
    given = np.load(reference_dir / "aggregation.npz")
    counts = [int(count) for count in given["num_samples"]]
    average = StreamingAverage()
    for number, count in enumerate(counts):
        start = f"client{number}/"
        entries = {name.removeprefix(start): given[name] for name in given.files if name.startswith(start)}
        average.add({name: torch.from_numpy(np.array(value)) for name, value in entries.items()}, count)
    found = average.result()
    expected = {name.removeprefix("average/"): given[name] for name in given.files if name.startswith("average/")}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].numpy(), value, rtol=1e-4, atol=1e-6, err_msg=name)
