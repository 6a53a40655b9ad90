"""Pickles of plain data, read without unpickling."""

from __future__ import annotations

from fedfr.faces.readers.safe_pickle.machine import read_plain_pickle
from fedfr.faces.readers.safe_pickle.operations import PlainPickleError

__all__ = ["PlainPickleError", "read_plain_pickle"]


def __dir__() -> list[str]:
    return sorted(__all__)
