"""Private states of a client: data kept between rounds and never sent."""

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

# The client's own log; it stays on the client's machine.
_log = logging.getLogger("fedfr.client")

FORMAT = "2"
_BRANCHES = ("branches.weight", "branches.bias")
_PERSONAL = ("prototypes", "teacher/prototypes")
# Field of the state, and the prefix of its tensors in a file.
_PARTS = {
    "backbone": "backbone/",
    "dfc": "dfc/",
    "personal": "personal/",
    "residual": "rest/",
    "previous_residual": "owed/",
}
_UNUSABLE = "its private state cannot be used; its own log says why"
_NAME = re.compile(r"private-(\d{6})\.safetensors")
# Room for the hashes of a million identities (32 characters and punctuation each) and the names of the entries.
_LONGEST_HEADER = 1 << 26


@dataclass(frozen=True, repr=False)
class PrivateState(Brief):
    """Private state of a client after taking part in ``round``.

    ``backbone``: local backbone after local training, before averaging (the next round's previous model, and the
    backbone of the personalized model). ``prototypes``: Φ_i, K_i × D. ``dfc``: entries of the DFC module, or empty.
    ``personal``: a separately trained personal model (``backbone/…``, ``prototypes``), further tensors of the method
    (``teacher/…``), or empty. ``residual``: compression error of this round's update, or empty;
    ``previous_residual``: its value before this round, used when the server did not accept this round's update.
    ``identities``: the identity of each row, hashed by :class:`~fedfr.federation.identity_key.IdentityKey`; None where
    unknown, as in states of earlier versions. States read from a store are read-only.
    """

    round: int
    backbone: Mapping[str, torch.Tensor]
    prototypes: torch.Tensor
    dfc: Mapping[str, torch.Tensor] = field(default_factory=dict)
    personal: Mapping[str, torch.Tensor] = field(default_factory=dict)
    residual: Mapping[str, torch.Tensor] = field(default_factory=dict)
    identities: tuple[str, ...] | None = None
    previous_residual: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all tensors by their names in a file."""
        parts = {prefix: getattr(self, part) for part, prefix in _PARTS.items()}
        named = {f"{prefix}{name}": value for prefix, values in parts.items() for name, value in values.items()}
        return {**named, "prototypes": self.prototypes}

    def residual_after(self, accepted: int) -> Mapping[str, torch.Tensor]:
        """Return the compression error to add to the next update; ``accepted``: round of the last accepted update.

        If this round's update was refused or lost, the error from before it applies. If the server accepted a round
        unknown to this state, for example after an old state was restored, there is none.
        """
        if accepted == self.round:
            return self.residual
        return self.previous_residual if accepted < self.round else {}

    @property
    def personal_backbone(self) -> dict[str, torch.Tensor]:
        """Separately trained backbone, or empty."""
        return _under("backbone/", self.personal)

    def for_identities(self, identities: Sequence[str], initial: Callable[[], torch.Tensor]) -> PrivateState:
        """Return the state with one row for each of ``identities``, in their order.

        Known identities keep their rows. New ones start as in a first participation, with zero bias and their row of
        ``initial()``, the initial prototypes (K, D) of all ``identities``, which is called only if there are new ones.
        """
        wanted = tuple(identities)
        if wanted == self.identities:
            return self
        known = {identity: row for row, identity in enumerate(self.identities or ())}
        new = [row for row, identity in enumerate(wanted) if identity not in known]
        fresh = initial()[new] if new else self.prototypes[:0]
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
        """Return the state without the rows of ``departed``; without any rows if their identities are unknown."""
        gone = set(departed)
        known = self.identities or ()
        kept = [row for row, identity in enumerate(known) if identity not in gone]
        return replace(self._with_rows(lambda rows: rows[kept].clone()), identities=tuple(known[row] for row in kept))

    def _with_rows(self, change: Callable[[torch.Tensor], torch.Tensor]) -> PrivateState:
        """Return the state with ``change`` applied to every tensor that has one row per identity."""
        dfc = {name: change(value) if name in _BRANCHES else value for name, value in self.dfc.items()}
        personal = {name: change(value) if name in _PERSONAL else value for name, value in self.personal.items()}
        return replace(self, prototypes=change(self.prototypes), dfc=dfc, personal=personal)

    def _is_consistent(self) -> bool:
        """Return whether all tensors with rows have one row per identity."""
        counted = [self.prototypes, *(self.dfc[name] for name in _BRANCHES if name in self.dfc)]
        counted += [self.personal[name] for name in _PERSONAL if name in self.personal]
        count = len(counted[0]) if self.identities is None else len(set(self.identities))
        named = self.identities is None or len(self.identities) == count
        return named and self.prototypes.dim() == 2 and all(value.shape[:1] == (count,) for value in counted)


class PrivateStore:
    """Folder of one client's private states; the two newest are kept, so that a lost round can be repeated."""

    def __init__(self, folder: Path, client: str) -> None:
        self.folder = folder
        self.client = client
        self._key = IdentityKey(folder)

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
                    f"private state {path} was written with another key than {self._key.path}; restore that key, or "
                    "remove the states to restart this client from the beginning",
                    _UNUSABLE,
                )
            known = self._identities(path, metadata)
            departed = set(known or ()) - here
            count = len(departed)
            if known is None:
                _log.warning("%s does not name the identities of its rows: the rows are erased and start anew", path)
            if departed or known is None:
                (self.folder / PERSONAL_MODEL).unlink(missing_ok=True)
                self._write(self._read(number).without(departed))
        return count

    def erase(self) -> bool:
        """Delete every file of the store, and its folder if it is then empty; return whether there were any."""
        states = [self._path(number) for number in self.rounds()]
        found = [path for path in (*states, self.folder / PERSONAL_MODEL, self._key.path) if path.exists()]
        if found:
            remove_leftovers(self.folder)
            for path in found:
                path.unlink()
            with contextlib.suppress(OSError):
                self.folder.rmdir()  # Fails, and keeps the folder, if it holds other files.
        return bool(found)

    def save(self, state: PrivateState) -> None:
        """Write ``state`` atomically, then delete all but the two newest."""
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
        """Return the metadata in a file's header; its tensors are not read."""
        try:
            return read_metadata(path, _LONGEST_HEADER)
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
        parts = {part: _under(prefix, tensors) for part, prefix in _PARTS.items()}
        identities = self._identities(path, metadata)
        state = PrivateState(round_number, prototypes=tensors["prototypes"], identities=identities, **parts)
        if not state._is_consistent():
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


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
