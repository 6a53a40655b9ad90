"""Verification sets: written as InsightFace's scripts write them, and by us; read whole or refused in one line."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.tiny import tiny_faces

from fedfr.errors import FedfrError
from fedfr.faces import import_folder, pack_pairs, read_verification_set, verification_sets


def picture(value: int, size: tuple[int, int] = (112, 112), suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, np.full((*size, 3), value, np.uint8))[1].tobytes()


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("buffers", [False, True])
def test_as_insightface_writes_them(tmp_path: Path, protocol: int, buffers: bool) -> None:
    """``pickle.dump((bins, issame_list), f, protocol=…)``; bins are what ``f.read()`` gave, or NumPy's buffers."""
    pictures = [picture(10), picture(20), picture(30), picture(10)]
    bins: list[Any] = [np.frombuffer(each, np.uint8) for each in pictures] if buffers else pictures
    path = tmp_path / "some set.bin"
    path.write_bytes(pickle.dumps((bins, [True, False]), protocol))
    found = read_verification_set(path)
    assert (found.name, found.pictures) == ("some set", tuple(pictures))
    assert found.same.tolist() == [True, False]
    assert found.faces().images(range(4)).mean((1, 2, 3)).tolist() == [10, 20, 30, 10]
    distinct, where = found.distinct()
    assert (len(distinct), where.tolist()) == (3, [0, 1, 2, 0])
    np.testing.assert_array_equal(distinct.images(where), found.faces().images(range(4)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds no two lists"),
        (([b"a"], [True], [False]), "holds no two lists"),
        (([], []), "holds 0 pictures for 0 pairs; expected two for each, and one pair at least"),
        (([b"a", b"b", b"c"], [True]), "holds 3 pictures for 1 pairs"),
        (([b"a", "b"], [True]), "picture 1 is str, not compressed bytes"),
        (([b"a", b"b"], [2]), "pair 0 is marked '2'; expected true or false"),
        (([b"a", b"b"], [None]), "pair 0 is marked 'None'"),
        (([b"a", b"b"], [[True]]), "pair 0 is marked"),
    ],
)
def test_something_else_in_a_pickle(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(FedfrError, match=message):
        read_verification_set(path)


def test_pictures_that_are_none_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    good, jpeg = picture(10), picture(10, suffix=".jpg")
    for bad, message in (
        (b"text", r"picture 3 of pair 1 holds no JPEG or PNG \(it starts with 74 65 78 74\)"),
        (b"", "picture 3 of pair 1 holds no JPEG or PNG"),
        (good[:60], "picture 3 of pair 1 holds a picture that cannot be decoded"),
        (picture(10, (80, 60)), "picture 3 of pair 1 is 60x80; expected aligned faces of 112x112"),
    ):
        path.write_bytes(pickle.dumps(([good, jpeg, good, bad], [True, True])))
        faces = read_verification_set(path).faces()
        assert len(faces.images([0, 1, 2])) == 3
        with pytest.raises(FedfrError, match=message):
            faces.images(range(4))


def test_other_files(tmp_path: Path, data_dir: Path) -> None:
    photo = next((data_dir / "lfw112" / "Abdullah_Gul").iterdir())
    shutil.copy(photo, tmp_path / "photo.bin")
    (tmp_path / "text.bin").write_text("pairs?")
    (tmp_path / "empty.bin").touch()
    (tmp_path / "folder.bin").mkdir()
    for name in ("photo.bin", "text.bin", "empty.bin"):
        with pytest.raises(FedfrError, match=rf"{name} is no whole set of verification pairs"):
            read_verification_set(tmp_path / name)
    with pytest.raises(FedfrError, match=r"cannot read .*folder\.bin: Is a directory; give a file such as lfw\.bin"):
        read_verification_set(tmp_path / "folder.bin")
    with pytest.raises(FedfrError, match=r"cannot read .*gone\.bin: No such file"):
        read_verification_set(tmp_path / "gone.bin")
    assert [path.name for path in verification_sets(tmp_path)] == ["empty.bin", "folder.bin", "photo.bin", "text.bin"]
    assert verification_sets(tmp_path / "text.bin") == [tmp_path / "text.bin"]
    assert verification_sets(photo) == []


def test_cut_short_at_any_byte(tmp_path: Path) -> None:
    whole = pickle.dumps(([picture(10), picture(20)], [True]), 2)
    path = tmp_path / "x.bin"
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(FedfrError, match=r"x\.bin is no whole set of verification pairs"):
            read_verification_set(path)


def test_pairs_of_a_list_are_packed_and_read_again(tmp_path: Path) -> None:
    faces = tiny_faces(3, 4)
    names = "a,b,same\nperson-00#1,person-00#0,1\nperson-02#8,person-01#4,False\nperson-01#5,person-01#4,\n"
    (tmp_path / "pairs.csv").write_text(names, encoding="utf-8-sig")
    assert pack_pairs(faces, tmp_path / "pairs.csv", tmp_path / "tiny.bin") == 3
    found = read_verification_set(tmp_path / "tiny.bin")
    assert found.same.tolist() == [True, False, True]
    np.testing.assert_array_equal(found.faces().images(range(6)), faces.images([1, 0, 8, 4, 5, 4]))
    with pytest.raises(FedfrError, match=r"tiny\.bin exists already"):
        pack_pairs(faces, tmp_path / "pairs.csv", tmp_path / "tiny.bin")
    assert pickle.loads((tmp_path / "tiny.bin").read_bytes())[1] == [True, False, True]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\nperson-00#1,nobody\n", r"pairs\.csv, line 2: image 'nobody' is not among these faces"),
        ("a,b\nperson-00#1\n", "line 2: image None is not among these faces"),
        ("x,y\n1,2\n", "line 2: image None is not among"),
        ("a,b,same\nperson-00#1,person-00#0,0\n", "line 2: same = '0', but the faces say true; correct one"),
        ("a,b,same\nperson-00#1,person-00#0,perhaps\n", "line 2: same = 'perhaps', but the faces say true"),
        ("a,b\n", "holds 0 pairs"),
        (b"\xff\xfe\x00", r"cannot read the pairs .*pairs\.csv"),
    ],
)
def test_lists_that_do_not_fit(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(FedfrError, match=message):
        pack_pairs(tiny_faces(3, 4), path, tmp_path / "tiny.bin")
    assert not (tmp_path / "tiny.bin").exists()


def test_files_of_a_folder_are_packed_as_they_lie(tmp_path: Path, data_dir: Path) -> None:
    for name in ("Abdullah_Gul", "Adrien_Brody"):
        shutil.copytree(data_dir / "lfw112" / name, tmp_path / "people" / name)
    (tmp_path / "pairs.txt").write_text("1\t1\nAbdullah_Gul\t1\t2\nAbdullah_Gul\t3\tAdrien_Brody\t1\n")
    faces = import_folder(tmp_path / "people")
    assert pack_pairs(faces, tmp_path / "pairs.txt", tmp_path / "two.bin", tmp_path / "people") == 2
    found = read_verification_set(tmp_path / "two.bin")
    assert found.pictures[3] == (tmp_path / "people" / "Adrien_Brody" / "Adrien_Brody_0001.jpg").read_bytes()
    np.testing.assert_array_equal(
        found.faces().images([3]), faces.images([faces.names.index("Adrien_Brody/Adrien_Brody_0001.jpg")])
    )
    assert found.same.tolist() == [True, False]
