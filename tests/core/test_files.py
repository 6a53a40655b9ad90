"""Atomic writing of files and folders; existing ones are not replaced."""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fedfr.core.errors import FedfrError, InUseError, WriteError
from fedfr.core.files import (
    move_folder,
    parse_json,
    read_file,
    read_json,
    remove_leftovers,
    write_atomically,
    write_folder_atomically,
    write_json,
)
from fedfr.core.locks import locked
from fedfr.federation.journal import Journal
from fedfr.federation.method import GenericModel
from fedfr.federation.private_state import PrivateState
from fedfr.federation.private_store import PrivateStore


def fill(folder: Path) -> None:
    (folder / "a.txt").write_text("new", encoding="utf-8")


@pytest.mark.parametrize("there", [False, True])
def test_a_new_or_empty_folder(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "below" / "folder"
    if there:
        folder.mkdir(parents=True)
    write_folder_atomically(folder, fill)
    assert [path.name for path in folder.parent.rglob("*")] == ["folder", "a.txt"]


def test_existing_files_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("old", encoding="utf-8")
    with pytest.raises(FedfrError, match="folder already holds files and is not replaced; remove it or name a new"):
        write_folder_atomically(tmp_path / "folder", fill)
    with pytest.raises(FedfrError, match=r"cannot write .*Not a directory"):
        write_folder_atomically(tmp_path / "folder" / "a.txt", fill)
    assert (tmp_path / "folder" / "a.txt").read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "a.txt"]


def test_a_folder_created_meanwhile_is_kept(tmp_path: Path) -> None:
    """A folder that another process creates meanwhile is kept."""

    def slow(folder: Path) -> None:
        fill(folder)
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "b.txt").write_text("theirs", encoding="utf-8")

    with pytest.raises(FedfrError, match=r"cannot write .*Directory not empty"):
        write_folder_atomically(tmp_path / "folder", slow)
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "b.txt"]


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".0001.77.tmp").mkdir()
    fill(tmp_path / ".0001.77.tmp")
    write_folder_atomically(tmp_path / "0001", fill)
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["0001", "a.txt"]


@pytest.mark.parametrize("stopped", [FedfrError("no"), KeyboardInterrupt(), RuntimeError("no")])
def test_an_incomplete_folder_is_removed(tmp_path: Path, stopped: BaseException) -> None:
    def stop(folder: Path) -> None:
        (folder / "private").write_text("x", encoding="utf-8")
        raise stopped

    with pytest.raises(type(stopped)):
        write_folder_atomically(tmp_path / "new", stop)
    assert list(tmp_path.iterdir()) == []


class Disk:
    """Names and contents below a folder that survive a power failure, according to the recorded ``fsync`` calls."""

    def __init__(self, folder: Path, sync: Callable[[int], None]) -> None:
        self.folder = folder
        self._sync = sync
        self.names: dict[int, set[str]] = {}
        self.sizes: dict[int, int] = {}

    def fsync(self, descriptor: int) -> None:
        """Record the system's fsync: names of a folder, size of a file."""
        self._sync(descriptor)
        # By number: a folder is renamed with all that was made durable in it.
        number = os.fstat(descriptor).st_ino
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            self.names.setdefault(number, set()).update(os.listdir(descriptor))
        else:
            self.sizes[number] = os.fstat(descriptor).st_size

    def lost(self, before: set[Path]) -> list[str]:
        """Return the new names and contents that a power failure could lose."""
        found = []
        for path in sorted({*self.folder.rglob("*")} - before):
            if path.name not in self.names.get(path.parent.stat().st_ino, ()):
                found.append(f"the name {path.relative_to(self.folder)}")
            if path.is_file() and self.sizes.get(path.stat().st_ino) != path.stat().st_size:
                found.append(f"the content of {path.relative_to(self.folder)}")
        return found


def save_state(folder: Path) -> None:
    store = PrivateStore(folder / "clients" / "client-01", "client-01")
    names = store.identities(["a"])
    store.save(PrivateState(1, {"w": torch.ones(2)}, torch.ones(1, 2), identities=names))


def commit(folder: Path) -> None:
    Journal(folder / "run" / "rounds").commit(1, GenericModel({"w": torch.ones(2)}, torch.ones(1, 2)), {})


def deep(folder: Path) -> None:
    (folder / "a" / "b").mkdir(parents=True)
    for path in (folder / "a.txt", folder / "a" / "b" / "c.txt"):
        path.write_text("new", encoding="utf-8")


def fetched(folder: Path) -> None:
    (folder / "part").mkdir()
    deep(folder / "part")
    move_folder(folder / "part", folder / "whole")


WRITERS: dict[str, Callable[[Path], object]] = {
    "file": lambda folder: write_atomically(folder / "x" / "y" / "z" / "a.bin", b"new"),
    "JSON": lambda folder: write_json(folder / "x" / "a.json", {"a": 1}),
    "folder": lambda folder: write_folder_atomically(folder / "x" / "y" / "z", deep),
    "moved folder": fetched,
    "private state": save_state,
    "round": commit,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_all_names_and_contents_are_durable(writer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All names, including those of created parent folders, and all contents are durable."""
    disk = Disk(tmp_path, os.fsync)
    monkeypatch.setattr(os, "fsync", disk.fsync)
    before = {*tmp_path.rglob("*")}
    WRITERS[writer](tmp_path)
    assert len({*tmp_path.rglob("*")} - before) >= 2
    assert disk.lost(before) == []


def test_the_folder_of_a_lock_is_durable_while_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise files that are written into the folder later could be lost with it."""
    disk = Disk(tmp_path, os.fsync)
    monkeypatch.setattr(os, "fsync", disk.fsync)
    with locked(tmp_path / "private" / "agreement"):
        assert [name for name in disk.lost(set()) if ".lock" not in name] == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_lock_refused_by_the_system_is_reported_as_such(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a network disk without locks the error gives the system's reason."""

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(WriteError, match=rf"cannot lock .*: {os.strerror(number)}; .*\(flock\)"), locked(tmp_path):
        pytest.fail("it has no lock")


def test_a_lock_of_another_process_is_reported_as_such(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(InUseError, match="another process is working on"), locked(tmp_path):
        pytest.fail("it has no lock")


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(FedfrError, match=r"cannot read .*a\.json: it is a folder; check the file"):
        read_json(tmp_path / "a.json")
    store = PrivateStore(tmp_path, "client-01")
    (tmp_path / "private-000001.safetensors").mkdir()
    with pytest.raises(FedfrError, match=r"cannot read private state .*: Is a directory; check the file") as caught:
        store.latest()
    assert "remove it" not in str(caught.value)


def test_a_message_is_one_printable_line_of_bounded_length() -> None:
    error = FedfrError("a\nb\x1b[31m\ud800" + 10**6 * "x" + " the end")
    assert str(error).startswith("a b\\x1b[31m\\ud800xxx")
    assert str(error).endswith("xxx the end")
    assert str(error).isprintable()
    assert len(str(error)) < 2100
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert str(FedfrError("naïve – 名前; mend it")) == "naïve – 名前; mend it"


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "long"])
def test_pipes_do_not_block(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"12345")
    with pytest.raises(OSError, match=r"not a regular file|a folder|it has 5 bytes; at most 4 are read"):
        read_file(path, 4)


def test_json_of_any_kind_is_read_or_refused(tmp_path: Path) -> None:
    for text in (b"[" * 200_000, b"9" * 5000, b"\xff", b"{", b"\xef\xbb\xbf{}"):
        with pytest.raises(ValueError, match=r".") as refused:
            parse_json(text)
        assert not isinstance(refused.value, RecursionError)
        (tmp_path / "a.json").write_bytes(text)
        with pytest.raises(FedfrError, match=r"a\.json is not readable JSON"):
            read_json(tmp_path / "a.json")
