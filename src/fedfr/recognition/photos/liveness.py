"""Hook for a liveness check of another package; fedfr has none of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.core.named_objects import import_object, is_dotted

__all__ = ["LivenessCheck", "is_living", "load_check"]

LivenessCheck: TypeAlias = Callable[[NDArray[np.uint8], NDArray[np.uint8]], bool]
"""``check(frame, crop)``: whether the face is that of a living person.

``frame`` is the whole image, uint8 RGB (height, width, 3), and ``crop`` the aligned face (112, 112, 3) in it.
"""

_KIND = "liveness check"


def load_check(name: str) -> LivenessCheck | None:
    """Import the check called ``package.module:attribute``; returns None for an empty name.

    Raises :class:`FedfrError` if there is none of this name, or if it cannot be called.
    """
    if not name:
        return None
    if not is_dotted(name):
        raise FedfrError(f"{_KIND} {name!r} is not of the form package.module:attribute; correct it in gallery.yaml")
    check = import_object(_KIND, name)
    if not callable(check):
        raise FedfrError(f"{_KIND} {name!r} is a {type(check).__name__}; name a function check(frame, crop)")
    found: LivenessCheck = check
    return found


def is_living(check: LivenessCheck | None, frame: NDArray[np.uint8], crop: NDArray[np.uint8]) -> bool:
    """Return the answer of ``check``; True without one.

    The check gets copies. Raises :class:`FedfrError` if it fails or does not return a bool: a check that does not work
    must not let a face pass.
    """
    if check is None:
        return True
    try:
        answer = check(frame.copy(), crop.copy())
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise FedfrError(f"the {_KIND} failed ({type(error).__name__}: {reason}); correct it") from error
    if not isinstance(answer, bool | np.bool_):
        raise FedfrError(f"the {_KIND} returned a {type(answer).__name__}; let it return True or False")
    return bool(answer)
