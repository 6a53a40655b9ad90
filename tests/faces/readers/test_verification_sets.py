"""Verification sets as InsightFace writes them: read completely or refused in one line."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.support.python2_pickles import protocol_0, protocol_1, protocol_2, protocol_2_arrays

from fedfr.core.errors import FedfrError
from fedfr.faces import read_verification_set, verification_sets
from fedfr.faces.readers.image_reading import read_image


def image(value: int, size: tuple[int, int] = (112, 112), suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, np.full((*size, 3), value, np.uint8))[1].tobytes()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("form", ["bytes", "buffers", "columns"])
def test_files_written_as_by_insightface(tmp_path: Path, protocol: int, form: str) -> None:
    """``pickle.dump((bins, issame_list), f, protocol=…)``; bins are what ``f.read()`` gave, or ``cv2.imencode``.

    The latter gives uint8 of shape (n,), in older releases (n, 1).
    """
    samples = [image(10), image(20), image(30, suffix=".jpg"), image(10)]
    shape = {"bytes": (), "buffers": (-1,), "columns": (-1, 1)}[form]
    bins: list[Any] = [np.frombuffer(each, np.uint8).reshape(shape) for each in samples] if shape else samples
    path = tmp_path / "ein gewöhnlicher Satz.bin"
    path.write_bytes(pickle.dumps((bins, [True, False]), protocol))
    found = read_verification_set(path)
    assert (found.name, found.images) == ("ein gewöhnlicher Satz", tuple(samples))
    assert found.same.tolist() == [True, False]
    assert found.faces().images(range(4)).mean((1, 2, 3)).tolist() == [10, 20, 30, 10]
    distinct, where = found.distinct()
    assert (len(distinct), where.tolist()) == (3, [0, 1, 2, 0])
    np.testing.assert_array_equal(distinct.images(where), found.faces().images(range(4)))


@pytest.mark.parametrize("write", [protocol_0, protocol_1, protocol_2, protocol_2_arrays])
def test_files_written_by_python_2(tmp_path: Path, data_dir: Path, write: Any) -> None:
    """The published files are of Python 2: text strings that hold JPEG, or arrays of the NumPy of its day."""
    files = sorted((data_dir / "lfw112" / "Abdullah_Gul").iterdir())[:4]
    module = (b"numpy.core.multiarray",) if write is protocol_2_arrays else ()
    path = tmp_path / "lfw.bin"
    path.write_bytes(write([file.read_bytes() for file in files], [True, False], *module))
    found = read_verification_set(path)
    assert found.same.tolist() == [True, False]
    assert found.images == tuple(file.read_bytes() for file in files)
    np.testing.assert_array_equal(found.faces().images(range(4)), [read_image(file) for file in files])


@pytest.mark.parametrize("same", [np.array([True, False]), [np.bool_(True), np.bool_(False)], [1, 0], (True, False)])
def test_truth_values_of_every_kind(tmp_path: Path, same: Any) -> None:
    (tmp_path / "x.bin").write_bytes(pickle.dumps(([image(1)] * 4, same)))
    if isinstance(same, tuple):
        with pytest.raises(FedfrError, match="does not hold a list of images and a list of labels"):
            read_verification_set(tmp_path / "x.bin")
    else:
        assert read_verification_set(tmp_path / "x.bin").same.tolist() == [True, False]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "does not hold a list of images and a list of labels"),
        ("lfw", "does not hold a list of images and a list of labels"),
        (([b"a"], [True], [False]), "does not hold a list of images and a list of labels"),
        (([], []), "holds 0 images for 0 pairs; expected two per pair, at least one pair"),
        (([b"a", b"b", b"c"], [True]), "holds 3 images for 1 pairs"),
        (([b"a", b"b"], [True, False]), "holds 2 images for 2 pairs"),
        (([b"a", "b"], [True]), "image 1 is str, not compressed bytes"),
        (([b"a", np.array([True])], [True]), "image 1 is ndarray, not compressed bytes"),
        (([b"a", b"b"], [2]), "pair 0 has the label 2; expected true or false"),
        (([b"a", b"b"], [-1]), "pair 0 has the label -1; expected true or false"),
        (([b"a", b"b"], [None]), "pair 0 has the label NoneType"),
        (([b"a", b"b"], ["yes\n"]), "pair 0 has the label str"),
        (([b"a", b"b"], [[True]]), "pair 0 has the label list"),
        (([b"a", b"b"], [np.array([1, 0], np.uint8)]), "pair 0 has the label ndarray"),
        (([b"a", b"b"], np.array([1], np.uint8)), r"labels are uint8 \(1,\); expected one bool per pair"),
        (([b"a", b"b"], np.array([[True]])), r"labels are bool \(1, 1\)"),
    ],
)
def test_other_contents_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(FedfrError, match=message) as caught:
        read_verification_set(path)
    assert str(caught.value).isprintable()


def test_invalid_images_are_named(tmp_path: Path) -> None:
    """By what they announce before anything is computed, by what they hold when they are decoded."""
    path = tmp_path / "x.bin"
    good, jpeg = image(10), image(10, suffix=".jpg")
    for bad, message in (
        (b"text", r"image 3 of pair 1 holds no JPEG or PNG \(it starts with 74 65 78 74\); fetch it again"),
        (b"", r"image 3 of pair 1 holds no JPEG or PNG \(it starts with nothing\)"),
        (image(10, (80, 60)), "image 3 of pair 1 is 60x80; expected aligned faces of 112x112"),
        (good[:16] + (60_000).to_bytes(4, "big") * 2 + good[24:], "image 3 of pair 1 is 60000x60000"),
    ):
        path.write_bytes(pickle.dumps(([good, jpeg, good, bad], [True, True])))
        with pytest.raises(FedfrError, match=message):
            read_verification_set(path)
    for bad in (good[:60], jpeg[:200]):
        path.write_bytes(pickle.dumps(([good, jpeg, good, bad], [True, True])))
        faces = read_verification_set(path).faces()
        assert len(faces.images([0, 1, 2])) == 3
        with pytest.raises(FedfrError, match=r"image 3 of pair 1 holds an image that is corrupt or truncated"):
            faces.images(range(4))


def test_other_files(tmp_path: Path, data_dir: Path) -> None:
    photo = next((data_dir / "lfw112" / "Abdullah_Gul").iterdir())
    shutil.copy(photo, tmp_path / "photo.bin")
    (tmp_path / "text.bin").write_text("pairs?")
    (tmp_path / "empty.bin").touch()
    (tmp_path / "folder.bin").mkdir()
    for name in ("photo.bin", "text.bin", "empty.bin"):
        with pytest.raises(FedfrError, match=rf"{name} is not a complete set of verification pairs"):
            read_verification_set(tmp_path / name)
    with pytest.raises(FedfrError, match=r"cannot read .*folder\.bin: Is a directory; give a file such as lfw\.bin"):
        read_verification_set(tmp_path / "folder.bin")
    with pytest.raises(FedfrError, match=r"cannot read .*gone\.bin: No such file"):
        read_verification_set(tmp_path / "gone.bin")
    assert [path.name for path in verification_sets(tmp_path)] == ["empty.bin", "folder.bin", "photo.bin", "text.bin"]
    assert verification_sets(tmp_path / "text.bin") == [tmp_path / "text.bin"]
    assert verification_sets(photo) == []


def test_pipes_do_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.bin")
    (tmp_path / "zero.bin").symlink_to("/dev/zero")
    for name in ("pipe.bin", "zero.bin"):
        with pytest.raises(FedfrError, match=rf"{name} is not a regular file; give a file such as lfw\.bin"):
            read_verification_set(tmp_path / name)


def test_a_file_larger_than_memory_is_refused(tmp_path: Path) -> None:
    """A sparse one: it takes no room on the disk."""
    with (tmp_path / "huge.bin").open("wb") as file:
        file.truncate((1 << 31) + 1)
    message = r"huge\.bin has 2,147,483,649 bytes, at most 2,147,483,648 are read; split it into several"
    with pytest.raises(FedfrError, match=message):
        read_verification_set(tmp_path / "huge.bin")


def test_truncated_at_every_byte(tmp_path: Path) -> None:
    whole = pickle.dumps(([b"first", b"x" * 300], [True]), protocol=4)
    path = tmp_path / "x.bin"
    path.write_bytes(whole)
    with pytest.raises(FedfrError, match="image 0 of pair 0 holds no JPEG"):
        read_verification_set(path)
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(FedfrError, match=r"x\.bin is not a complete set of verification pairs \(it is truncated: "):
            read_verification_set(path)
