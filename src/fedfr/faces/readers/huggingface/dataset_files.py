"""Where the files of a data set lie, and of which part (train, test, …) each is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json

__all__ = ["files_of_part", "is_parquet", "is_saved_dataset", "parquet_files", "saved_files"]

MAGIC = b"PAR1"
SHARD = re.compile(r"(?P<part>.+?)-\d+-of-\d+")
DICT, STATE = "dataset_dict.json", "state.json"


def is_parquet(path: Path) -> bool:
    """Whether it is a Parquet file by its name or first bytes, or a folder with some in it or one below."""
    try:
        if path.is_dir():
            return next(_below(path), None) is not None
        if path.suffix == ".parquet":
            return True
        # Who opens a pipe waits for a writer.
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def parquet_files(path: Path, part: str | None) -> list[Path]:
    """The file, or all of a folder in order of their names; with ``part`` those of ``part-00000-of-00003.parquet``.

    A file without such a name belongs to the part called as its folder (``train/0000.parquet``) or as itself.
    """
    if not path.is_dir():
        return files_of_part({path: _part_of(path, path.parent)}, part, path)
    files = sorted(_below(path))
    return files_of_part({file: _part_of(file, path) for file in files}, part, path)


def _below(folder: Path) -> Iterator[Path]:
    below = (entry.glob("*.parquet") for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")
    found = chain(folder.glob("*.parquet"), chain.from_iterable(below))
    return (file for file in found if not file.name.startswith((".", "metadata.")))


def _part_of(file: Path, source: Path) -> str:
    shard = SHARD.fullmatch(file.stem)
    if shard:
        return shard["part"]
    return file.stem if file.parent.name == "data" or file.parent == source else file.parent.name


def is_saved_dataset(path: Path) -> bool:
    """Whether ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk`` wrote the folder."""
    return (path / DICT).is_file() or ((path / STATE).is_file() and (path / "dataset_info.json").is_file())


def saved_files(path: Path, part: str | None) -> list[Path]:
    """The Arrow files that the folder's JSON names, in their order; with ``part`` those of one of its data sets.

    Raises :class:`FedfrError` for a folder that does not hold what it names, or that keeps a list of rows beside them.
    """
    if not (path / DICT).is_file():
        return files_of_part(dict.fromkeys(_dataset_files(path), path.name), part, path)
    parts = _entry(path / DICT, "splits")
    files = {file: str(name) for name in parts for file in _dataset_files(_inside(path, name, path / DICT))}
    return files_of_part(files, part, path)


def _dataset_files(folder: Path) -> list[Path]:
    state = folder / STATE
    if read_json(state).get("_indices_files") if state.is_file() else False:
        raise FedfrError(f"{folder} keeps its rows as a choice from others; save it with Dataset.flatten_indices first")
    names = [file.get("filename") if isinstance(file, dict) else None for file in _entry(state, "_data_files")]
    return [_inside(folder, name, state) for name in names]


def _entry(path: Path, key: str) -> list[Any]:
    content = read_json(path)
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, list) or not value:
        raise FedfrError(f"{path} has no list {key!r}; save the data set again")
    return value


def _inside(folder: Path, name: object, said_in: Path) -> Path:
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise FedfrError(f"{said_in} names {name!r}, which is no file beside it; save the data set again")
    return folder / name


def files_of_part(parts: dict[Path, str], part: str | None, source: Path) -> list[Path]:
    """Files of one part, or all; raises :class:`FedfrError` naming the parts there are."""
    chosen = [file for file, of in parts.items() if part in (None, of)]
    if not parts:
        raise FedfrError(f"{source} holds no data files; give a data set with images")
    if not chosen:
        raise FedfrError(f"{source} has no part {part!r}; it has {', '.join(sorted(set(parts.values())))}")
    return chosen
