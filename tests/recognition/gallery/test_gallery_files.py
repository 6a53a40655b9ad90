"""Files of a gallery in a folder that other programs can write, and what a killed export leaves."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from tests.support.galleries import filled_gallery, read_everything
from tests.support.gallery_traces import sealed_pieces
from tests.support.kill_steps import found_in, killed_at_every_step

from fedfr.recognition.gallery import encryption
from fedfr.recognition.gallery.gallery import Gallery


def test_a_killed_export_leaves_nothing_that_opens_with_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is removed afterwards would be in it: only the gallery's own folder may hold records of its key."""
    monkeypatch.setattr(encryption, "_COST", min(encryption._COSTS))
    door, outside = tmp_path / "door", tmp_path / "outside"
    outside.mkdir()
    filled_gallery(door).close()
    with Gallery.open(door) as gallery:
        ada = gallery.persons()[0].id
        before = read_everything(gallery)
    pieces = {name: piece for name, piece in sealed_pieces(door, ada).items() if not name.startswith("id ")}

    def export() -> None:
        with Gallery.open(door) as gallery:
            gallery.export(outside / "copy", "correct horse")

    left = 0
    for _ in killed_at_every_step(lambda: None, export, stride=29):
        left += (door / ".copy.tmp").exists()
        assert found_in(outside, pieces) == []
        with Gallery.open(door):
            assert not (door / ".copy.tmp").exists()
    assert left > 1
    with Gallery.open(outside / "copy", "correct horse") as copy:
        assert read_everything(copy) == before


def test_links_and_other_files_are_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encryption, "_COST", min(encryption._COSTS))
    door = tmp_path / "door"
    (tmp_path / "private").write_bytes(b"of somebody else")
    with filled_gallery(door) as gallery:
        (door / "models").mkdir()
        (door / "models" / "a.onnx").symlink_to(tmp_path / "private")
        (door / "models" / "b.onnx").write_bytes(b"weights")
        (door / "site.key.bak").write_bytes((door / "site.key").read_bytes())
        gallery.export(tmp_path / "copy", "correct horse")
    copied = sorted(path.name for path in (tmp_path / "copy").rglob("*") if path.is_file())
    assert copied == ["b.onnx", "gallery.db", "gallery.yaml", "site.key"]
    assert stat.S_IMODE((tmp_path / "copy" / "gallery.db").stat().st_mode) == 0o600


def test_a_key_that_only_claims_to_fit_replaces_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file for a passphrase names the id of its key; without the key anybody can write it."""
    monkeypatch.setattr(encryption, "_COST", min(encryption._COSTS))
    door, planted = tmp_path / "door", tmp_path / "door" / "site.key.new"
    with filled_gallery(door) as gallery:
        before, key = read_everything(gallery), (door / "site.key").read_bytes()
        made = encryption.SiteKey.create(planted, "another passphrase")
        planted.write_text(planted.read_text().replace(made.id, gallery.key.id))
    with Gallery.open(door) as gallery:
        assert read_everything(gallery) == before
    assert (door / "site.key").read_bytes() == key
    assert not planted.exists()


@pytest.mark.parametrize("link", [False, True])
def test_a_new_key_is_not_written_into_a_file_that_was_there(link: bool, tmp_path: Path) -> None:
    """Another user who can write in the folder makes the temporary file beforehand, and keeps it open."""
    door, planted = tmp_path / "door", tmp_path / "door" / f".site.key.new.{os.getpid()}.tmp"
    with filled_gallery(door) as gallery:
        seen = tmp_path / "seen" if link else planted
        seen.touch(0o666)
        if link:
            planted.symlink_to(seen)
        with seen.open("rb") as watched:
            gallery.rekey()
            assert watched.read() == b""
        assert stat.S_IMODE((door / "site.key").lstat().st_mode) == 0o600
    with Gallery.open(door) as gallery:
        read_everything(gallery)
