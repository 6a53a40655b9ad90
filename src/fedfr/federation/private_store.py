"""Store of a client's private states on disk."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedfr.core.errors import FedfrError
from fedfr.core.files import parse_json, remove_leftovers, write_atomically
from fedfr.federation.identity_key import IdentityKey
from fedfr.federation.packing import packed, read_header_metadata, unpack
from fedfr.federation.participation import Participation
from fedfr.federation.private_state import PARTS, PrivateState, tensors_under

__all__ = ["PERSONAL_MODEL", "PrivateStore", "StoredRows"]

PERSONAL_MODEL = "personal.safetensors"
"""A personalized model that a run exports beside its client's private states."""

# The client's own log; it stays on the client's machine.
_log = logging.getLogger("fedfr.client")

FORMAT = "2"
_UNUSABLE = "its private state cannot be used; its own log says why"
_NAME = re.compile(r"private-(\d{6})\.safetensors")
# Enough for the hashes of a million identities (32 characters and punctuation each) and the names of the entries.
_LONGEST_HEADER = 1 << 26


@dataclass(frozen=True)
class StoredRows:
    """What a store has of some identities.

    ``states``: number of states that are changed by their erasure. ``identities``: how many of them have rows.
    ``first``: first round in which one of them took part, 0 if unknown. ``unnamed``: whether a state does not name the
    identities of its rows, which are then all erased.
    """

    states: int
    identities: int
    first: int
    unnamed: bool = False

    def __bool__(self) -> bool:
        return self.states > 0 or self.identities > 0


class PrivateStore:
    """Folder of one client's private states; the two newest are kept, so that a lost round can be repeated."""

    def __init__(self, folder: Path, client: str) -> None:
        self.folder = folder
        self.client = client
        self._key = IdentityKey(folder)
        self._participation = Participation(folder)

    def rounds(self) -> list[int]:
        """Return the rounds with a saved state, ascending."""
        if not self.folder.is_dir():
            return []
        return sorted(int(match[1]) for path in self.folder.iterdir() if (match := _NAME.fullmatch(path.name)))

    def latest(self, before: int | None = None) -> PrivateState | None:
        """Return the newest state of a round before ``before``; delete states of that round or later.

        Those belong to a round that the server never finished. Raises :class:`FedfrError` when the file is damaged or
        belongs to another client.
        """
        rounds = self.rounds()
        for newer in [number for number in rounds if before is not None and number >= before]:
            self._path(newer).unlink()
            rounds.remove(newer)
        return self._read(rounds[-1]) if rounds else None

    def at_or_before(self, round_number: int) -> PrivateState | None:
        """Return the newest state of ``round_number`` or earlier, or None; nothing is deleted."""
        rounds = [number for number in self.rounds() if number <= round_number]
        return self._read(rounds[-1]) if rounds else None

    def identities(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the keyed hashes that this client's states use for these names.

        Raises :class:`FedfrError` when existing states use a key that is missing.
        """
        states = [self._path(number) for number in self.rounds()]
        if not self._key.path.exists() and any("key" in self._metadata(path) for path in states):
            raise FedfrError(
                f"{self._key.path} is missing, and the private states beside it need it to match identities; restore "
                "it, or remove the states to restart this client from the beginning",
                _UNUSABLE,
            )
        return self._key.hash_names(names)

    def erase_departed(self, names: Sequence[str]) -> int:
        """Erase all identities that are not in ``names`` from the store; return how many the newest state had.

        Each file is replaced as a whole. An exported personalized model beside them is deleted and must be exported
        again. A state without identities loses all rows. The caller must have exclusive use of the store. Raises
        :class:`FedfrError` when a state is damaged or its identities were hashed with another key.
        """
        remove_leftovers(self.folder)
        if not self.rounds():
            return 0
        here = set(self.identities(names))
        count = self._erase_rows(lambda known: known - here)
        self._participation.remove(lambda identity: identity not in here)
        return count

    def rows_of(self, names: Sequence[str]) -> StoredRows:
        """Return what the store has of the identities called ``names``; raises as :meth:`forget`, changes nothing."""
        first_rounds, numbers = self._participation.first_rounds(), self.rounds()
        if not numbers and not first_rounds:
            return StoredRows(0, 0, 0)
        wanted = set(self.identities(names))
        found, states, unnamed = wanted & set(first_rounds or ()), 0, False
        for number in numbers:
            known = self._read(number).identities
            self._checked_metadata(number)
            states += known is None or not wanted.isdisjoint(known)
            unnamed |= known is None
            found |= wanted & set(known or ())
        return StoredRows(states, len(found), self._participation.first_round(found), unnamed)

    def forget(self, names: Sequence[str], *, models: bool = False) -> None:
        """Erase the identities called ``names``, and with ``models`` every state and exported model beside them.

        Without states, the client continues as in a first participation; its key and the first rounds of the other
        identities are kept. The caller must have exclusive use of the store. Repeating it changes nothing. Raises
        :class:`FedfrError` as :meth:`erase_departed` does.
        """
        remove_leftovers(self.folder)
        if not self.rounds() and not self._participation.path.exists():
            return
        gone = set(self.identities(names))
        if models:
            for path in (self.folder / PERSONAL_MODEL, *map(self._path, self.rounds())):
                path.unlink(missing_ok=True)
        else:
            self._erase_rows(lambda known: known & gone)
        self._participation.remove(gone.__contains__)

    def _erase_rows(self, departed_of: Callable[[set[str]], set[str]]) -> int:
        """Erase those identities of every state that ``departed_of`` chooses; return how many the newest state had."""
        count = 0
        for number in self.rounds():
            path = self._path(number)
            known = self._identities(path, self._checked_metadata(number))
            departed = departed_of(set(known or ()))
            count = len(departed)
            if known is None:
                _log.warning("%s does not name the identities of its rows: the rows are erased and start anew", path)
            if departed or known is None:
                (self.folder / PERSONAL_MODEL).unlink(missing_ok=True)
                self._write(self._read(number).without(departed))
        return count

    def _checked_metadata(self, number: int) -> dict[str, str]:
        """Return the metadata of a state; raises :class:`FedfrError` if it was written with another key."""
        path = self._path(number)
        metadata, key = self._metadata(path), self._key.id
        if metadata.get("key", key) != key:
            raise FedfrError(
                f"private state {path} was written with another key than {self._key.path}; restore that key, or "
                "remove the states to restart this client from the beginning",
                _UNUSABLE,
            )
        return metadata

    def erase(self) -> bool:
        """Delete every file of the store, and its folder if it is then empty; return whether there were any."""
        states = [self._path(number) for number in self.rounds()]
        others = (self.folder / PERSONAL_MODEL, self._participation.path, self._key.path)
        found = [path for path in (*states, *others) if path.exists()]
        if found:
            remove_leftovers(self.folder)
            for path in found:
                path.unlink()
            with contextlib.suppress(OSError):
                self.folder.rmdir()  # Fails, and keeps the folder, if it holds other files.
        return bool(found)

    def save(self, state: PrivateState) -> None:
        """Write ``state`` atomically, then delete all but the two newest."""
        self._record_participation(state)
        self._write(state)
        for old in self.rounds()[:-2]:
            self._path(old).unlink()

    def _record_participation(self, state: PrivateState) -> None:
        if state.identities is None:
            return
        earlier = [number for number in self.rounds() if number < state.round]
        newest = self._path(earlier[-1]) if earlier else None
        before = None if newest is None else self._identities(newest, self._metadata(newest))
        self._participation.add(state.identities, state.round, before or ())

    def _write(self, state: PrivateState) -> None:
        metadata = {"format": FORMAT, "client": self.client, "round": str(state.round)}
        if state.identities is not None:
            metadata |= {"identities": json.dumps(state.identities), "key": self._key.id}
        pieces = packed(state.tensors(), metadata)

        def write(path: Path) -> None:
            with path.open("wb") as file:
                file.writelines(pieces)

        write_atomically(self._path(state.round), write)

    def _path(self, round_number: int) -> Path:
        return self.folder / f"private-{round_number:06d}.safetensors"

    def _metadata(self, path: Path) -> dict[str, str]:
        """Return the metadata in a file's header; its tensors are not read."""
        try:
            return read_header_metadata(path, _LONGEST_HEADER)
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error

    def _identities(self, path: Path, metadata: Mapping[str, str]) -> tuple[str, ...] | None:
        """Return the identities of a file's rows, in order; None where the file does not name them."""
        if metadata.get("format", FORMAT) != FORMAT:
            raise FedfrError(
                f"private state {path} has format {metadata['format']!r}, this version reads {FORMAT}; use the "
                "version that wrote it, or remove it to restart this client from the beginning",
                _UNUSABLE,
            )
        if "identities" not in metadata:
            return None
        try:
            named = parse_json(metadata["identities"].encode())
        except ValueError as error:
            raise _unreadable(path, error) from error
        if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
            raise _unreadable(path, "its identities are not a list of texts")
        return tuple(named)

    def _read(self, round_number: int) -> PrivateState:
        path = self._path(round_number)
        try:
            metadata, tensors = unpack(path.read_bytes(), _LONGEST_HEADER)
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error
        if metadata.get("client") != self.client or metadata.get("round") != str(round_number):
            raise FedfrError(
                f"private state {path} belongs to {metadata.get('client')!r} round {metadata.get('round')}, "
                f"not to {self.client!r} round {round_number}; move the file back to its own folder and name",
                _UNUSABLE,
            )
        if "prototypes" not in tensors:
            raise FedfrError(
                f"private state {path} holds no prototypes; remove it to restart this client from the beginning",
                _UNUSABLE,
            )
        parts = {part: tensors_under(prefix, tensors) for part, prefix in PARTS.items()}
        identities = self._identities(path, metadata)
        state = PrivateState(round_number, prototypes=tensors["prototypes"], identities=identities, **parts)
        if not state.is_consistent():
            raise _unreadable(path, "it does not have one row per identity")
        return state


def _unreadable(path: Path, reason: object) -> FedfrError:
    if isinstance(reason, OSError):
        what = f"cannot read private state {path}: {reason.strerror or reason}; check the file and the disk"
        return FedfrError(what, _UNUSABLE)
    why = " ".join(str(reason).split())
    return FedfrError(
        f"private state {path} cannot be read ({why}); remove it to restart this client from the beginning", _UNUSABLE
    )
