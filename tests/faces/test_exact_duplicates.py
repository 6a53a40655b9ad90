"""Exact duplicates in a face set: groups, removal, and the split without them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from fedfr.core.errors import FedfrError
from fedfr.faces import SPLITS, FaceSet, Split, make_split
from fedfr.faces.exact_duplicates import duplicate_groups, without_duplicates
from fedfr.faces.storage import read_digests

MakeFaces = Callable[[Sequence[int]], FaceSet]


def copied(faces: FaceSet, pairs: dict[int, int]) -> FaceSet:
    """The set with the image of every key replaced by that of its value."""
    pixels = faces.images(range(len(faces)))
    for copy, original in pairs.items():
        pixels[copy] = pixels[original]
    return FaceSet(pixels, faces.labels, faces.identities)


def test_groups_of_copies(make_faces: MakeFaces) -> None:
    faces = copied(make_faces([3, 3]), {2: 0, 5: 0, 4: 3})
    assert duplicate_groups(faces.digests()) == [[0, 2, 5], [3, 4]]
    assert duplicate_groups(make_faces([3, 3]).digests()) == []


def test_one_copy_is_kept_and_none_of_an_image_of_two_people(make_faces: MakeFaces) -> None:
    faces = copied(make_faces([4, 4, 4]), {1: 0, 3: 0, 11: 4})
    assert without_duplicates(faces).tolist() == [0, 2, 5, 6, 7, 8, 9, 10]


SETTINGS = {"public_identities": 2, "clients": 2, "identities_per_client": 1, "test_count": 1, "min_images": 3}


def test_duplicates_are_an_error_or_dropped(make_faces: MakeFaces) -> None:
    faces = copied(make_faces([4] * 6), {index: index - 3 for index in range(3, 24, 4)})
    with pytest.raises(FedfrError, match=r"the same image is 'p00\d#\d+' in client-0\d train .*duplicates=drop"):
        make_split(faces, "general", **SETTINGS)
    split = make_split(faces, "general", **SETTINGS, duplicates="drop")
    split.check(faces)
    used = {index for images in split.parts().values() for index in images}
    assert used == set(range(24)) - set(range(3, 24, 4))
    assert split.settings["duplicates"] == "drop"
    assert split.faces_fingerprint == faces.fingerprint()
    assert all(len(images.train) == 2 and len(images.test) == 1 for images in split.clients.values())


def test_without_copies_dropping_changes_nothing(make_faces: MakeFaces) -> None:
    faces = make_faces([4] * 6)
    plain, dropped = (make_split(faces, "general", **SETTINGS, duplicates=value) for value in ("error", "drop"))
    assert plain.parts() == dropped.parts()
    assert plain.identities == dropped.identities
    assert make_split(faces, "general", **SETTINGS) == plain


def test_dropping_can_leave_too_few(make_faces: MakeFaces) -> None:
    faces = copied(make_faces([3] * 4), {0: 9, 3: 9, 6: 9})
    with pytest.raises(FedfrError, match="needs 4 identities with 3 or more images, these faces have 0"):
        make_split(faces, "general", **SETTINGS, duplicates="drop")


@pytest.mark.parametrize("recipe", SPLITS.names)
def test_every_recipe_has_the_setting(recipe: str, make_faces: MakeFaces) -> None:
    with pytest.raises(FedfrError, match="split setting duplicates = 'keep'; give error or drop"):
        make_split(make_faces([2]), recipe, duplicates="keep")


def test_pairs_keep_their_images(make_faces: MakeFaces, tmp_path: Path) -> None:
    """The recipe sees 15 images; indices in the manifest refer to all 16."""
    made = copied(make_faces([11, 2, 1, 1, 1]), {1: 0})
    people = [made.identities[label] for label in made.labels.tolist()]
    names = [f"{name}/{name}_{people[: index + 1].count(name):04d}.jpg" for index, name in enumerate(people)]
    faces = FaceSet(made.images(range(16)), made.labels, made.identities, names)
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("1\t1\np001\t1\t2\np002\t1\tp004\t1\n", encoding="utf-8")
    settings = {"clients": 1, "identities_per_client": 1, "public_identities": 0, "pairs": str(pairs)}
    split = make_split(faces, "lfw-fed", **settings, duplicates="drop")
    assert split.pairs == ((11, 12), (13, 15))
    assert split.clients["client-01"].all().tolist() == [0, *range(2, 11)]


def saved(faces: FaceSet, folder: Path) -> FaceSet:
    faces.save(folder)
    return FaceSet.load(folder)


def test_digests_are_kept_beside_the_pixels(make_faces: MakeFaces, tmp_path: Path) -> None:
    faces = make_faces([3, 2])
    loaded = saved(faces, tmp_path / "set")
    # Pixels that nobody reads: the digests come from their file.
    np.lib.format.open_memmap(tmp_path / "set" / "pixels.npy", mode="r+")[:] = 0
    assert loaded.digests() == faces.digests()
    assert loaded.subset([4, 0]).digests() == (faces.digests()[4], faces.digests()[0])


def other_digests(path: Path) -> None:
    kept = np.load(path)
    kept[0, 0] ^= 1
    np.save(path, kept)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:100]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-7]),
        lambda path: np.save(path, np.zeros((5, 32))),
        lambda path: np.save(path, np.zeros((4, 32), np.uint8)),
        other_digests,
    ],
)
def test_damaged_or_missing_digests_are_recomputed(
    make_faces: MakeFaces, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    """Missing digests and those of other faces are recomputed from the pixels."""
    faces = make_faces([3, 2])
    loaded = saved(faces, tmp_path / "set")
    kept = tmp_path / "set" / "digests.npy"
    assert read_digests(kept, loaded.labels, loaded.identities, loaded.fingerprint()) == faces.digests()
    spoil(kept)
    assert read_digests(kept, loaded.labels, loaded.identities, loaded.fingerprint()) is None
    assert loaded.digests() == faces.digests()


def test_a_split_from_elsewhere_is_checked(make_faces: MakeFaces, tmp_path: Path) -> None:
    """A manifest does not go through a recipe; loading it for a run checks it."""
    clean = make_faces([4] * 6)
    split = make_split(clean, "general", **SETTINGS)
    split.save(tmp_path / "split.json")
    train, test = split.clients["client-01"].train[0], split.clients["client-01"].test[0]
    faces = copied(clean, {test: train})
    text = (tmp_path / "split.json").read_text(encoding="utf-8")
    (tmp_path / "split.json").write_text(text.replace(clean.fingerprint(), faces.fingerprint()), encoding="utf-8")
    with pytest.raises(FedfrError, match=f"'{faces.names[train]}' in client-01 train and '{faces.names[test]}' in cl"):
        Split.load(tmp_path / "split.json").check(faces)
