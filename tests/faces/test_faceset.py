"""Face sets: indexing, subsets that share pixels, saving and memory-mapped loading."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet

MakeFaces = Callable[[Sequence[int]], FaceSet]


def test_contents_are_read_back(make_faces: MakeFaces) -> None:
    faces = make_faces([2, 3, 1])
    assert (len(faces), faces.num_identities) == (6, 3)
    assert faces.identities == ("p000", "p001", "p002")
    assert faces.names[2] == "p001#2"
    assert faces.counts().tolist() == [2, 3, 1]
    assert faces.indices_of(1).tolist() == [2, 3, 4]
    images = faces.images([4, 0])
    assert images.shape == (2, 112, 112, 3)
    assert images.flags["C_CONTIGUOUS"]
    assert images.flags["WRITEABLE"]
    images[:] = 0
    assert faces.images([4]).any()
    assert repr(faces) == "FaceSet(6 images of 3 identities)"


def test_labels_cannot_be_changed(make_faces: MakeFaces) -> None:
    with pytest.raises(ValueError, match="read-only"):
        make_faces([1, 1]).labels[0] = 1


def test_subset_keeps_order_and_relabels_by_original_label(make_faces: MakeFaces) -> None:
    faces = make_faces([2, 3, 1])
    part = faces.subset([5, 2, 3])
    assert part.identities == ("p001", "p002")
    assert part.labels.tolist() == [1, 0, 0]
    assert part.names == tuple(faces.names[index] for index in (5, 2, 3))
    np.testing.assert_array_equal(part.images([0, 1, 2]), faces.images([5, 2, 3]))
    again = part.subset([2, 0])
    np.testing.assert_array_equal(again.images([0, 1]), faces.images([3, 5]))
    assert np.shares_memory(again._pixels, faces._pixels)


def test_subset_takes_a_mask_negative_indices_and_nothing(make_faces: MakeFaces) -> None:
    faces = make_faces([2, 2])
    assert faces.subset(faces.labels == 1).names == faces.names[2:]
    assert faces.subset([-1]).names == faces.names[3:]
    empty = faces.subset([])
    assert (len(empty), empty.num_identities, empty.images([]).shape) == (0, 0, (0, 112, 112, 3))


@pytest.mark.parametrize("indices", [[4], [-5]])
def test_index_out_of_range_is_an_index_error(make_faces: MakeFaces, indices: list[int]) -> None:
    faces = make_faces([2, 2])
    for call in (faces.images, faces.subset):
        with pytest.raises(IndexError, match="there are 4 images"):
            call(indices)


def test_indices_must_be_a_list_of_integers(make_faces: MakeFaces) -> None:
    with pytest.raises(TypeError, match="float64"):
        make_faces([2]).images(np.array([0.5]))
    with pytest.raises(TypeError, match="one bool each"):
        make_faces([2]).images(np.array([True]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels": np.zeros((2, 112, 112, 3), np.float32)}, "pixels are float32"),
        ({"pixels": np.zeros((2, 112, 96, 3), np.uint8)}, "expected uint8"),
        ({"labels": [0]}, "one label for each of 2 images"),
        ({"labels": [0, 2]}, "expected 0 … 1"),
        ({"labels": [-1, 0]}, "labels lie in -1 … 0"),
        ({"identities": ["a", "a"]}, "'a' is listed twice"),
        ({"names": ["x"]}, "1 names for 2 images"),
        ({"rows": [0, 2]}, "rows reach outside 0 … 1"),
    ],
)
def test_inconsistent_parts_are_refused(changes: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"pixels": np.zeros((2, 112, 112, 3), np.uint8), "labels": [0, 1], "identities": ["a", "b"]}
    with pytest.raises(FedfrError, match=message):
        FaceSet(**(given | changes))


def test_fingerprint_depends_on_pixels_labels_and_identities(make_faces: MakeFaces) -> None:
    faces = make_faces([2, 2])
    pixels = faces.images(range(4))
    same = FaceSet(pixels, faces.labels, faces.identities, names=list("abcd"))
    assert same.fingerprint() == faces.fingerprint()
    changed = pixels.copy()
    changed[3, 111, 111, 2] ^= 1
    others = [
        FaceSet(changed, faces.labels, faces.identities),
        FaceSet(pixels, [0, 1, 1, 1], faces.identities),
        FaceSet(pixels, faces.labels, ["p000", "p002"]),
        FaceSet(pixels[::-1], faces.labels, faces.identities),
    ]
    assert len({faces.fingerprint(), *(other.fingerprint() for other in others)}) == 5


def test_fingerprint_of_a_subset_does_not_depend_on_how_it_was_made(make_faces: MakeFaces, tmp_path: Path) -> None:
    faces = make_faces([3, 2])
    before = faces.subset([4, 0]).fingerprint()
    faces.digests()
    assert faces.subset([4, 0]).fingerprint() == before
    faces.subset([4, 0]).save(tmp_path / "part")
    assert FaceSet.load(tmp_path / "part").fingerprint() == before


def test_save_and_load_memory_mapped(make_faces: MakeFaces, tmp_path: Path) -> None:
    faces = make_faces([2, 3])
    folder = tmp_path / "Gesichter é 顔"
    faces.subset([4, 0, 1]).save(folder)
    loaded = FaceSet.load(folder)
    assert isinstance(loaded._pixels, np.memmap)
    assert loaded.identities == ("p000", "p001")
    assert loaded.labels.tolist() == [1, 0, 0]
    assert loaded.names == tuple(faces.names[index] for index in (4, 0, 1))
    np.testing.assert_array_equal(loaded.images([0, 1, 2]), faces.images([4, 0, 1]))
    assert sorted(entry.name for entry in folder.iterdir()) == [
        "columns.dat",
        "digests.npy",
        "faces.json",
        "pixels.npy",
    ]
    assert [entry.name for entry in tmp_path.iterdir()] == [folder.name]
    with pytest.raises(FedfrError, match="already holds files; give a new or empty folder"):
        loaded.subset([1, 2]).save(folder)
    assert FaceSet.load(folder).fingerprint() == loaded.fingerprint()


def test_pickling_sends_the_path_and_not_the_pixels(make_faces: MakeFaces, tmp_path: Path) -> None:
    faces = make_faces([3, 3])
    faces.save(tmp_path / "faces")
    part = FaceSet.load(tmp_path / "faces").subset([5, 1])
    packed = pickle.dumps(part)
    assert len(packed) < 10_000
    unpacked = pickle.loads(packed)
    assert isinstance(unpacked, FaceSet)
    np.testing.assert_array_equal(unpacked.images([0, 1]), faces.images([5, 1]))
    assert unpacked.fingerprint() == part.fingerprint()
    in_memory = pickle.loads(pickle.dumps(faces.subset([2])))
    np.testing.assert_array_equal(in_memory.images([0]), faces.images([2]))


def test_save_refuses_a_folder_with_other_files(make_faces: MakeFaces, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"precious")
    (tmp_path / "faces.json").write_text("{}")
    with pytest.raises(FedfrError, match="already holds files"):
        make_faces([1]).save(tmp_path)
    assert (tmp_path / "photo.jpg").read_bytes() == b"precious"
    with pytest.raises(FedfrError, match="give a new or empty folder"):
        make_faces([1]).save(tmp_path / "photo.jpg")


def test_load_names_what_is_missing(make_faces: MakeFaces, tmp_path: Path) -> None:
    with pytest.raises(FedfrError, match="is not a folder"):
        FaceSet.load(tmp_path / "nowhere")
    with pytest.raises(FedfrError, match=r"no faces\.json"):
        FaceSet.load(tmp_path)
    make_faces([2]).save(tmp_path / "faces")
    (tmp_path / "faces" / "pixels.npy").unlink()
    with pytest.raises(FedfrError, match=r"pixels\.npy does not exist"):
        FaceSet.load(tmp_path / "faces")


@pytest.mark.parametrize("kept", [0, 5, 60, 128, 40_000, -1])
def test_truncated_pixels_are_refused(make_faces: MakeFaces, tmp_path: Path, kept: int) -> None:
    make_faces([2]).save(tmp_path / "faces")
    path = tmp_path / "faces" / "pixels.npy"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(FedfrError, match=r"pixels\.npy is truncated or not a NumPy file"):
        FaceSet.load(tmp_path / "faces")


@pytest.mark.parametrize(
    "pixels", [np.zeros((2, 112, 112, 3)), np.zeros((2, 112, 112), np.uint8), np.zeros((), np.uint8)]
)
def test_other_arrays_are_refused(make_faces: MakeFaces, tmp_path: Path, pixels: NDArray[Any]) -> None:
    make_faces([2]).save(tmp_path / "faces")
    np.save(tmp_path / "faces" / "pixels.npy", pixels)
    with pytest.raises(FedfrError, match="expected uint8"):
        FaceSet.load(tmp_path / "faces")


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("format", "other", "does not describe a set of faces"),
        ("version", 1, r"has version 1, expected 2; import the faces again"),
        ("images", 3, r"columns\.dat has 80 bytes, faces\.json says 96"),
        ("identities", -1, "missing or invalid entry"),
        ("identity_bytes", True, "missing or invalid entry"),
        ("name_bytes", "12", "missing or invalid entry"),
        ("name_bytes", 1 << 60, "missing or invalid entry"),
    ],
)
def test_altered_description_is_refused(
    make_faces: MakeFaces, tmp_path: Path, entry: str, value: object, message: str
) -> None:
    make_faces([2]).save(tmp_path / "faces")
    path = tmp_path / "faces" / "faces.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {entry: value}))
    with pytest.raises(FedfrError, match=message):
        FaceSet.load(tmp_path / "faces")


@pytest.mark.parametrize(
    ("at", "content", "message"),
    [
        (8, b"\x01", "labels lie in 0 … 1; expected 0 … 0"),
        (15, b"\x80", "labels lie in -"),
        (24, b"\x05", "bytes 0 to 5 of 4 do not exist"),
        (32, b"\xff", "is not UTF-8"),
        (40, b"\xff", "is not UTF-8"),
        (64, b"\x7f", "bytes 0 to 127 of 12 do not exist"),
        (-1, None, r"columns\.dat has 79 bytes"),
    ],
)
def test_altered_columns_are_refused(
    make_faces: MakeFaces, tmp_path: Path, at: int, content: bytes | None, message: str
) -> None:
    """Altered labels, identities and names of images are refused when they are first read."""
    make_faces([2]).save(tmp_path / "faces")
    path = tmp_path / "faces" / "columns.dat"
    kept = path.read_bytes()
    path.write_bytes(kept[:at] if content is None else kept[:at] + content + kept[at + 1 :])
    with pytest.raises(FedfrError, match=message):
        list(FaceSet.load(tmp_path / "faces").names)


def test_a_subset_of_a_loaded_set_has_its_digests_and_folder(make_faces: MakeFaces, tmp_path: Path) -> None:
    faces = make_faces([3, 3])
    faces.save(tmp_path / "faces")
    wanted = faces.subset([5, 1]).digests()
    np.lib.format.open_memmap(tmp_path / "faces" / "pixels.npy", mode="r+")[:] = 0
    part = FaceSet.load(tmp_path / "faces").subset([5, 1])
    assert part.digests() == wanted
    assert pickle.loads(pickle.dumps(part)).digests() == wanted
    assert part.folder == tmp_path / "faces"
    assert faces.folder is None


def test_a_changed_set_is_not_opened_in_another_process(make_faces: MakeFaces, tmp_path: Path) -> None:
    make_faces([3]).save(tmp_path / "faces")
    packed = pickle.dumps(FaceSet.load(tmp_path / "faces"))
    (tmp_path / "faces").rename(tmp_path / "old")
    make_faces([2]).save(tmp_path / "faces")
    with pytest.raises(FedfrError, match="have changed; restore the original"):
        pickle.loads(packed)


def test_truncated_description_is_refused(make_faces: MakeFaces, tmp_path: Path) -> None:
    make_faces([2]).save(tmp_path / "faces")
    path = tmp_path / "faces" / "faces.json"
    path.write_bytes(path.read_bytes()[:80])
    with pytest.raises(FedfrError, match="may be truncated"):
        FaceSet.load(tmp_path / "faces")


def test_faces_need_no_torch() -> None:
    script = "import sys, fedfr.faces; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
