"""The files of one RecordIO face set: ``train.rec``, and beside it ``train.idx`` and ``property`` where they exist."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedfr.core.errors import FedfrError

__all__ = ["RecordioFiles", "find_recordio_files", "is_recordio", "read_property"]

SUFFIX = ".rec"


@dataclass(frozen=True)
class RecordioFiles:
    """``index`` and ``property`` are None where there is none."""

    records: Path
    index: Path | None
    property: Path | None


def is_recordio(path: Path) -> bool:
    """Whether the name says so: a ``.rec``, or a folder with one in it; what it holds is not looked at."""
    try:
        return path.suffix == SUFFIX or (path.is_dir() and any(path.glob(f"*{SUFFIX}")))
    except OSError:
        return False


def find_recordio_files(path: Path) -> RecordioFiles:
    """The files that ``path`` means: a ``.rec`` of any name, or a folder with ``train.rec`` or one ``.rec`` in it.

    Raises :class:`FedfrError` for a folder with none or several, and for a name that is not UTF-8.
    """
    path = path.resolve()
    if path.is_dir():
        path = _only_one(path)
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise FedfrError(f"{str(path)!r} has a name that is not UTF-8; rename it") from error
    index, facts = path.with_suffix(".idx"), path.with_name("property")
    return RecordioFiles(path, index if index.exists() else None, facts if facts.is_file() else None)


def _only_one(folder: Path) -> Path:
    try:
        found = sorted(folder.glob(f"*{SUFFIX}"))
    except OSError as error:
        raise FedfrError(f"cannot read the folder {folder}: {error.strerror or error}; check the path") from error
    if folder / "train.rec" in found:
        return folder / "train.rec"
    if len(found) == 1:
        return found[0]
    there = f"{', '.join(path.name for path in found[:4])}; name one of them" if found else "none; give a train.rec"
    raise FedfrError(f"{folder} should hold one .rec file, it holds {there}")


def read_property(path: Path) -> int | None:
    """How many identities InsightFace's ``property`` names (``identities,height,width``); None: unreadable."""
    try:
        numbers = path.read_text(encoding="ascii").strip().split(",")
    except (OSError, UnicodeDecodeError):
        return None
    return int(numbers[0]) if len(numbers) == 3 and all(number.isdecimal() for number in numbers) else None
