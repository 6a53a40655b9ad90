"""Groups of near-duplicate images, compared with correlations computed one by one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fedfr.audit import near_duplicates as module
from fedfr.audit.near_duplicates import near_duplicate_groups, pair_correlations

Small = NDArray[np.uint8]


def images(count: int, seed: int = 0) -> Small:
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16), dtype=np.uint8)


def correlation(first: Small, second: Small) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def test_likeness_is_the_greater_of_two_correlations() -> None:
    some = images(8)
    some[5] = some[1][:, ::-1]
    found = pair_correlations(some)
    for row in range(8):
        for column in range(8):
            expected = max(correlation(some[row], some[column]), correlation(some[row], some[column][:, ::-1]))
            assert found[row, column] == pytest.approx(expected, abs=1e-5)
    assert found[1, 5] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("block", [1, 3, 7, 64])
def test_groups_do_not_depend_on_the_block(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", block)
    some = images(20)
    noise = np.random.default_rng(1).integers(-9, 10, (20, 16, 16))
    for copy, original in ((19, 0), (4, 3), (12, 3)):
        some[copy] = (some[original] + noise[copy]).clip(0, 255)
    some[8] = some[12][:, ::-1]
    assert near_duplicate_groups(some) == [[0, 19], [3, 4, 8, 12]]


def test_links_make_a_chain() -> None:
    """The ends of a slow sequence are one group, although they are not near-duplicates themselves."""
    first, last = images(2)
    film = np.stack([(first * (1 - share) + last * share) for share in np.linspace(0, 1, 40)]).astype(np.uint8)
    assert near_duplicate_groups(film) == [list(range(40))]
    assert near_duplicate_groups(film[[0, 39]]) == []


def test_uniform_images_have_no_duplicates() -> None:
    flat = np.full((3, 16, 16), 7, np.uint8)
    flat[1, 0, 0] = 9
    assert near_duplicate_groups(flat) == []
    assert not pair_correlations(flat).any()


def test_no_images() -> None:
    assert near_duplicate_groups(images(0)) == []


def test_only_common_content_is_compared() -> None:
    """Equal black corners do not link images; copies with and without corners are found."""
    some = (120 + 0.1 * images(6).astype(np.float64)).astype(np.uint8)
    content = np.ones(some.shape, np.bool_)
    content[:4, :, :6] = False
    some[~content] = 0
    some[5] = some[3]
    some[5, :, :6] = images(6, seed=1)[5, :, :6] // 10 + 120
    assert near_duplicate_groups(some) == [[0, 1, 2, 3]]
    assert near_duplicate_groups(some, content) == []
    both = pair_correlations(some, content)
    assert both[3, 5] == pytest.approx(1)
    assert both[0, 1] == pytest.approx(
        max(
            correlation(some[0, :, 6:], some[1, :, 6:]),
            correlation(some[0, :, 6:10], some[1, :, 6:10][:, ::-1]),
        ),
        abs=1e-5,
    )
    some[2] = (some[3].astype(np.float64) * 0.9).astype(np.uint8)
    assert near_duplicate_groups(some, content) == [[2, 3]]
