"""Writing folders: whole or not at all, and never in place of another."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedfr.errors import FedfrError
from fedfr.files import remove_leftovers, write_folder_atomically


def fill(folder: Path) -> None:
    (folder / "a.txt").write_text("new", encoding="utf-8")


@pytest.mark.parametrize("there", [False, True])
def test_a_new_or_empty_folder(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "below" / "folder"
    if there:
        folder.mkdir(parents=True)
    write_folder_atomically(folder, fill)
    assert [path.name for path in folder.parent.rglob("*")] == ["folder", "a.txt"]


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("old", encoding="utf-8")
    with pytest.raises(FedfrError, match="folder already holds files and is not replaced; remove it or name a new"):
        write_folder_atomically(tmp_path / "folder", fill)
    with pytest.raises(FedfrError, match=r"cannot write .*Not a directory"):
        write_folder_atomically(tmp_path / "folder" / "a.txt", fill)
    assert (tmp_path / "folder" / "a.txt").read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "a.txt"]


def test_what_appears_meanwhile_stays(tmp_path: Path) -> None:
    """Another process was faster: its folder stands, whatever moment it came at."""

    def slow(folder: Path) -> None:
        fill(folder)
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "b.txt").write_text("theirs", encoding="utf-8")

    with pytest.raises(FedfrError, match=r"cannot write .*Directory not empty"):
        write_folder_atomically(tmp_path / "folder", slow)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "b.txt"]


def test_leftovers_of_a_killed_writer_go(tmp_path: Path) -> None:
    (tmp_path / ".0001.77.tmp").mkdir()
    fill(tmp_path / ".0001.77.tmp")
    write_folder_atomically(tmp_path / "0001", fill)
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["0001", "a.txt"]


@pytest.mark.parametrize("stopped", [FedfrError("no"), KeyboardInterrupt(), RuntimeError("no")])
def test_nothing_stays_of_a_folder_whose_filling_stopped(tmp_path: Path, stopped: BaseException) -> None:
    def stop(folder: Path) -> None:
        (folder / "private").write_text("x", encoding="utf-8")
        raise stopped

    with pytest.raises(type(stopped)):
        write_folder_atomically(tmp_path / "new", stop)
    assert list(tmp_path.iterdir()) == []
