"""Files of a RecordIO face set: ``train.rec`` and the optional ``train.idx`` and ``property`` beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedfr.core.errors import FedfrError

__all__ = ["RecordioFiles", "find_recordio_files", "is_recordio", "read_property"]

SUFFIX = ".rec"


@dataclass(frozen=True)
class RecordioFiles:
    """Paths of the files of one set; ``index`` and ``property`` are None if they do not exist."""

    records: Path
    index: Path | None
    property: Path | None


def is_recordio(path: Path) -> bool:
    """Whether ``path`` is a ``.rec`` or a folder that holds one, by name alone."""
    try:
        return path.suffix == SUFFIX or (path.is_dir() and any(path.glob(f"*{SUFFIX}")))
    except OSError:
        return False


def find_recordio_files(path: Path) -> RecordioFiles:
    """Find the files of the set at ``path``: a ``.rec`` of any name, or a folder with ``train.rec`` or one ``.rec``.

    Raises :class:`FedfrError` for a folder with none or several, and for a name that is not UTF-8.
    """
    path = path.resolve()
    if path.is_dir():
        path = _only_one(path)
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise FedfrError(f"{str(path)!r} has a name that is not UTF-8; rename it") from error
    index, properties = path.with_suffix(".idx"), path.with_name("property")
    return RecordioFiles(path, index if index.exists() else None, properties if properties.is_file() else None)


def _only_one(folder: Path) -> Path:
    try:
        found = sorted(folder.glob(f"*{SUFFIX}"))
    except OSError as error:
        raise FedfrError(f"cannot read the folder {folder}: {error.strerror or error}; check the path") from error
    if folder / "train.rec" in found:
        return folder / "train.rec"
    if len(found) == 1:
        return found[0]
    content = f"{', '.join(path.name for path in found[:4])}; give one of them" if found else "none; give a train.rec"
    raise FedfrError(f"{folder} should hold one .rec file, it holds {content}")


def read_property(path: Path) -> int | None:
    """Return the identities count in InsightFace's ``property`` (``identities,height,width``); None if unreadable."""
    try:
        numbers = path.read_text(encoding="ascii").strip().split(",")
    except (OSError, UnicodeDecodeError):
        return None
    return int(numbers[0]) if len(numbers) == 3 and all(number.isdecimal() for number in numbers) else None
