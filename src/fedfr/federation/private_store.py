"""What a client keeps between rounds and never sends: written safely, under its own id, round and people."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from fedfr.core.errors import FedfrError
from fedfr.core.files import parse_json, remove_leftovers, write_atomically
from fedfr.core.short_repr import Brief
from fedfr.federation.identity_key import IdentityKey
from fedfr.federation.packing import packed, read_metadata, unpack

__all__ = ["PERSONAL_MODEL", "PrivateState", "PrivateStore"]

PERSONAL_MODEL = "personal.safetensors"
"""A personalized model that a run exports beside its client's private states."""

# What is said here stays on the client's machine.
_log = logging.getLogger("fedfr.client")

FORMAT = "2"
_BRANCHES = ("branches.weight", "branches.bias")
_PERSONAL = ("prototypes", "teacher/prototypes")
_PARTS = ("backbone", "dfc", "personal", "rest", "owed")
_UNUSABLE = "its private state cannot be used; its own log says why"
_NAME = re.compile(r"private-(\d{6})\.safetensors")
# 32 characters and signs around them for each of a million identities, beside the names of the entries.
_LONGEST_HEADER = 1 << 26


@dataclass(frozen=True, repr=False)
class PrivateState(Brief):
    """A client's state after taking part in ``round``.

    ``backbone``: the local backbone right after local training, before averaging (next round's previous model, and the
    backbone of the personalized model). ``prototypes``: Φ_i, K_i × D. ``dfc``: the DFC module's entries, or empty.
    ``personal``: a personal model trained apart (``backbone/…``, ``prototypes``), what a method keeps beside the model
    (``teacher/…``), or empty. ``rest``: what of changes sent in few bits did not fit, or empty; ``owed``: what it was
    before this round, for the case that the server has not taken this round's update.
    ``identities``: whose row is which, by :class:`~fedfr.federation.identity_key.IdentityKey`; None where that is not
    known, as in states of earlier versions.
    What comes from a store is to be read and never written to.
    """

    round: int
    backbone: Mapping[str, torch.Tensor]
    prototypes: torch.Tensor
    dfc: Mapping[str, torch.Tensor] = field(default_factory=dict)
    personal: Mapping[str, torch.Tensor] = field(default_factory=dict)
    rest: Mapping[str, torch.Tensor] = field(default_factory=dict)
    identities: tuple[str, ...] | None = None
    owed: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All of it by the names it has in a file."""
        parts = {name: getattr(self, name) for name in _PARTS}
        named = {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}
        return {**named, "prototypes": self.prototypes}

    def rest_after(self, accepted: int) -> Mapping[str, torch.Tensor]:
        """What the server is still owed, once the last update that it took is known to be that of round ``accepted``.

        Of an update that was refused or lost nothing has arrived, so nothing of it is owed either: what was owed before
        still is. After a round that is not known here, as where an old state was put back, nothing is.
        """
        if accepted == self.round:
            return self.rest
        return self.owed if accepted < self.round else {}

    @property
    def personal_backbone(self) -> dict[str, torch.Tensor]:
        """The backbone that was trained apart, or nothing."""
        return _under("backbone/", self.personal)

    def arranged(self, identities: Sequence[str], first: Callable[[], torch.Tensor]) -> PrivateState:
        """The state with one row for each of ``identities``, in their order.

        Whoever the state knows keeps the rows that are theirs. Everybody else starts as at a first participation: with
        their row of ``first()``, the initial prototypes (K, D) of these identities, which is called for them alone,
        and with no bias.
        """
        wanted = tuple(identities)
        if wanted == self.identities:
            return self
        known = {identity: row for row, identity in enumerate(self.identities or ())}
        new = [row for row, identity in enumerate(wanted) if identity not in known]
        fresh = first()[new] if new else self.prototypes[:0]
        stay = [row for row, identity in enumerate(wanted) if identity in known]
        places = [known[wanted[row]] for row in stay]

        def follow(rows: torch.Tensor) -> torch.Tensor:
            made = rows.new_zeros(len(wanted), *rows.shape[1:])
            made[stay] = rows[places]
            if rows.dim() == 2:
                made[new] = fresh.to(rows)
            return made

        return replace(self._with_rows(follow), identities=wanted)

    def without(self, departed: Iterable[str]) -> PrivateState:
        """The state with no row of ``departed``; where it is not known whose the rows are, with none at all."""
        gone = set(departed)
        known = self.identities or ()
        kept = [row for row, identity in enumerate(known) if identity not in gone]
        return replace(self._with_rows(lambda rows: rows[kept].clone()), identities=tuple(known[row] for row in kept))

    def _with_rows(self, change: Callable[[torch.Tensor], torch.Tensor]) -> PrivateState:
        """Everything that has one row for each identity, changed."""
        dfc = {name: change(value) if name in _BRANCHES else value for name, value in self.dfc.items()}
        personal = {name: change(value) if name in _PERSONAL else value for name, value in self.personal.items()}
        return replace(self, prototypes=change(self.prototypes), dfc=dfc, personal=personal)

    def _fits(self) -> bool:
        """Whether all that has rows has equally many, one for each identity that is named."""
        counted = [self.prototypes, *(self.dfc[name] for name in _BRANCHES if name in self.dfc)]
        counted += [self.personal[name] for name in _PERSONAL if name in self.personal]
        count = len(counted[0]) if self.identities is None else len(set(self.identities))
        named = self.identities is None or len(self.identities) == count
        return named and self.prototypes.dim() == 2 and all(value.shape[:1] == (count,) for value in counted)


class PrivateStore:
    """One client's folder. The two newest states are kept, so that a round that was lost can be run again."""

    def __init__(self, folder: Path, client: str) -> None:
        self.folder = folder
        self.client = client
        self._key = IdentityKey(folder)

    def rounds(self) -> list[int]:
        """Rounds with a saved state, ascending."""
        if not self.folder.is_dir():
            return []
        return sorted(int(match[1]) for path in self.folder.iterdir() if (match := _NAME.fullmatch(path.name)))

    def latest(self, before: int | None = None) -> PrivateState | None:
        """The newest state of a round earlier than ``before``; states of that round or later are discarded.

        They stem from a round that the server never finished. Raises :class:`FedfrError` when the file is damaged or
        belongs to another client.
        """
        rounds = self.rounds()
        for newer in [number for number in rounds if before is not None and number >= before]:
            self._path(newer).unlink()
            rounds.remove(newer)
        return self._read(rounds[-1]) if rounds else None

    def until(self, round_number: int) -> PrivateState | None:
        """The newest state of ``round_number`` or earlier, None where there is none; nothing is discarded."""
        rounds = [number for number in self.rounds() if number <= round_number]
        return self._read(rounds[-1]) if rounds else None

    def identities(self, names: Sequence[str]) -> tuple[str, ...]:
        """What stands for these names in this client's states, and nowhere else.

        Raises :class:`FedfrError` when the states there name their identities under a key that is gone.
        """
        states = [self._path(number) for number in self.rounds()]
        if not self._key.path.exists() and any("key" in self._metadata(path) for path in states):
            raise FedfrError(
                f"{self._key.path} is missing, and the private states beside it name their identities under it; put "
                "it back, or remove the states to start this client afresh",
                _UNUSABLE,
            )
        return self._key.of(names)

    def erase_departed(self, names: Sequence[str]) -> int:
        """Erase from every file of the store whoever is not among ``names``; says how many were in the newest state.

        Each file is replaced as a whole; a personalized model that lies beside them goes, and is to be exported again.
        Where a state does not say whose its rows are, all of them go. Only for whoever has the store to itself. Raises
        :class:`FedfrError` when a state is damaged, and when its identities are named under another key.
        """
        remove_leftovers(self.folder)
        rounds = self.rounds()
        if not rounds:
            return 0
        here, key = set(self.identities(names)), self._key.id
        count = 0
        for number in rounds:
            path = self._path(number)
            metadata = self._metadata(path)
            if metadata.get("key", key) != key:
                raise FedfrError(
                    f"private state {path} names its identities under another key than {self._key.path}; put that "
                    "key back, or remove the states to start this client afresh",
                    _UNUSABLE,
                )
            known = self._identities(path, metadata)
            departed = set(known or ()) - here
            count = len(departed)
            if known is None:
                _log.warning("%s does not say whose its rows are: they are erased, and everybody starts anew", path)
            if departed or known is None:
                (self.folder / PERSONAL_MODEL).unlink(missing_ok=True)
                self._write(self._read(number).without(departed))
        return count

    def erase(self) -> bool:
        """Remove every file of the store, and its folder if nothing else is in it; says whether there was one."""
        states = [self._path(number) for number in self.rounds()]
        found = [path for path in (*states, self.folder / PERSONAL_MODEL, self._key.path) if path.exists()]
        if found:
            remove_leftovers(self.folder)
            for path in found:
                path.unlink()
            with contextlib.suppress(OSError):
                self.folder.rmdir()  # What somebody else has put there stays.
        return bool(found)

    def save(self, state: PrivateState) -> None:
        """Write ``state`` atomically, then drop all but the two newest."""
        self._write(state)
        for old in self.rounds()[:-2]:
            self._path(old).unlink()

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
        """The texts in a file's header; its tensors are not read."""
        try:
            return read_metadata(path, _LONGEST_HEADER)
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error

    def _identities(self, path: Path, metadata: Mapping[str, str]) -> tuple[str, ...] | None:
        """Whose rows a file holds, in their order; None where it does not say."""
        if metadata.get("format", FORMAT) != FORMAT:
            raise FedfrError(
                f"private state {path} has format {metadata['format']!r}, this version reads {FORMAT}; use the "
                "version that wrote it, or remove it to start this client afresh",
                _UNUSABLE,
            )
        if "identities" not in metadata:
            return None
        try:
            named = parse_json(metadata["identities"].encode())
        except ValueError as error:
            raise _unreadable(path, error) from error
        if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
            raise _unreadable(path, "its identities are no list of texts")
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
                f"not to {self.client!r} round {round_number}; it was moved by hand, put it back",
                _UNUSABLE,
            )
        if "prototypes" not in tensors:
            raise FedfrError(
                f"private state {path} holds no prototypes; remove it to start this client afresh", _UNUSABLE
            )
        backbone, dfc, personal, rest, owed = (_under(f"{part}/", tensors) for part in _PARTS)
        identities = self._identities(path, metadata)
        state = PrivateState(round_number, backbone, tensors["prototypes"], dfc, personal, rest, identities, owed)
        if not state._fits():
            raise _unreadable(path, "it has not one row for each of its identities")
        return state


def _unreadable(path: Path, reason: object) -> FedfrError:
    if isinstance(reason, OSError):
        what = f"cannot read private state {path}: {reason.strerror or reason}; check the file and the disk"
        return FedfrError(what, _UNUSABLE)
    why = " ".join(str(reason).split())
    return FedfrError(f"private state {path} cannot be read ({why}); remove it to start this client afresh", _UNUSABLE)


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
