"""Files of a data set and the part (train, test, …) to which each belongs."""

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
    """Whether ``path`` is a Parquet file by name or first bytes, or a folder that holds some, up to one level deep."""
    try:
        if path.is_dir():
            return next(_below(path), None) is not None
        if path.suffix == ".parquet":
            return True
        # Opening a pipe would wait for a writer.
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def parquet_files(path: Path, part: str | None) -> list[Path]:
    """Return the file itself, or the Parquet files of a folder sorted by name; with ``part`` only those of one part.

    The part is the prefix of ``train-00000-of-00003.parquet``; for other names that of the folder
    (``train/0000.parquet``) or the file name.
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
    """Whether ``path`` is a folder written by ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk``."""
    return (path / DICT).is_file() or ((path / STATE).is_file() and (path / "dataset_info.json").is_file())


def saved_files(path: Path, part: str | None) -> list[Path]:
    """Return the Arrow files that the folder's JSON files list, in their order; with ``part`` those of one data set.

    Raises :class:`FedfrError` if a listed file is missing, or if the data set is a selection of rows by index.
    """
    if not (path / DICT).is_file():
        return files_of_part(dict.fromkeys(_dataset_files(path), path.name), part, path)
    parts = _entry(path / DICT, "splits")
    files = {file: str(name) for name in parts for file in _dataset_files(_inside(path, name, path / DICT))}
    return files_of_part(files, part, path)


def _dataset_files(folder: Path) -> list[Path]:
    state = folder / STATE
    if read_json(state).get("_indices_files") if state.is_file() else False:
        raise FedfrError(f"{folder} is a selection of rows by index; call Dataset.flatten_indices before saving it")
    names = [file.get("filename") if isinstance(file, dict) else None for file in _entry(state, "_data_files")]
    return [_inside(folder, name, state) for name in names]


def _entry(path: Path, key: str) -> list[Any]:
    content = read_json(path)
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, list) or not value:
        raise FedfrError(f"{path} has no list {key!r}; save the data set again")
    return value


def _inside(folder: Path, name: object, listed_in: Path) -> Path:
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise FedfrError(f"{listed_in} lists {name!r}, which is not a file name in its folder; save the data set again")
    return folder / name


def files_of_part(parts: dict[Path, str], part: str | None, source: Path) -> list[Path]:
    """Return the files of one part, or all; raises :class:`FedfrError` listing the parts if there is no such part."""
    chosen = [file for file, of in parts.items() if part in (None, of)]
    if not parts:
        raise FedfrError(f"{source} holds no data files; give a data set with images")
    if not chosen:
        raise FedfrError(f"{source} has no part {part!r}; it has {', '.join(sorted(set(parts.values())))}")
    return chosen
