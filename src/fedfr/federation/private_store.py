"""What a client keeps between rounds and never sends: written safely, under its own id and round."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from fedfr.brief import Brief
from fedfr.errors import FedfrError
from fedfr.federation.packing import packed, unpack
from fedfr.files import write_atomically

__all__ = ["PrivateState", "PrivateStore"]

_UNUSABLE = "its private state cannot be used; its own log says why"
_NAME = re.compile(r"private-(\d{6})\.safetensors")


@dataclass(frozen=True, repr=False)
class PrivateState(Brief):
    """A client's state after taking part in ``round``.

    ``backbone``: the local backbone right after local training, before averaging (next round's previous model, and the
    backbone of the personalised model). ``prototypes``: Φ_i, K_i × D. ``dfc``: the DFC module's entries, or empty.
    ``personal``: a personal model trained apart (``backbone/…``, ``prototypes``), or empty. ``rest``: what of changes
    sent in few bits did not fit, or empty.
    What comes from a store is to be read and never written to.
    """

    round: int
    backbone: Mapping[str, torch.Tensor]
    prototypes: torch.Tensor
    dfc: Mapping[str, torch.Tensor] = field(default_factory=dict)
    personal: Mapping[str, torch.Tensor] = field(default_factory=dict)
    rest: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def tensors(self) -> dict[str, torch.Tensor]:
        """All of it by the names it has in a file."""
        parts = {"backbone": self.backbone, "dfc": self.dfc, "personal": self.personal, "rest": self.rest}
        named = {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}
        return {**named, "prototypes": self.prototypes}

    @property
    def personal_backbone(self) -> dict[str, torch.Tensor]:
        """The backbone that was trained apart, or nothing."""
        return _under("backbone/", self.personal)


class PrivateStore:
    """One client's folder. The two newest states are kept, so that a round that was lost can be run again."""

    def __init__(self, folder: Path, client: str) -> None:
        self.folder = folder
        self.client = client

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

    def save(self, state: PrivateState) -> None:
        """Write ``state`` atomically, then drop all but the two newest."""
        pieces = packed(state.tensors(), {"client": self.client, "round": str(state.round)})

        def write(path: Path) -> None:
            with path.open("wb") as file:
                file.writelines(pieces)

        write_atomically(self._path(state.round), write)
        for old in self.rounds()[:-2]:
            self._path(old).unlink()

    def _path(self, round_number: int) -> Path:
        return self.folder / f"private-{round_number:06d}.safetensors"

    def _read(self, round_number: int) -> PrivateState:
        path = self._path(round_number)
        try:
            metadata, tensors = unpack(path.read_bytes())
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise FedfrError(
                f"private state {path} cannot be read ({reason}); remove it to start this client afresh", _UNUSABLE
            ) from error
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
        backbone, *others = (_under(f"{part}/", tensors) for part in ("backbone", "dfc", "personal", "rest"))
        return PrivateState(round_number, backbone, tensors["prototypes"], *others)


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
