"""Rules for client ids, which become folder names and parts of messages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from fedfr.core.errors import FedfrError

__all__ = ["NAME", "POOLED", "check_client_id", "check_client_ids", "check_participant", "is_client_id"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Allowed names of runs, coordinators and users: ASCII only, because they are used in URLs and certificates."""

RULE = "use letters, digits and the characters . _ -, beginning with a letter or digit, at most 64"
POOLED = "pooled"
"""Id of the single participant of the method ``centralized``, which trains on the images of all clients."""
RESERVED = frozenset({"public", "generic", "distractors", "strangers", POOLED})

# A combining character is neither letter nor digit, so every id has one Unicode spelling.
_ID = re.compile(r"[^\W_][\w.-]{0,63}")
# Folders are first written under a longer temporary name; file systems allow 255 bytes.
_MOST_BYTES = 200


def is_client_id(given: object) -> bool:
    """Return whether ``given`` is a string that is allowed as a client id."""
    return _fault(given) is None


def check_client_id(given: object, what: str = "client") -> str:
    """Return ``given`` if it is a valid client id; raise :class:`FedfrError` otherwise.

    ``what`` is the name of the value in the error message.
    """
    fault = _fault(given)
    if fault is not None:
        shown = repr(given)
        shown = shown if len(shown) <= 80 else f"{shown[:80]} …"
        raise FedfrError(f"{what} {shown} is not a valid client id ({fault}); {RULE}")
    return str(given)


def check_participant(given: object) -> str:
    """Return ``given`` if it is a client id or :data:`POOLED`; raise :class:`FedfrError` otherwise."""
    return POOLED if given == POOLED else check_client_id(given)


def check_client_ids(given: Iterable[object], what: str = "client") -> tuple[str, ...]:
    """Check several client ids; raise :class:`FedfrError` if one is invalid or two differ only in case or Unicode form.

    On many file systems two such ids would share a folder, and readers could not tell them apart in a table.
    """
    ids = tuple(check_client_id(client, what) for client in given)
    known: dict[str, str] = {}
    for client in ids:
        other = known.get(_folded(client))
        if other is not None:
            raise FedfrError(f"{what} {client!r} is too similar to {other!r}; give every client a different id")
        known[_folded(client)] = client
    return ids


def _fault(given: object) -> str | None:
    if not isinstance(given, str):
        return f"it is not a string but {type(given).__name__}"
    if not _ID.fullmatch(given):
        return "wrong characters or length"
    if len(given.encode()) > _MOST_BYTES:
        return f"it takes more than {_MOST_BYTES} bytes"
    if unicodedata.normalize("NFC", given) != given:
        return "it is not in Unicode's composed form (NFC)"
    if _folded(given) in RESERVED:
        return "the name is reserved"
    return None


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
