"""Pickles of plain data, read without unpickling."""

from __future__ import annotations

from fedfr.faces.pickles.machine import read_plain_pickle
from fedfr.faces.pickles.operations import PlainPickleError

__all__ = ["PlainPickleError", "read_plain_pickle"]


def __dir__() -> list[str]:
    return sorted(__all__)
