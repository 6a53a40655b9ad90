"""Reading of text files that list identities."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

from fedfr.core.errors import FedfrError

__all__ = ["read_identities"]


def read_identities(path: str | os.PathLike[str], known: Iterable[str] = ()) -> tuple[str, ...]:
    """Read names of identities from a text file: the first tab-separated column of lines not starting with ``#``.

    Where no name in it is among ``known``, the identities of a set, the first column is read that has one: a list of
    people in two sets thus serves for either.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise FedfrError(f"{path} does not exist; give a text file with one name per line") from error
    except OSError as error:
        raise FedfrError(f"cannot read {path}: {error.strerror or error}; check the file") from error
    except UnicodeDecodeError as error:
        raise FedfrError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    columns = (tuple(dict.fromkeys(filter(None, map(str.strip, each)))) for each in zip_longest(*rows, fillvalue=""))
    first, wanted = next(columns, ()), set(known)
    if not first:
        raise FedfrError(f"{path} names no identity; give a text file with one name per line")
    if not wanted or not wanted.isdisjoint(first):
        return first
    return next((names for names in columns if not wanted.isdisjoint(names)), first)
