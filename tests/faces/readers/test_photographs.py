"""Photographs to a face set: what is in it, what is listed, and imports that are killed, repeated or stopped."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

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

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet, import_photographs
from fedfr.faces.alignment.photographs import Aligner, AlignerFiles, Limits, Outcome, align_photograph, make_aligner
from fedfr.faces.alignment.template import ARCFACE_TEMPLATE
from fedfr.faces.readers import photographs
from fedfr.faces.readers.image_reading import read_image

COUNTS = {"Zoë Müller": 5, "anna": 4, "顔 一": 3}


def by_landmarks(path: Path) -> Aligner:
    aligner = make_aligner("landmarks", AlignerFiles(landmarks=path))
    assert aligner is not None
    return aligner


def by_yunet(models_dir: Path) -> Aligner:
    aligner = make_aligner("yunet", AlignerFiles(detector=models_dir / YUNET))
    assert aligner is not None
    return aligner


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with ``in``, twelve photographs of three people, and ``points.tsv``."""
    place = tmp_path / "plâce with spaces"
    place.mkdir()
    landmarks_file(place / "points.tsv", people(place / "in", COUNTS))
    return place


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_lfws_photographs_become_lfws_faces(data_dir: Path, models_dir: Path, tmp_path: Path) -> None:
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


def test_a_turned_and_a_grey_photograph_give_the_same_face(data_dir: Path, models_dir: Path, tmp_path: Path) -> None:
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


def test_whatever_gives_no_face_is_listed_with_its_reason(data_dir: Path, models_dir: Path, tmp_path: Path) -> None:
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


SCRIPT = """
import os, shutil, signal, sys
from pathlib import Path
from fedfr.faces.readers import photographs
from fedfr.faces.alignment.photographs import AlignerFiles, make_aligner

place, moment, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def after(work):
    def both(*given):
        work(*given)
        die()
    return both

if moment in ("move_folder", "write_faces", "remove_workspace"):
    setattr(photographs, moment, die)
elif moment == "removing":  # the work folder, whose plan is gone by then
    plain = shutil.rmtree
    shutil.rmtree = lambda path, **how: die() if Path(path).suffix == ".import" else plain(path, **how)
elif moment == "moved":
    photographs.move_folder = after(photographs.move_folder)

def progress(done, total):
    if str(done) == moment:
        die()

aligner = make_aligner("landmarks", AlignerFiles(landmarks=place / "points.tsv"))
photographs.import_photographs(place / "in", place / "out", aligner, progress=progress, threads=threads)
"""


def killed(place: Path, moment: str, threads: int = 2) -> None:
    command = [sys.executable, "-c", SCRIPT, str(place), moment, str(threads)]
    assert subprocess.run(command).returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    "moments", [("3", "7"), ("12", "write_faces"), ("move_folder",), ("moved",), ("remove_workspace",)]
)
def test_killed_and_gone_on_with_it_ends_with_the_same_bits(
    place: Path, monkeypatch: pytest.MonkeyPatch, moments: tuple[str, ...]
) -> None:
    """SIGKILL in a process of its own: while photographs are aligned, and around every step that comes after."""
    aligner = by_landmarks(place / "points.tsv")
    undisturbed = import_photographs(place / "in", place / "undisturbed", aligner)
    for moment in moments:
        killed(place, moment)
    kept = int(moments[-1]) if moments[-1].isdigit() else 12
    seen: list[int] = []
    read: list[str] = []

    def counted(path: Path, *more: Any) -> Outcome:
        read.append(path.name)
        return align_photograph(path, *more)

    monkeypatch.setattr(photographs, "align_photograph", counted)
    made = import_photographs(
        place / "in", place / "out", aligner, progress=lambda done, total: seen.append(done), threads=2
    )
    # What was told is done was kept, and nothing of it is done again.
    assert seen[0] == kept
    assert len(read) == 12 - kept
    assert content(place / "out") == content(place / "undisturbed")
    assert made.faces.fingerprint() == undisturbed.faces.fingerprint()
    assert sorted(path.name for path in place.iterdir()) == ["in", "out", "points.tsv", "undisturbed"]


def test_killed_while_it_removes_its_work_folder(place: Path) -> None:
    """The set is whole; what is left holds faces and goes, and another import does not believe it."""
    work, aligner = place / ".out.import", by_landmarks(place / "points.tsv")
    killed(place, "removing")
    assert [path.name for path in work.iterdir() if path.name != ".lock"] == ["faces.bin"]
    before = content(place / "out")
    with pytest.raises(FedfrError, match=r"/out already holds files"):
        import_photographs(place / "in", place / "out", aligner)
    assert content(place / "out") == before
    assert not work.exists()

    shutil.rmtree(place / "out")
    killed(place, "removing")
    shutil.rmtree(place / "out")
    (work / "faces").mkdir()
    names = [path.relative_to(place / "in").as_posix() for path in (place / "in").glob("*/*.png")]
    moved = landmarks_file(place / "moved.tsv", names, ARCFACE_TEMPLATE + 30)
    made = import_photographs(place / "in", place / "out", by_landmarks(moved))
    np.testing.assert_array_equal(made.faces.images([0])[0], texture(160, 160, 0)[30:142, 30:142])
    assert not work.exists()


def test_a_photograph_that_changed_in_between_is_done_again(place: Path) -> None:
    killed(place, "12")
    changed = save(place / "in" / "anna" / "0.png", texture(160, 160, 99))
    (place / "in" / "顔 一" / "2.png").unlink()
    os.utime(changed, ns=(1, 1))
    made = import_photographs(place / "in", place / "out", by_landmarks(place / "points.tsv"))
    assert made.faces.counts().tolist() == [5, 4, 2]
    np.testing.assert_array_equal(made.faces.images([5])[0], texture(160, 160, 99)[20:132, 20:132])


def test_an_import_begun_otherwise_is_not_mixed_with(place: Path) -> None:
    killed(place, "5")
    aligner = by_landmarks(place / "points.tsv")
    with pytest.raises(FedfrError) as error:
        import_photographs(place / "in", place / "out", aligner, Limits(size=20))
    assert str(error.value) == (
        f"the unfinished import into {place}/out was started with least_size 56.0, not 20; repeat that command, or "
        f"remove {place}/.out.import to start again"
    )
    assert len(import_photographs(place / "in", place / "out", aligner).faces) == 12


def test_a_second_import_into_the_same_place(place: Path) -> None:
    aligner = by_landmarks(place / "points.tsv")
    work = place / ".out.import"
    work.mkdir()
    with (work / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(FedfrError, match=r"another process imports into .*/out; wait for it or stop it"):
            import_photographs(place / "in", place / "out", aligner)
    import_photographs(place / "in", place / "out", aligner)
    before = content(place / "out")
    with pytest.raises(FedfrError, match=r"/out already holds files; give a new or empty folder"):
        import_photographs(place / "in", place / "out", aligner)
    assert content(place / "out") == before
    assert not work.exists()


def test_a_full_disk_stops_and_the_same_command_goes_on(place: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    command = [sys.executable, "-c", "from fedfr.cli import main; main()", "faces", "import", "in", "out"]
    command += ["--align", "landmarks", "--landmarks", "points.tsv"]
    stopped = subprocess.run(command, cwd=place, capture_output=True, encoding="utf-8", preexec_fn=limit)
    assert stopped.returncode == 2, stopped.stderr
    assert stopped.stderr.splitlines()[-1] == (
        f"fedfr: cannot write {place}/.out.import/faces.bin: File too large; free space or choose a folder that can be "
        "written, then repeat the command to continue"
    )
    seen: list[int] = []
    made = import_photographs(
        place / "in", place / "out", by_landmarks(place / "points.tsv"), progress=lambda done, total: seen.append(done)
    )
    assert seen[0] == 5
    assert len(made.faces) == 12


def test_places_that_cannot_be_written(place: Path) -> None:
    aligner = by_landmarks(place / "points.tsv")
    with pytest.raises(FedfrError, match="cannot write in /proc: "):
        import_photographs(place / "in", "/proc/faces", aligner)
    (place / "file").touch()
    with pytest.raises(FedfrError, match=r"cannot write in .*/file: "):
        import_photographs(place / "in", place / "file" / "faces", aligner)
    assert sorted(path.name for path in place.iterdir()) == ["file", "in", "points.tsv"]


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only(place: Path) -> None:
    (place / "locked").mkdir(mode=0o555)
    with pytest.raises(FedfrError, match=r"cannot write in .*/locked: Permission denied"):
        import_photographs(place / "in", place / "locked" / "faces", by_landmarks(place / "points.tsv"))


def test_folders_that_cannot_be_meant(place: Path) -> None:
    aligner = by_landmarks(place / "points.tsv")
    (place / "empty").mkdir()
    with pytest.raises(FedfrError, match="has no images in sub-folders"):
        import_photographs(place / "empty", place / "out", aligner)
    with pytest.raises(FedfrError, match="nowhere is not a folder"):
        import_photographs(place / "nowhere", place / "out", aligner)
    with pytest.raises(FedfrError, match="are inside one another"):
        import_photographs(place / "in", place / "in" / "out", aligner)
    assert sorted(path.name for path in place.iterdir()) == ["empty", "in", "points.tsv"]


def test_when_no_photograph_gives_a_face_the_list_stays(place: Path) -> None:
    with pytest.raises(FedfrError) as error:
        import_photographs(place / "in", place / "out", by_landmarks(place / "points.tsv"), Limits(size=500))
    assert str(error.value) == (
        f"no photograph in {place}/in has a usable face (12 too-small); {place}/out.skipped.csv lists the reason for "
        "each"
    )
    assert (place / "out.skipped.csv").read_text(encoding="utf-8").count("too-small") == 12
    assert sorted(path.name for path in place.iterdir()) == ["in", "out.skipped.csv", "points.tsv"]


def test_a_sheet_on_request_and_never_over_a_file(place: Path) -> None:
    aligner = by_landmarks(place / "points.tsv")
    made = import_photographs(place / "in", place / "out", aligner, contact_sheet=place / "sheet.html")
    assert (place / "sheet.html").read_text(encoding="utf-8").count("<img") == 12
    assert FaceSet.load(place / "out").fingerprint() == made.faces.fingerprint()
    with pytest.raises(FedfrError, match=r"sheet\.html exists already"):
        import_photographs(place / "in", place / "other", aligner, contact_sheet=place / "sheet.html")
    assert not (place / "other").exists()
