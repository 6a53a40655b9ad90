"""Short ``repr`` of large objects: sizes instead of contents, no names of identities, no absolute paths."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import fields
from pathlib import PurePath
from typing import Any, ClassVar

__all__ = ["Brief", "brief"]

_LONGEST = 40
_FOLDERS = re.compile(r"(?<![\w./])/(?:[^\s/]+/)+")


def brief(value: Any) -> str:
    """Describe a value briefly: an array by type and shape, a collection by its size, a path by its last part.

    A long string is shortened in the middle; of other objects only the type is shown.
    """
    if value is None or isinstance(value, bool | int):
        return repr(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str | PurePath):
        return repr(_shortened(PurePath(value).name if PurePath(value).is_absolute() else str(value)))
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        size = "×".join(map(str, value.shape)) or "scalar"
        return f"<{str(value.dtype).removeprefix('torch.')} {size}>"
    if isinstance(value, Collection):
        return f"<{len(value)} {'entry' if len(value) == 1 else 'entries'}>"
    kind = type(value)
    shown = repr(value) if kind.__module__.startswith("fedfr.") else ""
    return shown if 0 < len(shown) <= 2 * _LONGEST and shown.isprintable() else f"<{kind.__name__}>"


class Brief:
    """Base class of dataclasses with ``repr=False``; its ``repr`` shows all non-empty fields with :func:`brief`.

    ``shown_whole`` names fields with sentences, which are shown in full but for the folders of absolute paths.
    """

    shown_whole: ClassVar[frozenset[str]] = frozenset()

    def __repr__(self) -> str:
        found: Any = self
        shown = {field.name: getattr(self, field.name) for field in fields(found) if field.repr}
        given = [
            f"{name}={repr(_FOLDERS.sub('', value)) if name in self.shown_whole else brief(value)}"
            for name, value in shown.items()
            if not _is_empty(value)
        ]
        return f"{type(self).__name__}({', '.join(given)})"


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, Collection) and not hasattr(value, "shape") and not len(value))


def _shortened(text: str) -> str:
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[: half - 1]}…{text[-half:]}"
