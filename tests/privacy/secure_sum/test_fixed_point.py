"""Updates as integers modulo 2³²: exact sums, clipping, ranges, refusals; masks leave no copy of the vector."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fedfr.core.errors import FedfrError
from fedfr.privacy.secure_sum.fixed_point import Entry, Layout, decode_sum, encode_update
from fedfr.privacy.secure_sum.masks import add_streams

LAYOUT = Layout((Entry("w", (2, 3), 0.1), Entry("var", (), 8.0)), 40, 5000)


def update(value: float) -> dict[str, torch.Tensor]:
    return {"w": torch.full((2, 3), value), "var": torch.tensor(value)}


def test_the_sum_of_all_sites_at_their_limits_does_not_wrap() -> None:
    """Forty times the largest count and the clipped change, of either sign."""
    for sign in (1, -1):
        total = np.zeros(LAYOUT.length, np.uint32)
        for _ in range(40):
            total += encode_update(LAYOUT, update(sign * 100.0), 5000)
        count, means = decode_sum(LAYOUT, total, 40)
        assert count == 40 * 5000
        assert torch.allclose(means["w"], torch.full((2, 3), sign * 0.1), rtol=1e-7, atol=0)
        assert float(means["var"]) == pytest.approx(sign * 8.0, rel=1e-7)


def test_values_by_hand() -> None:
    layout = Layout((Entry("w", (3,), 0.5),), 3, 100)
    assert layout.bound == (2**31 - 1) // 3 == 715827882
    vector = encode_update(layout, {"w": torch.tensor([0.25, -0.25, 0.0])}, 50)
    # 50 of 100 images, half of the range: a quarter of the bound, 178956970.5, rounded to even.
    assert vector.tolist() == [50, 178956970, 2**32 - 178956970, 0]


def test_rounding_errors_are_half_a_unit() -> None:
    layout = Layout((Entry("w", (5000,), 0.01),), 5, 300)
    generator = torch.Generator().manual_seed(1)
    changes = [torch.rand(5000, generator=generator) * 0.02 - 0.01 for _ in range(5)]
    counts = [7, 300, 12, 100, 55]
    total = np.zeros(layout.length, np.uint32)
    for change, count in zip(changes, counts, strict=True):
        total += encode_update(layout, {"w": change}, count)
    _, means = decode_sum(layout, total, 5)
    exact = sum(count * change.double() for change, count in zip(changes, counts, strict=True)) / sum(counts)
    unit = layout.step(layout.entries[0]) / sum(counts)
    assert float((means["w"].double() - exact).abs().max()) <= 5 * unit / 2 + 0.01 * 2**-24


@pytest.mark.parametrize(
    ("changes", "count", "reason"),
    [
        (update(0.0), 0, "from 0 images; 1 to 5000"),
        (update(0.0), 5001, "from 5001 images; 1 to 5000"),
        (update(math.nan), 1, "is NaN or infinite"),
        (update(math.inf), 1, "is NaN or infinite"),
        ({"w": torch.zeros(2, 3)}, 1, r"\['var'\] differ"),
        (update(0.0) | {"w": torch.zeros(3, 2)}, 1, r"\['w'\] differ"),
    ],
)
def test_updates_that_are_refused(changes: dict[str, torch.Tensor], count: int, reason: str) -> None:
    with pytest.raises(FedfrError, match=reason):
        encode_update(LAYOUT, changes, count)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"sites": 0}, "the largest number of images"),
        ({"largest_count": 0}, "the largest number of images is 0"),
        ({"largest_count": 2**31 // 40 + 1}, "allows 1 to 53687091"),
        ({"entries": (Entry("w", (1,), 0.0),)}, "the range of w is 0"),
        ({"entries": (Entry("w", (1,), math.inf),)}, "the range of w is inf"),
        ({"entries": (Entry("w", (1,), 1.0), Entry("w", (2,), 1.0))}, "two entries of the same name"),
    ],
)
def test_layouts_that_are_refused(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(FedfrError, match=reason):
        replace(LAYOUT, **changed)


def test_sums_that_honest_sites_cannot_have_sent() -> None:
    total = sum((encode_update(LAYOUT, update(0.05), 10) for _ in range(3)), np.zeros(LAYOUT.length, np.uint32))
    assert decode_sum(LAYOUT, total, 3)[0] == 30
    noise = np.random.default_rng(0).integers(0, 1 << 32, LAYOUT.length, np.uint32)
    for wrong, members in ((total, 31), (noise, 3), (np.concatenate([total[:1], noise[1:]]), 3)):
        with pytest.raises(FedfrError, match="holds values that they cannot have sent"):
            decode_sum(LAYOUT, wrong, members)


CLIPPED = Layout((Entry("a", (4,), 8.0), Entry("b", (3, 4), 8.0), Entry("var", (2,), 64.0, False)), 3, 100, 2.5)


def changes_of(factor: float) -> dict[str, torch.Tensor]:
    """Changes whose norm, of a and b together, is 5 times the factor."""
    changes = {"a": torch.full((4,), 1.5), "b": torch.full((3, 4), 1 / 3**0.5)}
    norm = math.hypot(*(float(change.norm()) for change in changes.values()))
    changes = {name: change * (5 * factor / norm) for name, change in changes.items()}
    return {**changes, "var": torch.tensor([30.0, -3.0])}


def test_changes_are_clipped_to_the_norm_of_the_layout() -> None:
    """All entries by one factor, without those that do not count; shorter changes and the caller's are left alone."""
    for factor, kept in ((0.4, 1.0), (1.0, 0.5), (100.0, 0.005)):
        changes = changes_of(factor)
        before = {name: change.clone() for name, change in changes.items()}
        vector = encode_update(CLIPPED, changes, 7)
        assert all(torch.equal(before[name], change) for name, change in changes.items())
        _, means = decode_sum(CLIPPED, vector, 1)
        for name, change in changes.items():
            expected = change if name == "var" else change * kept
            assert torch.allclose(means[name], expected, rtol=1e-6, atol=2e-7), (factor, name)


def test_a_client_with_a_long_change_moves_the_sum_by_its_images_times_the_norm() -> None:
    """A change of 200 times the norm beside two honest ones, whose sum is known."""
    honest = sum((encode_update(CLIPPED, changes_of(0.1), count) for count in (10, 20)), np.zeros(19, np.uint32))
    total = honest + encode_update(CLIPPED, changes_of(-100.0), 30)
    unit = CLIPPED.step(CLIPPED.entries[0])
    moved = (total - honest).view(np.int32)[1:17].astype(np.float64) * unit
    assert np.linalg.norm(moved) <= 30 * 2.5 + 4 * unit / 2
    assert np.linalg.norm(moved) == pytest.approx(30 * 2.5)
    assert decode_sum(CLIPPED, total, 3)[0] == 60


def test_a_sum_beyond_the_norm_is_rejected() -> None:
    """Of a site that did not clip; three sites at the norm, with the same direction, are within it."""
    honest = encode_update(CLIPPED, changes_of(50.0), 7)
    assert decode_sum(CLIPPED, honest * np.uint32(3), 3)[0] == 21
    unclipped = encode_update(replace(CLIPPED, clip_norm=None), changes_of(1.0), 10)
    with pytest.raises(FedfrError, match=r"moves the model by 3.971 in norm, and each site is allowed 2.5 \("):
        decode_sum(CLIPPED, honest + unclipped, 2)


def test_the_hash_of_a_layout_holds_the_norm_and_what_it_is_of() -> None:
    others = [replace(CLIPPED, clip_norm=norm) for norm in (None, 2.5000001)]
    others.append(replace(CLIPPED, entries=(*CLIPPED.entries[:2], Entry("var", (2,), 64.0))))
    assert len({layout.digest for layout in (CLIPPED, *others)}) == 4


def test_masks_are_added_in_place_without_a_copy() -> None:
    """Every length, so that blocks end anywhere; a million values need less than a megabyte beside them."""
    streams = [(bytes([key]) * 32, key % 2 == 0) for key in range(5)]
    for length in (1, 65535, 65536, 65537, 1_000_003):
        vector = np.arange(length, dtype=np.uint32)
        tracemalloc.start()
        add_streams(vector, streams)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1 << 20
        assert not np.array_equal(vector, np.arange(length, dtype=np.uint32))
        add_streams(vector, [(key, not added) for key, added in reversed(streams)])
        assert np.array_equal(vector, np.arange(length, dtype=np.uint32))
    # A stream does not depend on the length of the vector.
    short, long = np.zeros(100, np.uint32), np.zeros(100_000, np.uint32)
    add_streams(short, streams)
    add_streams(long, streams)
    assert np.array_equal(short, long[:100])
