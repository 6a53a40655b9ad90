"""Grouping by identity, compared with the plain definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.evaluation.protocols.generic import enrolled_images
from fedfr.faces import ClientFaces, FaceSet, Split
from fedfr.faces.array_columns import Digests
from fedfr.faces.grouping import ByIdentity
from fedfr.faces.index_ranges import format_ranges, parse_ranges
from fedfr.faces.splits.assignment import (
    TrainTestRule,
    assign_to_clients,
    first_as_test,
    held_out_count,
    images_of,
    last_as_test,
    training_part_only,
)
from fedfr.faces.splits.split_parts import labels_of

DIVISIONS: dict[str, TrainTestRule] = {
    "share": last_as_test(held_out_count(0.4)),
    "last": last_as_test(lambda images: 2),
    "first": first_as_test(3),
    "twice": training_part_only(last_as_test(held_out_count(0.3))),
}


def random_faces(seed: int, images: int, identities: int, in_client_order: bool) -> FaceSet:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, identities, images)
    pixels = np.broadcast_to(np.zeros((1, 112, 112, 3), np.uint8), (images, 112, 112, 3))
    names = [f"x{number:03d}" for number in generator.permutation(identities)]
    return FaceSet(pixels, np.sort(labels) if in_client_order else labels, names)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    images=st.integers(0, 200),
    identities=st.integers(1, 40),
    in_client_order=st.booleans(),
    most=st.sampled_from([None, 0, 1, 3, 50]),
    name=st.sampled_from(sorted(DIVISIONS)),
)
def test_grouping_by_identity(
    seed: int, images: int, identities: int, in_client_order: bool, most: int | None, name: str
) -> None:
    faces = random_faces(seed, images, identities, in_client_order)
    own = {label: np.flatnonzero(faces.labels == label).tolist() for label in range(identities)}
    for label, indices in own.items():
        assert faces.indices_of(label).tolist() == indices
        assert faces.by_identity().images(label, most).tolist() == indices[:most]
    chosen = [label for label in np.random.default_rng(seed).permutation(identities).tolist() if own[label][:most]]
    assert list(images_of(faces, chosen, most)) == sorted(index for label in chosen for index in own[label][:most])
    half = len(chosen) // 2
    dealt = assign_to_clients(faces, chosen, [half, len(chosen) - half], DIVISIONS[name], most)
    for client, people in zip(dealt.values(), (chosen[:half], chosen[half:]), strict=True):
        train: list[int] = []
        test: list[int] = []
        for label in people:
            some = own[label][:most]
            for part, places in zip((train, test), DIVISIONS[name](len(some)), strict=True):
                assert {*places} <= {*range(len(some))}
                part += [some[place] for place in places]
        assert client == ClientFaces(sorted(train), sorted(test))
        used = [*client.train, *client.test]
        assert labels_of(faces, used).tolist() == sorted({int(faces.labels[index]) for index in used})


@pytest.mark.parametrize(("images", "kept"), [(0, 0), (1, 1), (2, 1), (3, 1), (5, 3)])
def test_one_training_image_of_every_identity_is_kept(images: int, kept: int) -> None:
    assert last_as_test(lambda _: 2)(images) == (range(kept), range(kept, images))


@settings(max_examples=50, deadline=None)
@given(images=st.lists(st.integers(0, 60) | st.integers(0, 2**31 + 5)))
def test_runs(images: list[int]) -> None:
    assert parse_ranges(format_ranges(images)).tolist() == images
    split = Split("any", 0, "", images, {}, (), ())
    assert list(split.public) == images
    assert [split.public[place] for place in range(-len(images), len(images))] == images * 2


@pytest.mark.parametrize(
    "text", [",", "1,", "-1", "1-", "1--2", "1-2-3", "1,,2", "1 2", "1.5", "x", "5-4", "1" * 16, "0-999999999999", "é"]
)
def test_bad_runs(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ranges such as|is descending|exceeds the limit of"):
        parse_ranges(text)
    path = tmp_path / "split.json"
    Split("any", 0, "", (1, 2), {}, (), ()).save(path)
    path.write_text(path.read_text().replace("1-2", text))
    with pytest.raises(FedfrError, match="missing or invalid entry"):
        Split.load(path)


@settings(max_examples=30, deadline=None)
@given(numbers=st.lists(st.integers(0, 8)), alike=st.booleans())
def test_copies(numbers: list[int], alike: bool) -> None:
    """Groups are ordered by their first index, also if digests differ only after the first word."""
    made = [bytes([7 if alike else number] * 8 + [number] * 24) for number in numbers]
    groups: dict[bytes, list[int]] = {}
    for index, digest in enumerate(made):
        groups.setdefault(digest, []).append(index)
    several = [group for group in groups.values() if len(group) > 1]
    images, starts = Digests.of(made).duplicates()
    assert images.tolist() == [index for group in several for index in group]
    assert starts.tolist() == np.cumsum([0, *map(len, several)])[:-1].tolist()
    assert Digests.of(made).intersects(Digests.of([bytes([7 if alike else 3] * 8 + [3] * 24)])) == (3 in numbers)


@settings(max_examples=30, deadline=None)
@given(labels=st.lists(st.integers(-3, 12)).map(lambda given: np.array(given, np.int64)))
def test_enrolled_images(labels: NDArray[np.int64]) -> None:
    expected = np.zeros(len(labels), np.bool_)
    values, counts = np.unique(labels, return_counts=True)
    for value in values[counts >= 2][::2]:
        rows = np.flatnonzero(labels == value)
        expected[rows[: len(rows) // 2]] = True
    assert enrolled_images(labels).tolist() == expected.tolist()


def test_grouping_scans_images_once() -> None:
    """200 000 images of 50 000 identities: a scan for each would take minutes."""
    labels = np.random.default_rng(0).integers(0, 50_000, 200_000)
    groups = ByIdentity(labels, 50_000)
    assert sum(len(groups.images(label)) for label in range(50_000)) == 200_000
    assert np.array_equal(groups.of(range(50_000)), np.arange(200_000))
    enrolled_images(labels)
