"""Splits: manifests, and checks for leaks between parts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedfr.core.errors import FedfrError
from fedfr.faces import ClientFaces, FaceSet, Split

MakeFaces = Callable[[Sequence[int]], FaceSet]

# Images 0-3, 4-7, … belong to identities 0, 1, …; five identities.
PUBLIC, FIRST, SECOND, UNSEEN, SINGLE = (tuple(range(start, start + 4)) for start in range(0, 20, 4))


@pytest.fixture
def faces(make_faces: MakeFaces) -> FaceSet:
    return make_faces([4] * 5)


@pytest.fixture
def split(faces: FaceSet) -> Split:
    clients = {"client-01": ClientFaces(FIRST[:2], FIRST[2:]), "client-02": ClientFaces(SECOND[:3], SECOND[3:])}
    return Split("mine", 5, faces.fingerprint(), PUBLIC, clients, UNSEEN, UNSEEN + SINGLE)


def test_a_valid_split_passes(split: Split, faces: FaceSet) -> None:
    split.check(faces)
    split.describe(faces).check(faces)


def test_manifest_round_trip(split: Split, faces: FaceSet, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "split é.json"
    scattered = replace(split, public=(3, 0, 1), generic=(), settings={"clients": 2, "test_share": None})
    for one in (split, scattered, scattered.describe(faces)):
        one.save(path)
        assert Split.load(path) == one
    content = json.loads(path.read_text())
    assert content["public"] == {"identities": ["p000"], "images": "3,0-1"}
    assert content["clients"]["client-02"] == {"identities": ["p002"], "train": "8-10", "test": "11"}


def test_parts_are_named_for_messages(split: Split) -> None:
    assert list(split.parts()) == [
        *("public", "client-01 train", "client-01 test", "client-02 train", "client-02 test", "generic", "distractors")
    ]


def with_client(split: Split, client: str, train: tuple[int, ...], test: tuple[int, ...]) -> Split:
    return replace(split, clients={**split.clients, client: ClientFaces(train, test)})


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda s: replace(s, faces_fingerprint="0" * 64), "'mine' was made for faces 000000000000, these are"),
        (lambda s: replace(s, public=(0, 20)), "public of the split uses image 20; these faces have 0 … 19"),
        (lambda s: replace(s, generic=(-1,)), "generic of the split uses image -1"),
        (lambda s: replace(s, public=(0, 1, 0)), "'p000#0' is twice in public"),
        (
            lambda s: with_client(s, "client-01", (4, 5), (5, 6)),
            "'p001#5' is in client-01 train and in client-01 t",
        ),
        (lambda s: with_client(s, "client-02", (8, 4), (9,)), "'p001#4' is in client-01 train and in client-02 t"),
        (lambda s: replace(s, distractors=(0,)), "'p000#0' is in public and in distractors"),
        (lambda s: with_client(s, "client-02", (), ()), "client-02 of the split has no training images"),
        (lambda s: replace(with_client(s, "client-02", (8,), (9, 16)), distractors=()), "tests 'p004' but does not tr"),
        (lambda s: replace(s, public=(0, 1, 2), generic=(3,)), "'p000' is in public and in generic or distractors"),
        (lambda s: replace(s, public=(0, 1, 2), distractors=(3,)), "'p000' is in public and in generic or distractors"),
        (lambda s: with_client(replace(s, public=(0,)), "client-02", (1,), ()), "'p000' is in public and in client-02"),
        (
            lambda s: with_client(with_client(s, "client-01", (4,), ()), "client-02", (5,), ()),
            "'p001' is in client-01 and in client-02",
        ),
        (lambda s: with_client(s, "client-02", (8, 12), ()), "'p003#12' is in client-02 train and in generic"),
        (
            lambda s: replace(with_client(s, "client-02", (8, 12), ()), generic=(13,), distractors=()),
            "'p003' is in client-02 and in generic or distractors",
        ),
    ],
)
def test_every_leak_is_caught(split: Split, faces: FaceSet, fault: Any, message: str) -> None:
    with pytest.raises(FedfrError, match=message):
        fault(split).check(faces)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (4, 7, "'p001#4' in client-01 train and 'p001#7' in client-01 test"),
        (4, 8, "'p001#4' in client-01 train and 'p002#8' in client-02 train"),
        (0, 19, "'p000#0' in public and 'p004#19' in generic or distractors"),
    ],
)
def test_the_same_pixels_in_two_parts_are_caught(
    split: Split, faces: FaceSet, first: int, second: int, message: str
) -> None:
    pixels = faces.images(range(len(faces)))
    pixels[second] = pixels[first]
    copied = FaceSet(pixels, faces.labels, faces.identities)
    with pytest.raises(FedfrError, match=f"the same image is {message}"):
        replace(split, faces_fingerprint=copied.fingerprint()).check(copied)


def test_the_same_pixels_inside_one_part_are_allowed(split: Split, faces: FaceSet) -> None:
    pixels = faces.images(range(len(faces)))
    pixels[1], pixels[5], pixels[19] = pixels[0], pixels[4], pixels[12]
    copied = FaceSet(pixels, faces.labels, faces.identities)
    replace(split, faces_fingerprint=copied.fingerprint()).check(copied)


def test_several_copies_are_counted(split: Split, faces: FaceSet) -> None:
    flat = FaceSet(np.zeros((20, 112, 112, 3), np.uint8), faces.labels, faces.identities)
    with pytest.raises(FedfrError, match=r"\(20 such pairs\)"):
        replace(split, faces_fingerprint=flat.fingerprint()).check(flat)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "is not a split"),
        ({"version": 9}, "has version 9, expected 1"),
        ({"public": {"identities": [], "images": "3-1"}}, "is descending"),
        ({"public": {"identities": [], "images": "a"}}, "missing or invalid entry"),
        ({"public": None}, "missing or invalid entry"),
        ({"clients": {"client-01": {}}}, "missing or invalid entry"),
        ({"clients": 3}, "missing or invalid entry"),
    ],
)
def test_an_altered_manifest_is_refused(split: Split, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "split.json"
    split.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(FedfrError, match=message):
        Split.load(path)


def test_a_truncated_or_missing_manifest_is_refused(split: Split, tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    with pytest.raises(FedfrError, match="does not exist"):
        Split.load(path)
    split.save(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FedfrError, match="may be truncated"):
        Split.load(path)
