"""Packing of pairs into a verification set: round trip, and no leftovers of a failure."""

from __future__ import annotations

import pickle
import resource
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.support.tiny_experiment import tiny_faces

from fedfr.core.errors import FedfrError, WriteError
from fedfr.faces import import_folder, load_faces, open_folder, pack_pairs, read_verification_set

LIST = "a,b,same\nperson-00#1,person-00#0,1\nperson-02#8,person-01#4,False\nperson-01#5,person-01#4,\n"


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """Three pairs of five distinct images of ``tiny_faces(3, 4)``."""
    (tmp_path / "pairs.csv").write_text(LIST, encoding="utf-8-sig")
    return tmp_path / "pairs.csv"


def test_a_saved_set_becomes_png(tmp_path: Path, listed: Path) -> None:
    faces = tiny_faces(3, 4)
    assert pack_pairs(faces, listed, tmp_path / "tiny.bin") == 3
    found = read_verification_set(tmp_path / "tiny.bin")
    assert found.same.tolist() == [True, False, True]
    assert all(image.startswith(b"\x89PNG") for image in found.images)
    np.testing.assert_array_equal(found.faces().images(range(6)), faces.images([1, 0, 8, 4, 5, 4]))


def test_the_file_is_readable_with_pickle(tmp_path: Path, listed: Path) -> None:
    """As InsightFace's ``load_bin`` does: two lists, bytes and bools; an image of several pairs is there once."""
    pack_pairs(tiny_faces(3, 4), listed, tmp_path / "tiny.bin")
    content = (tmp_path / "tiny.bin").read_bytes()
    bins, same = pickle.loads(content)
    assert same == [True, False, True]
    assert [type(each) for each in (*bins, *same)] == [bytes] * 6 + [bool] * 3
    assert bins[3] == bins[5]
    assert content.count(b"\x89PNG\r\n\x1a\n") == 5


def test_image_files_are_stored_unchanged(tmp_path: Path, data_dir: Path) -> None:
    for name in ("Abdullah_Gul", "Adrien_Brody"):
        shutil.copytree(data_dir / "lfw112" / name, tmp_path / "people" / name)
    (tmp_path / "pairs.txt").write_text("1\t1\nAbdullah_Gul\t1\t2\nAbdullah_Gul\t3\tAdrien_Brody\t1\n")
    faces = open_folder(tmp_path / "people")
    assert pack_pairs(faces, tmp_path / "pairs.txt", tmp_path / "two.bin") == 2
    found = read_verification_set(tmp_path / "two.bin")
    assert found.images[3] == (tmp_path / "people" / "Adrien_Brody" / "Adrien_Brody_0001.jpg").read_bytes()
    np.testing.assert_array_equal(
        found.faces().images([3]), faces.images([faces.names.index("Adrien_Brody/Adrien_Brody_0001.jpg")])
    )
    assert found.same.tolist() == [True, False]


def people(folder: Path, *names: str, size: tuple[int, int] = (112, 112)) -> Path:
    """Images of Ann in random colours, grey ones as PGM."""
    generator = np.random.default_rng(0)
    for name in names:
        path = folder / "people" / "Ann" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = size if name.endswith("pgm") else (*size, 3)
        assert cv2.imwrite(str(path), generator.integers(0, 255, shape, dtype=np.uint8))
    (folder / "list.csv").write_text("a,b\nAnn/a,Ann/b\nAnn/c.bmp,Ann/a\n")
    return folder / "people"


def test_other_formats_are_converted_to_png(tmp_path: Path) -> None:
    """PGM and BMP; without loss."""
    faces = open_folder(people(tmp_path, "a.png", "b.pgm", "c.bmp"))
    pack_pairs(faces, tmp_path / "list.csv", tmp_path / "x.bin")
    found = read_verification_set(tmp_path / "x.bin")
    assert found.images[0] == (tmp_path / "people" / "Ann" / "a.png").read_bytes()
    np.testing.assert_array_equal(found.faces().images(range(4)), faces.images([0, 1, 2, 0]))


def test_a_folder_gives_the_same_images_as_its_import(tmp_path: Path) -> None:
    source = people(tmp_path, "a.png", "b.pgm", "c.bmp", "d.jpg")
    opened, imported = open_folder(source), import_folder(source)
    assert (opened.names, opened.identities) == (imported.names, imported.identities)
    np.testing.assert_array_equal(opened.images(range(4)), imported.images(range(4)))
    assert opened.fingerprint() == imported.fingerprint()
    assert pickle.loads(pickle.dumps(opened)).fingerprint() == imported.fingerprint()


def test_only_listed_images_are_read(tmp_path: Path) -> None:
    """Images that are not listed are not read, even if damaged."""
    source = people(tmp_path, "a.png", "b.pgm", "c.bmp")
    (source / "Ann" / "z.png").write_bytes(b"\x89PNG, but not really")
    assert pack_pairs(open_folder(source), tmp_path / "list.csv", tmp_path / "x.bin") == 2


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (0.5, r"Ann/a\.png is not a readable image \(it holds an image that is corrupt or truncated\); replace"),
        (0.0, r"Ann/a\.png is not a readable image"),
        (None, r"cannot read .*Ann/a\.png: No such file or directory; check the file"),
    ],
)
def test_an_unusable_image_is_named(tmp_path: Path, keep: float | None, message: str) -> None:
    source = people(tmp_path, "a.png", "b.pgm", "c.bmp")
    faces, file = open_folder(source), source / "Ann" / "a.png"
    if keep is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: int(keep * file.stat().st_size)])
    with pytest.raises(FedfrError, match=message):
        pack_pairs(faces, tmp_path / "list.csv", tmp_path / "x.bin")
    assert not (tmp_path / "x.bin").exists()


def test_unaligned_images_are_refused(tmp_path: Path) -> None:
    faces = open_folder(people(tmp_path, "a.png", "b.pgm", "c.bmp", size=(80, 90)))
    message = r"Ann/a\.png is 90x80; expected an aligned face of 112x112, align it first"
    with pytest.raises(FedfrError, match=message):
        pack_pairs(faces, tmp_path / "list.csv", tmp_path / "x.bin")


def test_records_keep_their_bytes(tmp_path: Path, data_dir: Path) -> None:
    faces = load_faces(data_dir / "recordio" / "insightface" / "train.rec")
    (tmp_path / "list.csv").write_text(f"a,b\n{faces.names[0]},{faces.names[1]}\n")
    assert pack_pairs(faces, tmp_path / "list.csv", tmp_path / "x.bin") == 1
    assert read_verification_set(tmp_path / "x.bin").images == (faces.encoded(0), faces.encoded(1))


def test_existing_files_are_not_replaced(tmp_path: Path, listed: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"mine")
    with pytest.raises(FedfrError, match=r"x\.bin exists already; choose another name or remove it"):
        pack_pairs(tiny_faces(3, 4), listed, tmp_path / "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == b"mine"
    with pytest.raises(FedfrError, match=r"x\.pkl does not end in \.bin; give the verification set a name"):
        pack_pairs(tiny_faces(3, 4), listed, tmp_path / "x.pkl")


def test_a_full_disk(tmp_path: Path, listed: Path) -> None:
    """With a system limit on the size of files writing fails; without the limit the same call succeeds."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(WriteError, match=r"cannot write .*tiny\.bin: File too large; free space or choose"):
            pack_pairs(tiny_faces(3, 4), listed, tmp_path / "tiny.bin")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.csv"]
    assert pack_pairs(tiny_faces(3, 4), listed, tmp_path / "tiny.bin") == 3


def test_an_unwritable_destination(tmp_path: Path, listed: Path) -> None:
    with pytest.raises(WriteError, match="cannot write"):
        pack_pairs(tiny_faces(3, 4), listed, listed / "tiny.bin")
    assert listed.read_text(encoding="utf-8-sig") == LIST
