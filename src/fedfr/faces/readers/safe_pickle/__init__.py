"""Reading of pickles of plain data without unpickling.

>>> import pickle
>>> from fedfr.faces.readers.safe_pickle import read_plain_pickle
>>> read_plain_pickle(pickle.dumps(([b"image"], [True])))
([b'image'], [True])
"""

from __future__ import annotations

from fedfr.faces.readers.safe_pickle.machine import read_plain_pickle
from fedfr.faces.readers.safe_pickle.operations import PlainPickleError

__all__ = ["PlainPickleError", "read_plain_pickle"]


def __dir__() -> list[str]:
    return sorted(__all__)
