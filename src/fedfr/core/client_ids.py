"""What a client may be called, wherever an id comes from: it becomes the name of a folder, and goes into messages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from fedfr.core.errors import FedfrError

__all__ = ["NAME", "POOLED", "check_client_id", "check_client_ids", "check_participant", "is_client_id"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a run, a coordinator or a person with access may be called: ASCII, for URLs and certificates."""

RULE = "give letters, digits and the signs . _ -, first a letter or digit, at most 64"
POOLED = "pooled"
"""The one participant of ``centralized``, which stands for all clients."""
RESERVED = frozenset({"public", "generic", "distractors", POOLED})

# A combining sign is neither letter nor digit, so every id has one spelling in Unicode.
_ID = re.compile(r"[^\W_][\w.-]{0,63}")
# Folders are first written under a longer name; file systems allow 255 bytes.
_MOST_BYTES = 200


def is_client_id(given: object) -> bool:
    """Whether ``given`` is a text that may be a client's id."""
    return _fault(given) is None


def check_client_id(given: object, what: str = "client") -> str:
    """``given`` if it may be a client's id; raises :class:`FedfrError`, which calls it ``what``, where it may not."""
    fault = _fault(given)
    if fault is not None:
        shown = repr(given)
        shown = shown if len(shown) <= 80 else f"{shown[:80]} …"
        raise FedfrError(f"{what} {shown} cannot be a client's id ({fault}); {RULE}")
    return str(given)


def check_participant(given: object) -> str:
    """``given`` if an update may come from it: a client, or :data:`POOLED`; raises as :func:`check_client_id`."""
    return POOLED if given == POOLED else check_client_id(given)


def check_client_ids(given: Iterable[object], what: str = "client") -> tuple[str, ...]:
    """The ids, each checked; raises :class:`FedfrError` for two that are alike but for case or form as well.

    On many a file system they would share a folder, and nobody could tell them apart in a table.
    """
    ids = tuple(check_client_id(client, what) for client in given)
    known: dict[str, str] = {}
    for client in ids:
        other = known.get(_folded(client))
        if other is not None:
            raise FedfrError(f"{what} {client!r} is too much like {other!r}; give every client an id of its own")
        known[_folded(client)] = client
    return ids


def _fault(given: object) -> str | None:
    if not isinstance(given, str):
        return f"it is no text but {type(given).__name__}"
    if not _ID.fullmatch(given):
        return "it has other signs, begins with one, or is empty or too long"
    if len(given.encode()) > _MOST_BYTES:
        return f"it takes more than {_MOST_BYTES} bytes"
    if unicodedata.normalize("NFC", given) != given:
        return "it is not in Unicode's composed form"
    if _folded(given) in RESERVED:
        return "that name is fedfr's own"
    return None


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
