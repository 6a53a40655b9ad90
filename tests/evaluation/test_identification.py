"""1:N metrics compared with brute force over all probes and templates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.evaluation import (
    NON_MATED,
    gallery_rows,
    gallery_templates,
    identification,
    open_set_identification,
    released_identification,
)

RATES = (0.5, 0.1, 0.02)
CORNERS = np.array([[(number >> bit & 1) - 0.5 for bit in range(4)] for number in range(16)], np.float32)


@dataclass
class Search:
    templates: NDArray[np.float32]
    probes: NDArray[np.float32]
    labels: NDArray[np.int64]


@st.composite
def searches(draw: st.DrawFn) -> Search:
    enrolled, probes = draw(st.integers(1, 6)), draw(st.integers(1, 33))
    corners = draw(st.sampled_from([1, 4, 16]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    lowest = draw(st.sampled_from([-1, 0]))
    highest = draw(st.sampled_from([0, enrolled]))
    labels = generator.integers(lowest, max(highest, lowest + 1), probes)
    chosen = generator.integers(0, corners, (2, max(enrolled, probes)))
    return Search(CORNERS[chosen[0, :enrolled]], CORNERS[chosen[1, :probes]], labels)


@given(search=searches(), block=st.integers(1, 40))
def test_both_conventions_equal_brute_force(search: Search, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identification, "BLOCK", block)
        given_to = (search.templates, search.probes, search.labels, RATES)
        *standard, rank_one = open_set_identification(*given_to, minimum_impostors=0)
        released = released_identification(*given_to, minimum_impostors=0)
    mated, best, left = [], [], []
    for probe, label in zip(search.probes, search.labels.tolist(), strict=True):
        scores = [float(probe @ template) for template in search.templates]
        others = [score for place, score in enumerate(scores) if place != label]
        left += others
        if label == NON_MATED:
            best.append(max(scores))
        else:
            mated.append((scores[label], max(others, default=-math.inf)))
    for rate, measured, other in zip(RATES, standard, released, strict=True):
        assert (measured.genuine, measured.impostor) == (other.genuine, other.impostor) == (len(mated), len(best))
        if not mated or not best:
            assert measured.value is None
            assert other.value is None
            continue
        threshold = sorted(best, reverse=True)[math.floor(rate * len(best))]
        assert sum(score > threshold for score in best) <= rate * len(best)
        assert measured.value == np.mean([own > threshold and own > rest for own, rest in mated])
        rank = min(math.ceil(round(rate * len(search.probes), 9)), len(left))
        assert other.value == np.mean([own > sorted(left, reverse=True)[rank - 1] for own, _ in mated])
    if mated and len(search.templates) > 1:
        assert rank_one.value == np.mean([own > rest for own, rest in mated])
    else:
        assert rank_one.value is None


def test_templates_are_mean_normalized_features() -> None:
    features = np.array([[3, 0], [0, 5], [0, -2], [0, -7]], np.float32)
    templates, identities = gallery_templates(features, np.array([4, 4, 9, 9]))
    assert identities.tolist() == [4, 9]
    np.testing.assert_array_equal(templates, [[0.5, 0.5], [0, -1]])
    assert gallery_rows(np.array([9, 4, 1, 12]), identities).tolist() == [1, 0, NON_MATED, NON_MATED]


def test_template_length_matters_only_in_the_released_convention() -> None:
    templates = np.array([[0.2, 0], [0, 1]], np.float32)
    probes = np.array([[1, 0]] * 3 + [[0.6, 0.8]] * 20, np.float32)
    labels = np.array([0] * 3 + [NON_MATED] * 20)
    standard = open_set_identification(templates, probes, labels, [0.5])
    released = released_identification(templates, probes, labels, [0.5])
    assert standard[0].value == 1.0
    assert released[0].value == 0.0
    assert (released[0].impostors_above, standard[0].impostors_above) == (11.5, 10.0)


def test_too_few_non_mated_probes_are_refused() -> None:
    probes = np.ones((50, 2), np.float32)
    labels = np.array([0] * 10 + [NON_MATED] * 40)
    metrics = open_set_identification(np.eye(2), probes, labels, [0.5, 0.1])
    assert [measured.refused for measured in metrics[:2]] == ["", "rests on 4 impostors; at least 10 are needed"]
    assert [measured.name for measured in metrics] == ["TPIR@FPIR=5e-1", "TPIR@FPIR=1e-1", "rank-1"]


@pytest.mark.parametrize(
    ("templates", "labels", "message"),
    [
        (np.eye(3), [0, 0], "same dimension"),
        (np.zeros((0, 2)), [-1, -1], "at least one template"),
        (np.eye(2), [0, 2], "outside -1 … 1"),
        (np.eye(2), [0], "probe labels are int64 of shape"),
        (np.full((2, 2), math.nan), [0, 1], "templates row 0 holds NaN"),
    ],
)
def test_invalid_inputs_are_named(templates: NDArray[Any], labels: list[int], message: str) -> None:
    for search in (open_set_identification, released_identification):
        with pytest.raises(FedfrError, match=message):
            search(templates, np.ones((2, 2)), np.array(labels), [0.1])


def test_an_empty_gallery_is_named() -> None:
    with pytest.raises(FedfrError, match="gallery without images"):
        gallery_templates(np.zeros((0, 4)), np.zeros(0, np.int64))
