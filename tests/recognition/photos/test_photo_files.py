"""Photo files by path, folder and pattern."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedfr.core.errors import FedfrError
from fedfr.recognition.photos.photo_files import photo_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "b.JPG",
        "a 1.png",
        "[x].png",
        "notes.txt",
        ".hidden.png",
        "more/c.webp",
        ".trash/d.png",
        "empty/e.txt",
    ):
        file = tmp_path / "photos of ada" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    return tmp_path / "photos of ada"


def test_folders_patterns_and_files_are_expanded_once(folder: Path) -> None:
    everything = [folder / name for name in ("[x].png", "a 1.png", "b.JPG", "more/c.webp")]
    assert photo_files([folder]) == everything
    assert photo_files([str(folder / "*.png")]) == everything[:2]
    assert photo_files([f"{folder}/**/*.webp"]) == everything[3:]
    assert photo_files([folder / "b.JPG", folder]) == [everything[2], *everything[:2], everything[3]]
    assert photo_files([folder / "[x].png"]) == everything[:1], "a file with this name comes before the pattern"
    assert photo_files([folder / "notes.txt"]) == [folder / "notes.txt"], "a named file is judged when it is read"


@pytest.mark.parametrize(
    ("name", "message"),
    [("empty", "holds no image"), ("none.png", "no photo"), ("*.gif", "no photo"), ("empt*", "no image matches")],
)
def test_nothing_to_read_is_an_error(folder: Path, name: str, message: str) -> None:
    with pytest.raises(FedfrError, match=message):
        photo_files([folder / name])
    with pytest.raises(FedfrError, match="no photo is given"):
        photo_files([])
