"""Import of photographs: the face set, the list of skipped files, and destinations."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.support.photograph_files import (
    YUNET,
    landmarks_file,
    lfw_landmarks,
    people,
    png_header,
    save,
    texture,
    with_orientation,
)
from tests.support.photograph_imports import COUNTS, by_landmarks

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet, import_photographs
from fedfr.faces.alignment.photographs import Aligner, AlignerFiles, Limits, make_aligner
from fedfr.faces.readers.image_reading import read_image


def by_yunet(models_dir: Path) -> Aligner:
    aligner = make_aligner("yunet", AlignerFiles(detector=models_dir / YUNET))
    assert aligner is not None
    return aligner


def test_photographs_of_lfw_become_the_aligned_faces(data_dir: Path, models_dir: Path, tmp_path: Path) -> None:
    """All 56, by YuNet and by the known landmarks; half a pixel to the side would be 3.4 grey levels."""
    source, known = data_dir / "lfw250_sample", data_dir / "lfw250_landmarks.tsv"
    found = import_photographs(source, tmp_path / "yunet", by_yunet(models_dir))
    listed = import_photographs(source, tmp_path / "landmarks", by_landmarks(known))
    assert found.photographs == len(found.faces) == len(listed.faces) == 56
    assert found.skipped == ()
    assert found.lost_identities == ()
    assert found.faces.names == listed.faces.names == tuple(lfw_landmarks(data_dir))
    assert found.faces.num_identities == 12
    kept = np.stack([read_image(data_dir / "lfw112" / name) for name in found.faces.names]).astype(int)
    for made in (found, listed):
        away = np.abs(made.faces.images(range(56)) - kept).mean(axis=(1, 2, 3))
        assert away.mean() < 1.3
        assert away.max() < 1.7
    facts = json.loads((tmp_path / "yunet" / "photographs.json").read_text())
    assert facts["aligned"] == 56
    assert facts["settings"]["detector"].startswith("49f000ec501fef24")
    assert str(tmp_path) not in str(facts)


def test_a_rotated_and_a_grey_photograph_give_the_same_face(data_dir: Path, models_dir: Path, tmp_path: Path) -> None:
    name = next(iter(lfw_landmarks(data_dir)))
    plain = cv2.imread(str(data_dir / "lfw250_sample" / name))
    assert plain is not None
    best = [cv2.IMWRITE_JPEG_QUALITY, 100]
    files = {
        "plain.jpg": cv2.imencode(".jpg", plain, best)[1].tobytes(),
        # 8: the camera was held so that the stored image must be turned a quarter to the left to be shown.
        "turned.jpg": with_orientation(
            cv2.imencode(".jpg", cv2.rotate(plain, cv2.ROTATE_90_CLOCKWISE), best)[1].tobytes(), 8
        ),
        "grey.jpg": cv2.imencode(".jpg", cv2.cvtColor(plain, cv2.COLOR_BGR2GRAY), best)[1].tobytes(),
    }
    (tmp_path / "in" / "a").mkdir(parents=True)
    for file, jpeg in files.items():
        (tmp_path / "in" / "a" / file).write_bytes(jpeg)
    faces = import_photographs(tmp_path / "in", tmp_path / "out", by_yunet(models_dir)).faces
    assert faces.names == ("a/grey.jpg", "a/plain.jpg", "a/turned.jpg")
    grey, upright, turned = faces.images(range(3)).astype(int)
    assert np.abs(turned - upright).mean() < 3
    assert (grey == grey[..., :1]).all()
    assert np.abs(grey.mean() - upright.mean()) < 8


def test_files_without_a_face_are_listed_with_the_reason(data_dir: Path, models_dir: Path, tmp_path: Path) -> None:
    first, second, *_ = (read_image(data_dir / "lfw250_sample" / name) for name in lfw_landmarks(data_dir))
    place = tmp_path / "in"
    save(place / "a" / "fit.png", first)
    save(place / "a" / "blurred.png", np.asarray(cv2.GaussianBlur(first, (0, 0), 6), np.uint8))
    save(place / "a" / "small.png", np.asarray(cv2.resize(first, (80, 80), interpolation=cv2.INTER_AREA), np.uint8))
    save(place / "a" / "two.png", np.hstack([first, second]))
    save(place / "b" / "nobody.png", np.full((300, 300, 3), 90, np.uint8))
    save(place / "b" / "one pixel.png", texture(1, 1))
    (place / "b" / "text.jpg").write_text("no image")
    (place / "b" / "cut.jpg").write_bytes(
        (data_dir / "lfw250_sample" / next(iter(lfw_landmarks(data_dir)))).read_bytes()[:9000]
    )
    (place / "b" / "bomb.png").write_bytes(png_header(20_000, 20_000))
    (place / "b" / "notes, old.txt").touch()
    (place / "b" / "deeper").mkdir()
    (place / "c").mkdir()
    limits = Limits(several=False, sharpness=20)
    made = import_photographs(place, tmp_path / "out", by_yunet(models_dir), limits)
    assert made.faces.names == ("a/fit.png",)
    assert made.faces.identities == ("a",)
    assert made.photographs == 9
    assert made.lost_identities == ("b", "c")
    expected = {
        "a/blurred.png": "too-blurred",
        "a/small.png": "too-small",
        "a/two.png": "several-faces",
        "b/bomb.png": "too-large",
        "b/cut.jpg": "unreadable",
        "b/nobody.png": "no-face",
        "b/one pixel.png": "no-face",
        "b/text.jpg": "unreadable",
        "b/deeper": "other-file",
        "b/notes, old.txt": "other-file",
    }
    with (tmp_path / "out" / "skipped.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert {name: row["reason"] for name, row in rows.items()} == expected
    assert made.counts() == {
        "no-face": 2,
        "several-faces": 1,
        "too-small": 1,
        "too-blurred": 1,
        "too-large": 1,
        "unreadable": 2,
        "other-file": 2,
    }
    assert float(rows["a/small.png"]["size"]) < 56
    assert 0 < float(rows["a/blurred.png"]["sharpness"]) < 20
    assert rows["a/two.png"]["faces"] == "2"
    assert rows["b/bomb.png"]["detail"].startswith("20000x20000 pixels")
    assert rows["b/nobody.png"]["score"] == ""


def test_photographs_without_a_line_of_landmarks_and_scores(place: Path) -> None:
    names = people(place / "in", COUNTS)
    landmarks_file(place / "some.tsv", [*names[:-1], "nobody/here.jpg"])
    made = import_photographs(place / "in", place / "out", by_landmarks(place / "some.tsv"))
    assert [(outcome.name, outcome.reason) for outcome in made.skipped] == [(names[-1], "no-landmarks")]
    with pytest.raises(FedfrError, match=r"has a usable face \(11 low-score, 1 no-landmarks\)"):
        import_photographs(place / "in", place / "x", by_landmarks(place / "some.tsv"), Limits(score=0.95))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_and_order_of_work_change_no_bit(place: Path, threads: int) -> None:
    before = cv2.getNumThreads()
    seen: list[tuple[int, int]] = []
    made = import_photographs(
        place / "in",
        place / "out",
        by_landmarks(place / "points.tsv"),
        progress=lambda done, total: seen.append((done, total)),
        threads=threads,
    )
    assert seen == [(done, 12) for done in range(1, 13)]
    assert cv2.getNumThreads() == before
    assert made.faces.identities == ("Zoë Müller", "anna", "顔 一")
    assert made.faces.counts().tolist() == [5, 4, 3]
    expected = np.stack([texture(160, 160, seed)[20:132, 20:132] for seed in range(12)])
    np.testing.assert_array_equal(made.faces.images(range(12)), expected)
    assert sorted(path.name for path in place.iterdir()) == ["in", "out", "points.tsv"]


def test_unwritable_destinations(place: Path) -> None:
    aligner = by_landmarks(place / "points.tsv")
    with pytest.raises(FedfrError, match="cannot write in /proc: "):
        import_photographs(place / "in", "/proc/faces", aligner)
    (place / "file").touch()
    with pytest.raises(FedfrError, match=r"cannot write in .*/file: "):
        import_photographs(place / "in", place / "file" / "faces", aligner)
    assert sorted(path.name for path in place.iterdir()) == ["file", "in", "points.tsv"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(place: Path) -> None:
    (place / "locked").mkdir(mode=0o555)
    with pytest.raises(FedfrError, match=r"cannot write in .*/locked: Permission denied"):
        import_photographs(place / "in", place / "locked" / "faces", by_landmarks(place / "points.tsv"))


def test_unsuitable_folders_are_refused(place: Path) -> None:
    aligner = by_landmarks(place / "points.tsv")
    (place / "empty").mkdir()
    with pytest.raises(FedfrError, match="has no images in sub-folders"):
        import_photographs(place / "empty", place / "out", aligner)
    with pytest.raises(FedfrError, match="nowhere is not a folder"):
        import_photographs(place / "nowhere", place / "out", aligner)
    with pytest.raises(FedfrError, match="are inside one another"):
        import_photographs(place / "in", place / "in" / "out", aligner)
    assert sorted(path.name for path in place.iterdir()) == ["empty", "in", "points.tsv"]


def test_the_list_is_kept_if_no_photograph_gives_a_face(place: Path) -> None:
    with pytest.raises(FedfrError) as error:
        import_photographs(place / "in", place / "out", by_landmarks(place / "points.tsv"), Limits(size=500))
    assert str(error.value) == (
        f"no photograph in {place}/in has a usable face (12 too-small); {place}/out.skipped.csv lists the reason for "
        "each"
    )
    assert (place / "out.skipped.csv").read_text(encoding="utf-8").count("too-small") == 12
    assert sorted(path.name for path in place.iterdir()) == ["in", "out.skipped.csv", "points.tsv"]


def test_a_contact_sheet_never_replaces_a_file(place: Path) -> None:
    aligner = by_landmarks(place / "points.tsv")
    made = import_photographs(place / "in", place / "out", aligner, contact_sheet=place / "sheet.html")
    assert (place / "sheet.html").read_text(encoding="utf-8").count("<img") == 12
    assert FaceSet.load(place / "out").fingerprint() == made.faces.fingerprint()
    with pytest.raises(FedfrError, match=r"sheet\.html exists already"):
        import_photographs(place / "in", place / "other", aligner, contact_sheet=place / "sheet.html")
    assert not (place / "other").exists()
