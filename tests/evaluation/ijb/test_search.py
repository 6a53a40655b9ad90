"""IJB 1:N identification: each gallery alone and both merged, compared with plain loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support import plain_ijb as plain

from fedfr.core.errors import FedfrError
from fedfr.evaluation.ijb import gallery_by_gallery, merged_galleries
from fedfr.faces.readers.ijb import Searches, SearchList

FPIRS = (0.2, 0.05)
SUBJECTS, PROBES, DIMENSIONS = 30, 240, 12


def case(spread: float = 0.9, seed: int = 0) -> tuple[NDArray[np.float64], Searches]:
    """Thirty people, eighteen in the first gallery; 240 probes, each a person's feature with noise."""
    generator = np.random.default_rng(seed)
    people = generator.permutation(np.arange(500, 500 + SUBJECTS))
    shown = np.concatenate([people, generator.choice(people, PROBES)])
    features = generator.normal(size=(SUBJECTS, DIMENSIONS))[shown - 500]
    features = features + spread * generator.normal(size=features.shape)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    rows = np.arange(len(shown), dtype=np.int32)
    parts = (slice(18), slice(18, SUBJECTS), slice(SUBJECTS, None))
    first, second, probes = (
        SearchList(name, rows[part], shown[part]) for name, part in zip(("G1", "G2", "probes"), parts, strict=True)
    )
    return features, Searches((first, second), probes)


def listed(searches: SearchList) -> dict[int, int]:
    return dict(zip(searches.templates.tolist(), searches.subjects.tolist(), strict=True))


def test_each_gallery_and_their_mean() -> None:
    features, searches = case()
    made, probes = dict(enumerate(features)), listed(searches.probes)
    metrics = {each.name: each for each in gallery_by_gallery(features, searches, FPIRS, minimum_impostors=5)}
    assert len(metrics) == 3 * (len(FPIRS) + 3)
    expected: dict[str, list[float]] = {}
    for gallery in searches.galleries:
        for fpir, label in zip(FPIRS, ("2e-1", "5e-2"), strict=True):
            value = plain.open_set(made, listed(gallery), probes, fpir=fpir)
            assert metrics[f"TPIR({gallery.name})@FPIR={label}"].value == value
            expected.setdefault(f"TPIR@FPIR={label}", []).append(value)
        for rank in (1, 5, 10):
            value = plain.open_set(made, listed(gallery), probes, rank=rank)
            assert metrics[f"rank-{rank}({gallery.name})"].value == value
            expected.setdefault(f"rank-{rank}", []).append(value)
    for metric, values in expected.items():
        assert values[0] != values[1]
        assert 0.1 < sum(values) / 2 < 1
        assert metrics[metric].value == sum(values) / 2


def test_counts_of_mated_probes() -> None:
    features, searches = case()
    metrics = {each.name: each for each in gallery_by_gallery(features, searches, FPIRS, minimum_impostors=0)}
    mated = [sum(subject in gallery.subjects for subject in searches.probes.subjects) for gallery in searches.galleries]
    assert sum(mated) == PROBES
    for gallery, count in zip(searches.galleries, mated, strict=True):
        each = metrics[f"TPIR({gallery.name})@FPIR=2e-1"]
        assert (each.genuine, each.impostor) == (count, PROBES - count)
    mean = metrics["TPIR@FPIR=2e-1"]
    assert (mean.genuine, mean.impostor) == (PROBES, PROBES)
    assert mean.impostors_above == 0.2 * (PROBES - max(mated))


def test_merged_galleries_as_published() -> None:
    features, searches = case()
    made, probes = dict(enumerate(features)), listed(searches.probes)
    both = listed(searches.galleries[0]) | listed(searches.galleries[1])
    metrics = {each.name: each for each in merged_galleries(features, searches, FPIRS)}
    for fpir, label in zip(FPIRS, ("2e-1", "5e-2"), strict=True):
        each = metrics[f"TPIR(merged)@FPIR={label}"]
        assert each.value == plain.merged(made, both, probes, fpir)
        assert (each.genuine, each.impostor, each.impostors_above) == (PROBES, 0, fpir * PROBES)
    for rank in (1, 5, 10):
        each = metrics[f"rank-{rank}(merged)"]
        assert each.value == plain.open_set(made, both, probes, rank=rank)
        assert (each.genuine, each.impostor) == (PROBES, 0)
    assert len(metrics) == len(FPIRS) + 3


def test_names_of_metrics_differ_between_conventions() -> None:
    features, searches = case()
    own = {each.name for each in gallery_by_gallery(features, searches, FPIRS)}
    assert not own & {each.name for each in merged_galleries(features, searches, FPIRS)}


def test_the_threshold_is_an_order_statistic() -> None:
    """⌈Q·FAR⌉ of scores chosen by hand: four probes, the others' scores 0.8, 0.6 and so on down."""
    angles = np.deg2rad([0, 90, 10, 75, 5, 60])
    features = np.column_stack([np.cos(angles), np.sin(angles)])
    searches = Searches(
        (
            SearchList("G1", np.array([0], np.int32), np.array([1])),
            SearchList("G2", np.array([1], np.int32), np.array([2])),
        ),
        SearchList("probes", np.arange(2, 6, dtype=np.int32), np.array([1, 2, 1, 2])),
    )
    quarter, half = merged_galleries(features, searches, (0.25, 0.26), minimum_impostors=0)[:2]
    # Own scores: cos 10, 15, 5, 30 degrees; others': cos 80, 75, 85, 60.
    assert quarter.threshold == pytest.approx(np.cos(np.deg2rad(60)), abs=1e-6)
    assert half.threshold == pytest.approx(np.cos(np.deg2rad(75)), abs=1e-6)
    assert quarter.value == half.value == 1


def test_refusals() -> None:
    features, searches = case()
    metrics = {each.name: each for each in gallery_by_gallery(features, searches, (0.1, 0.05))}
    assert "gallery G1: rests on" in metrics["TPIR@FPIR=5e-2"].refused
    assert metrics["TPIR@FPIR=5e-2"].value is None
    assert merged_galleries(features, searches, (0.01,))[0].refused == "rests on 2.4 impostors; at least 10 are needed"
    few = Searches(
        tuple(replace(each, templates=each.templates[:8], subjects=each.subjects[:8]) for each in searches.galleries),
        searches.probes,
    )
    ranks = {each.name: each for each in gallery_by_gallery(features, few, (0.1,))}
    assert ranks["rank-10(G1)"].refused == "only 8 identities are enrolled"
    assert ranks["rank-10"].value is None
    assert ranks["rank-5"].value is not None
    with pytest.raises(FedfrError, match=r"subject 5\d\d is a probe but in no gallery; the merged search needs"):
        merged_galleries(features, few, (0.1,))


def test_a_gallery_without_mated_probes() -> None:
    features, searches = case()
    strangers = replace(searches.galleries[0], subjects=np.arange(1, 19))
    metrics = {
        f.name: f
        for f in gallery_by_gallery(features, Searches((strangers, *searches.galleries[1:]), searches.probes), (0.1,))
    }
    assert metrics["TPIR(G1)@FPIR=1e-1"].refused == "nothing genuine to accept"
    assert metrics["rank-1(G1)"].refused == "no mated probes"
    assert metrics["TPIR(G2)@FPIR=1e-1"].value is not None
    assert metrics["TPIR@FPIR=1e-1"].refused == "gallery G1: nothing genuine to accept"
