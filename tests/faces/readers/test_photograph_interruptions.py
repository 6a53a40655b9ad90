"""Imports of photographs that are killed, repeated, changed or stopped by a full disk."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.photograph_files import (
    landmarks_file,
    save,
    texture,
)
from tests.support.photograph_imports import by_landmarks, content

from fedfr.core.errors import FedfrError
from fedfr.faces import import_photographs
from fedfr.faces.alignment.photographs import Limits, Outcome, align_photograph
from fedfr.faces.alignment.template import ARCFACE_TEMPLATE
from fedfr.faces.readers import photograph_import

SCRIPT = """
import os, shutil, signal, sys
from pathlib import Path
from fedfr.faces.readers import photograph_import
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
    setattr(photograph_import, moment, die)
elif moment == "removing":  # the work folder, whose plan is gone by then
    plain = shutil.rmtree
    shutil.rmtree = lambda path, **how: die() if Path(path).suffix == ".import" else plain(path, **how)
elif moment == "moved":
    photograph_import.move_folder = after(photograph_import.move_folder)

def progress(done, total):
    if str(done) == moment:
        die()

aligner = make_aligner("landmarks", AlignerFiles(landmarks=place / "points.tsv"))
photograph_import.import_photographs(place / "in", place / "out", aligner, progress=progress, threads=threads)
"""


def killed(place: Path, moment: str, threads: int = 2) -> None:
    command = [sys.executable, "-c", SCRIPT, str(place), moment, str(threads)]
    assert subprocess.run(command).returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    "moments", [("3", "7"), ("12", "write_faces"), ("move_folder",), ("moved",), ("remove_workspace",)]
)
def test_a_killed_import_is_resumed_to_the_bit(
    place: Path, monkeypatch: pytest.MonkeyPatch, moments: tuple[str, ...]
) -> None:
    """SIGKILL in a separate process: during alignment, and around every later step."""
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

    monkeypatch.setattr(photograph_import, "align_photograph", counted)
    made = import_photographs(
        place / "in", place / "out", aligner, progress=lambda done, total: seen.append(done), threads=2
    )
    # What was told is done was kept, and nothing of it is done again.
    assert seen[0] == kept
    assert len(read) == 12 - kept
    assert content(place / "out") == content(place / "undisturbed")
    assert made.faces.fingerprint() == undisturbed.faces.fingerprint()
    assert sorted(path.name for path in place.iterdir()) == ["in", "out", "points.tsv", "undisturbed"]


def test_killed_while_removing_its_work_folder(place: Path) -> None:
    """The set is complete; the leftover work folder is removed and not reused by another import."""
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


def test_a_changed_photograph_is_aligned_again(place: Path) -> None:
    killed(place, "12")
    changed = save(place / "in" / "anna" / "0.png", texture(160, 160, 99))
    (place / "in" / "顔 一" / "2.png").unlink()
    os.utime(changed, ns=(1, 1))
    made = import_photographs(place / "in", place / "out", by_landmarks(place / "points.tsv"))
    assert made.faces.counts().tolist() == [5, 4, 2]
    np.testing.assert_array_equal(made.faces.images([5])[0], texture(160, 160, 99)[20:132, 20:132])


def test_an_import_with_other_options_is_refused(place: Path) -> None:
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


def test_an_import_stopped_by_a_full_disk_is_resumed(place: Path) -> None:
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
