"""What an erasure cannot remove, and where it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fedfr.core.files import read_file
from fedfr.deployment.erasure.journal import JOURNAL, Erasure, StoreErasure
from fedfr.deployment.erasure.search import site_files
from fedfr.deployment.site_config import SiteConfig
from fedfr.deployment.site_exports import exported_models
from fedfr.faces.erasing import SET_FILES
from fedfr.faces.name_mentions import Mentions

__all__ = ["Remainder", "remaining"]

Remainder = dict[str, str]
"""What remains, ``where``, and ``advice``: what can be done about it."""

# Files of numbers: a short name could occur in them by chance.
_NUMBERS = (".safetensors", ".npy", ".npz", ".db", ".onnx")
_LARGEST = 1 << 26


def remaining(erasure: Erasure, config: SiteConfig, folder: Path, *, cleared: bool) -> list[Remainder]:
    """Return what remains; ``cleared``: whether the galleries hold no sealed traces."""
    return [
        *_averages(erasure),
        *_models(erasure, config),
        *_gallery_copies(erasure, cleared=cleared),
        *_published(erasure),
        *_mentioned(erasure, config, folder),
        _entry(
            "backups and other copies of the site's folder, of its galleries and of the original photos",
            "wherever they were made",
            "delete them or let them expire; a copy of a gallery is useless once its old key is destroyed "
            "(fedfr gallery rekey)",
        ),
        _entry(
            "blocks of the disk that are free but not overwritten",
            "the disks of this machine",
            "use an encrypted disk; solid-state disks overwrite such blocks at their own time",
        ),
    ]


def averaged_rounds(store: StoreErasure) -> str:
    """Return in which rounds the person contributed to averages."""
    return f"rounds {store.first or 'unknown (perhaps 1)'} to {store.last or 'unknown'}"


def _entry(what: str, where: str, advice: str) -> Remainder:
    return {"what": what, "where": where, "advice": advice}


def _averages(erasure: Erasure) -> Iterator[Remainder]:
    for store in erasure.stores:
        run = f"run {store.run}" if store.run else "an earlier run"
        yield _entry(
            f"the person's share in the averaged models of {run}, {averaged_rounds(store)}",
            f"the coordinator and every site of agreement {store.agreement}",
            "give this receipt to the coordinator: `fedfr server forget` says whether the model of the last round "
            "before is still there, and continues from it",
        )


def _models(erasure: Erasure, config: SiteConfig) -> Iterator[Remainder]:
    if not erasure.trained:
        return
    for store in erasure.stores:
        if store.states and erasure.remedy == "note":
            yield _entry(
                "the site's own models: without the person's rows, but trained with the person's images",
                store.folder,
                "training continues from them; `--remedy retrain` removes them, and the next round trains new ones",
            )
    for export in exported_models(Path(config.private)):
        there = "" if Path(export.path).exists() else " (not there any more; it may have been moved)"
        yield _entry(
            f"a personalized model of round {export.round}, exported {export.written}",
            f"{export.path}{there}",
            "delete it and its copies, and export again after the next round",
        )
    for place in dict.fromkeys(gallery.folder for gallery in erasure.galleries):
        yield _entry(
            "the model in use, which may have been trained with the person's images",
            place,
            "rebuild the gallery for the model of the next round (fedfr gallery rebuild)",
        )


def _gallery_copies(erasure: Erasure, *, cleared: bool) -> Iterator[Remainder]:
    for place, exports in {gallery.folder: gallery.exports for gallery in erasure.galleries}.items():
        if exports:
            yield _entry(
                f"{exports} exported copies, if they were made while the person was enrolled",
                f"made from {place} (fedfr gallery export)",
                "remove the person there as well, or delete the copies",
            )
    if not cleared:
        yield _entry(
            "sealed traces without their key, because another process read a gallery",
            ", ".join(gallery.folder for gallery in erasure.galleries if gallery.person),
            "they disappear with the gallery's next change or opening",
        )


def _published(erasure: Erasure) -> Iterator[Remainder]:
    for what in erasure.published:
        yield _entry(
            f"the same name or image among the {what}",
            "the coordinator, and every site that downloaded them",
            "tell the coordinator, who publishes them",
        )


def _mentioned(erasure: Erasure, config: SiteConfig, folder: Path) -> Iterator[Remainder]:
    sources = sorted({each.source for each in erasure.sets if each.source})
    for source in sources:
        yield _entry(
            "images in the RecordIO file from which a set was imported; the set has its own copies of the others now",
            source,
            "delete the file, or remove the person from it",
        )
    journal, found = Path(config.private).resolve() / JOURNAL, dict[Path, None]()
    for path in site_files(config, folder):
        place = _named_part(erasure.mentions, folder, path)
        readable = path.name not in SET_FILES and path.suffix not in _NUMBERS and path != journal
        if place is None and readable and _in_file(erasure.mentions, path):
            place = path
        if place is not None:
            found[place] = None
    for place in found:
        yield _entry(
            "a file or folder that mentions the name, or cannot be read",
            str(place),
            "it is not of fedfr: delete or change it",
        )


def _in_file(mentions: Mentions, path: Path) -> bool:
    """Whether a file mentions the name, or cannot be read, so that it may."""
    try:
        return path.stat().st_size <= _LARGEST and mentions.in_bytes(read_file(path))
    except OSError:
        return not path.is_socket() and not path.is_fifo()


def _named_part(mentions: Mentions, folder: Path, path: Path) -> Path | None:
    """Return the file, or the first folder on the way to it, whose own name is that of the person."""
    parts = path.relative_to(folder).parts
    named = (number for number, part in enumerate(parts) if mentions.in_text(Path(part).stem))
    return next((folder.joinpath(*parts[: number + 1]) for number in named), None)
