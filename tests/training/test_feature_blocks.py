"""Stored feature blocks: resumable, never mixed, never partial."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError, WriteError
from fedfr.training.feature_blocks import FEATURE_BLOCK, FeatureBlocks

COUNT = 2 * FEATURE_BLOCK + 100
ABOUT = {"weights": "sha256:1", "flip": True}
ALL = np.random.default_rng(0).normal(size=(COUNT, 3)).astype(np.float32)


class Maker:
    """Source of features that records requests and raises before a given one, like a killed process."""

    def __init__(self, stop_at: int = COUNT) -> None:
        self.asked: list[tuple[int, int]] = []
        self._stop_at = stop_at

    def __call__(self, first: int, stop: int) -> NDArray[np.float32]:
        if first >= self._stop_at:
            raise KeyboardInterrupt
        self.asked.append((first, stop))
        return ALL[first:stop]


def read(folder: Path, maker: Maker, about: dict[str, object] | None = None) -> NDArray[np.float32]:
    return np.concatenate(list(FeatureBlocks(folder, COUNT, ABOUT if about is None else about).blocks(maker)))


def test_stored_blocks_are_not_recomputed(tmp_path: Path) -> None:
    folder, killed = tmp_path / "ä b", Maker(FEATURE_BLOCK)
    with pytest.raises(KeyboardInterrupt):
        read(folder, killed)
    assert killed.asked == [(0, FEATURE_BLOCK)]
    (folder / ".000001.npz.999.tmp").write_bytes(b"half")
    rest, nothing = Maker(), Maker()
    np.testing.assert_array_equal(read(folder, rest), ALL)
    assert rest.asked == [(FEATURE_BLOCK, 2 * FEATURE_BLOCK), (2 * FEATURE_BLOCK, COUNT)]
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock",
        "000000.npz",
        "000001.npz",
        "000002.npz",
        "features.json",
    ]
    np.testing.assert_array_equal(read(folder, nothing), ALL)
    assert nothing.asked == []


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other shape", "other type", "text"])
def test_a_damaged_block_is_recomputed(damage: str, tmp_path: Path) -> None:
    read(tmp_path / "f", Maker())
    path = tmp_path / "f" / "000001.npz"
    content = path.read_bytes()
    middle = len(content) // 2
    if damage == "other shape":
        np.savez(path, features=ALL[:5])
    elif damage == "other type":
        np.savez(path, features=ALL[FEATURE_BLOCK : 2 * FEATURE_BLOCK].astype(np.float64))
    else:
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes({"cut": content[:-30], "flipped": flipped, "empty": b"", "text": b"hello"}[damage])
    again = Maker()
    np.testing.assert_array_equal(read(tmp_path / "f", again), ALL)
    assert again.asked == [(FEATURE_BLOCK, 2 * FEATURE_BLOCK)]


def test_features_of_other_images_are_refused(tmp_path: Path) -> None:
    read(tmp_path / "f", Maker())
    with pytest.raises(
        FedfrError, match=r"with weights 'sha256:1', but this command.* with weights 'sha256:2'; give another"
    ):
        read(tmp_path / "f", Maker(), {**ABOUT, "weights": "sha256:2"})
    with pytest.raises(FedfrError, match=r"with flip True, but .*with flip False"):
        read(tmp_path / "f", Maker(), {**ABOUT, "flip": False})
    with pytest.raises(FedfrError, match=f"with images {COUNT}, but .*with images 7"):
        list(FeatureBlocks(tmp_path / "f", 7, ABOUT).blocks(Maker()))


def test_unusable_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(FedfrError, match="other contains other files; give a new or empty folder for the features"):
        read(tmp_path / "other", Maker())
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.tex"]
    (tmp_path / "file").touch()
    for name, reason in (("file", "Not a directory"), ("file/f", "Not a directory")):
        with pytest.raises(FedfrError, match=f"cannot write in .*{name}: {reason}"):
            read(tmp_path / name, Maker())
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "features.json").write_text("{")
    with pytest.raises(FedfrError, match=r"features.json is not readable JSON"):
        read(tmp_path / "f", Maker())


def test_only_one_process_at_a_time(tmp_path: Path) -> None:
    read(tmp_path / "f", Maker())
    other = os.open(tmp_path / "f" / ".lock", os.O_RDWR)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(FedfrError, match=r"another process is working on .*f; wait for it or stop it"):
            read(tmp_path / "f", Maker())
    finally:
        os.close(other)


def test_a_block_that_cannot_be_written_loses_none_before_it(tmp_path: Path) -> None:
    """A folder occupies the name of the second block; once it is removed, extraction continues."""
    folder, first = tmp_path / "f", Maker(FEATURE_BLOCK)
    with pytest.raises(KeyboardInterrupt):
        read(folder, first)
    (folder / "000001.npz").mkdir()
    with pytest.raises(WriteError, match=r"cannot write .*000001.npz: Is a directory; free space or choose a folder"):
        read(folder, Maker())
    (folder / "000001.npz").rmdir()
    rest = Maker()
    np.testing.assert_array_equal(read(folder, rest), ALL)
    assert rest.asked[0] == (FEATURE_BLOCK, 2 * FEATURE_BLOCK)


def test_a_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's own error, as a write on /dev/full gives it."""
    folder = tmp_path / "f"
    with pytest.raises(KeyboardInterrupt):
        read(folder, Maker(FEATURE_BLOCK))
    real = np.savez

    def full(file: object, *, features: NDArray[np.float32]) -> None:
        with Path("/dev/full").open("wb") as device:
            real(device, features=features)

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(WriteError, match=r"cannot write .*000001.npz: No space left on device"):
        read(folder, Maker())
    monkeypatch.undo()
    np.testing.assert_array_equal(read(folder, Maker()), ALL)
