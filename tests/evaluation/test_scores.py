"""Streamed order statistics compared with sorting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from fedfr.evaluation.scores import MOST_BINS, ScoreBlock, likely_bins, operating_points

Scores = NDArray[np.float32]

# Few distinct values (ties, both zeros) or any finite float32.
values = st.one_of(
    st.sampled_from([-1.0, -0.5, -0.0, 0.0, 1e-45, 0.25, 0.5, 1.0]), st.floats(width=32, allow_nan=False)
)
scores = st.integers(1, 70).flatmap(lambda size: arrays(np.float32, size, elements=values))


def sorted_points(impostor: Scores, genuine: Scores, ranks: Sequence[int]) -> list[tuple[float, int]]:
    ordered = np.sort(impostor)[::-1]
    return [(float(ordered[rank]), int((genuine > ordered[rank]).sum())) for rank in ranks]


@given(impostor=scores, genuine=scores, data=st.data())
def test_equals_sorting(impostor: Scores, genuine: Scores, data: st.DataObject) -> None:
    ranks = data.draw(st.lists(st.integers(0, len(impostor) - 1), max_size=4))
    guess = data.draw(st.lists(st.integers(0, 65535), max_size=3))
    removed = genuine[::2]
    cut = data.draw(st.integers(0, len(impostor)))

    def stream() -> Iterator[ScoreBlock]:
        yield ScoreBlock(np.concatenate([impostor[:cut], removed]), removed, genuine[:1])
        yield ScoreBlock(impostor[cut:], removed[:0], genuine[1:])

    points = operating_points(stream, ranks, guess)
    assert [(point.threshold, point.accepted) for point in points] == sorted_points(impostor, genuine, ranks)


def test_more_scores_than_one_chunk_in_one_pass() -> None:
    generator = np.random.default_rng(0)
    impostor = generator.normal(0, 0.1, 1_500_000).astype(np.float32)
    genuine = generator.normal(0.4, 0.1, 10_001).astype(np.float32)
    ranks = [15, 150, 1_500, 150_000]
    passes = 0

    def stream() -> Iterator[ScoreBlock]:
        nonlocal passes
        passes += 1
        yield ScoreBlock(impostor.reshape(1000, 1500), impostor[:0], genuine)

    guess = likely_bins(impostor[::10], ranks, len(impostor))
    points = operating_points(stream, ranks, guess)
    assert [(point.threshold, point.accepted) for point in points] == sorted_points(impostor, genuine, ranks)
    assert passes == 1
    assert operating_points(stream, ranks) == points
    assert passes == 3


def test_a_wrong_estimate_is_corrected_in_another_pass() -> None:
    """If the guess drops needed ranks, a pass without drops finds the right upper halves."""
    generator = np.random.default_rng(1)
    impostor, genuine = generator.normal(0, 0.1, (2, 10_007)).astype(np.float32)
    passes = 0

    def stream() -> Iterator[ScoreBlock]:
        nonlocal passes
        passes += 1
        yield ScoreBlock(impostor, impostor[:0], genuine)

    for ranks, guess, needed in (
        ([3, 9_000], [0x3F80], 3),  # from 1.0 up: nothing is counted
        ([3, 9_000], [0x7FC0], 2),  # an upper half of NaN is no floor
        ([10_006], [0xFF7F], 2),  # the lowest of all numbers: everything is counted, in the wrong upper half
    ):
        passes = 0
        points = operating_points(stream, ranks, guess)
        assert [(point.threshold, point.accepted) for point in points] == sorted_points(impostor, genuine, ranks)
        assert passes == needed


def test_the_number_of_kept_scores_stays_small() -> None:
    sample = np.random.default_rng(0).normal(0, 1, 10_000).astype(np.float32)
    assert likely_bins(sample, [5_000], 10_000) == []  # around zero every exponent is a bin of its own
    assert 0 < len(likely_bins(sample, [100, 1_000], 10_000)) <= MOST_BINS
    assert likely_bins(sample[:0], [3], 10) == []


def test_a_rank_out_of_range_is_an_error() -> None:
    block = ScoreBlock(np.zeros(3, np.float32), np.zeros(0, np.float32), np.zeros(1, np.float32))
    with pytest.raises(ValueError, match="rank 3 of 3"):
        operating_points(lambda: [block], [3])
