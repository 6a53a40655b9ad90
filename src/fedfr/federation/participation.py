"""First rounds of a client's identities: from which model on a person had an influence."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json, write_json

__all__ = ["UNKNOWN", "Participation"]

FILE = "participation.json"
UNKNOWN = 0
"""First round of an identity that has taken part for an unknown time: perhaps from the beginning."""


class Participation:
    """File beside a client's private states with the first round of each identity, named by its keyed hash.

    States are kept for two rounds only, and are deleted if a model is trained anew; the averages that they contributed
    to remain. This file therefore outlives the states. A missing or damaged file never makes a first round later than
    it was: identities of which nothing is known have :data:`UNKNOWN`. A checksum finds numbers that were damaged to
    others.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def first_rounds(self) -> Mapping[str, int] | None:
        """Return the first round by identity; empty without a file, None if it is damaged."""
        if not self.path.exists():
            return {}
        try:
            content = read_json(self.path)
        except FedfrError:
            return None
        if not isinstance(content, dict) or not isinstance(first := content.get("first"), dict):
            return None
        if content.get("sha256") != _checksum(first) or not all(type(each) is int for each in first.values()):
            return None
        return first

    def first_round(self, identities: Iterable[str]) -> int:
        """Return the earliest first round of some identities, :data:`UNKNOWN` if one is not in the file."""
        known = self.first_rounds() or {}
        return min((known.get(identity, UNKNOWN) for identity in identities), default=UNKNOWN)

    def add(self, identities: Collection[str], round_number: int, before: Iterable[str]) -> None:
        """Record identities that take part in a round; ``before``: those of the newest state until now."""
        known = self.first_rounds()
        if known is None:
            known, before = {}, identities
        missing = {identity: UNKNOWN for identity in before if identity not in known}
        missing |= {
            identity: round_number for identity in identities if identity not in known and identity not in missing
        }
        if missing:
            self._write({**known, **missing})

    def remove(self, is_departed: Callable[[str], bool]) -> None:
        """Remove identities; a damaged file is deleted."""
        known = self.first_rounds()
        if known is None:
            self.path.unlink()
            return
        kept = {identity: first for identity, first in known.items() if not is_departed(identity)}
        if len(kept) < len(known):
            self._write(kept)

    def _write(self, first: Mapping[str, int]) -> None:
        write_json(self.path, {"first": first, "sha256": _checksum(first)})


def _checksum(first: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(first, sort_keys=True).encode()).hexdigest()
