"""Targets that read galleries of enrolled people."""

from __future__ import annotations

from pathlib import Path

from tests.support.fuzz.targets import Target
from tests.support.galleries import filled_gallery, read_everything

from fedfr.recognition.gallery.encryption import SiteKey
from fedfr.recognition.gallery.gallery import Gallery

__all__ = ["TARGETS"]


def _make(folder: Path) -> None:
    filled_gallery(folder / "door").close()
    (folder / "door" / ".lock").unlink()


def _read(folder: Path) -> None:
    with Gallery.open(folder / "door") as gallery:
        read_everything(gallery)


def _make_key(folder: Path) -> None:
    SiteKey.create(folder / "site.key", "correct horse")


TARGETS = {
    "gallery": Target(
        (
            *(f"recognition.gallery.{name}" for name in ("gallery", "gallery_settings", "journal", "person_photos")),
            "recognition.gallery.spaces",
        ),
        _make,
        _read,
    ),
    "gallery key": Target(
        ("recognition.gallery.encryption", "core.secret_files"),
        _make_key,
        lambda folder: SiteKey.open(folder / "site.key", "correct horse"),
        cost=5,
    ),
}
