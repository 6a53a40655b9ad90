"""Updates of a backbone through a secure sum are the federation's average, up to the rounding of the ring."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.secure_sums import Sums

from fedfr.core.errors import FedfrError
from fedfr.federation.aggregation import StreamingAverage
from fedfr.models import build_backbone
from fedfr.privacy.secure_sum.update_vectors import layout_of, mean_of, vector_of
from fedfr.training.batchnorm import batchnorm_statistics


def test_the_mean_is_that_of_the_federation(tmp_path: Path) -> None:
    """For every entry of a network: within a few millionths of its largest change; counters are not summed."""
    backbone = build_backbone("slimface-small", 0)
    statistics = batchnorm_statistics(backbone)
    sent = {**backbone.state_dict(), "prototypes": torch.randn(5, 8)}
    sums = Sums(tmp_path, 3, 3)
    layout = layout_of(sent, statistics, 3, 1000)
    generator, average, total = torch.Generator().manual_seed(0), StreamingAverage(), np.zeros(layout.length, np.uint32)
    largest = dict.fromkeys(sent, 0.0)
    for name in sums.names:
        trained = {}
        for entry, value in sent.items():
            change = 0.05 * torch.randn(value.shape, generator=generator)
            trained[entry] = value + change if value.dtype.is_floating_point else value + 7
            largest[entry] = max(largest[entry], float(change.abs().max()))
        average.add(trained, sums.counts[name])
        total += vector_of(layout, sent, trained, sums.counts[name])
    count, mean = mean_of(layout, sent, total, 3)
    assert count == sum(sums.counts.values())
    expected = average.result()
    assert mean.keys() == expected.keys()
    for entry, value in sent.items():
        if not value.dtype.is_floating_point:
            assert torch.equal(mean[entry], value)
            continue
        step = layout.step(next(each for each in layout.entries if each.name == entry))
        # Half a unit for each site, and the roundings of float32 of both means.
        allowed = 1.5 * step / count + 4 * 2.0**-24 * (float(value.abs().max()) + largest[entry])
        assert float((mean[entry] - expected[entry]).abs().max()) <= allowed
        if entry not in statistics:
            assert 1.5 * step / count < 1e-4 * largest[entry]


@pytest.mark.parametrize("counts", [(1, 1, 1), (30, 7, 12)])
def test_all_but_one_learn_the_last_update_from_the_mean(counts: tuple[int, ...]) -> None:
    """The count of the last one is all that they need to know."""
    sent, generator = {"w": torch.zeros(50)}, torch.Generator().manual_seed(0)
    layout = layout_of(sent, frozenset(), 3, 30)
    trained = [0.1 * torch.randn(50, generator=generator) for _ in counts]
    vectors = [vector_of(layout, sent, {"w": each}, count) for each, count in zip(trained, counts, strict=True)]
    _, mean = mean_of(layout, sent, sum(vectors[1:], vectors[0]), 3)
    own = counts[0] * trained[0] + counts[1] * trained[1]

    def last(guess: int) -> torch.Tensor:
        return ((counts[0] + counts[1] + guess) * mean["w"] - own) / guess

    assert torch.allclose(last(counts[2]), trained[2], atol=1e-6)
    assert not torch.allclose(last(counts[2] + 1), trained[2], atol=1e-3)


def test_equal_models_have_equal_layouts_and_others_not() -> None:
    sent = {"w": torch.tensor([0.5, -2.0]), "mean": torch.zeros(2), "steps": torch.tensor(3)}
    layout = layout_of(sent, frozenset({"mean"}), 3, 10)
    assert [(entry.name, entry.largest) for entry in layout.entries] == [("mean", 64.0), ("w", 32.0)]
    again = {name: sent[name].clone() for name in reversed(sent)}
    assert layout_of(again, frozenset({"mean"}), 3, 10).digest == layout.digest
    again["w"][1] = -2.5
    assert layout_of(again, frozenset({"mean"}), 3, 10).digest != layout.digest
    with pytest.raises(FedfrError, match="the range of w is nan"):
        layout_of({"w": torch.tensor([math.nan])}, frozenset(), 3, 10)
    with pytest.raises(FedfrError, match="the update has no w, which the secure sum has"):
        vector_of(layout, sent, {"mean": torch.zeros(2)}, 1)
