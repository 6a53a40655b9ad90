"""Split recipe ``sites`` for clients on other machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedfr.core.errors import FedfrError
from fedfr.faces import ClientFaces, FaceSet, Split, make_split

MakeFaces = Callable[[Sequence[int]], FaceSet]


def sizes(split: Any) -> dict[str, int]:
    return {part: len(images) for part, images in split.parts().items()}


def test_sites_keep_their_faces_elsewhere(make_faces: MakeFaces, tmp_path: Path) -> None:
    faces = make_faces([3] * 6)
    split = make_split(faces, "sites", clients=["south", "north"], generic_identities=2, distractors="generic", seed=1)
    assert sizes(split) == {
        "public": 12,
        "north train": 0,
        "north test": 0,
        "south train": 0,
        "south test": 0,
        "generic": 6,
        "distractors": 6,
    }
    assert list(split.clients) == ["north", "south"]
    assert split.distractors == split.generic
    split.save(tmp_path / "split.json")
    loaded = Split.load(tmp_path / "split.json")
    assert loaded == split
    assert all(client.elsewhere for client in loaded.clients.values())
    with pytest.raises(FedfrError, match="north of the split has its faces elsewhere, but also images here"):
        replace(split, public=(), clients={"north": ClientFaces((0,), (), elsewhere=True)}).check(faces)


@pytest.mark.parametrize("clients", [["a/b"], [""], [".hidden"], ["x" * 65], [3], "a b"])
def test_ids_of_sites_are_validated(make_faces: MakeFaces, clients: Any) -> None:
    with pytest.raises(
        FedfrError,
        match=r"split setting clients: .* is not a valid client id .*; use letters, digits and the characters",
    ):
        make_split(make_faces([3] * 3), "sites", clients=clients)


@pytest.mark.parametrize("clients", [7, 0.5, None])
def test_sites_are_named_in_a_list(make_faces: MakeFaces, clients: Any) -> None:
    with pytest.raises(FedfrError, match=rf"split setting clients = {clients}; give the ids in a list, for example"):
        make_split(make_faces([3] * 3), "sites", clients=clients)


def test_dropping_copies_leaves_sites_elsewhere(make_faces: MakeFaces) -> None:
    split = make_split(make_faces([3] * 3), "sites", clients=["a"], generic_identities=1, duplicates="drop")
    assert split.clients["a"].elsewhere


@pytest.mark.parametrize("clients", [[], ["a", "a"]])
def test_sites_are_named_once(make_faces: MakeFaces, clients: list[str]) -> None:
    with pytest.raises(FedfrError, match="give one or more ids, each once"):
        make_split(make_faces([3] * 3), "sites", clients=clients)
