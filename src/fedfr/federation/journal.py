"""The server's memory: after every round the generic model and its record, whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json, write_folder_atomically, write_json
from fedfr.federation.method import Generic

__all__ = ["Journal", "JournalEntry"]

_ROUND = re.compile(r"\d{4,}")


@dataclass(frozen=True)
class JournalEntry:
    """A finished round: its number, the generic model after it, and the record written with it."""

    round: int
    generic: Generic
    record: Mapping[str, Any]


class Journal:
    """Folder ``rounds/0007/{generic.safetensors, round.json}``; round 0 is the starting model.

    All random draws are keyed by (seed, round, client, purpose), so the round number is the whole RNG state. The models
    of the newest ``keep`` rounds are kept, every round's record is.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def rounds(self) -> list[int]:
        """Finished rounds, ascending."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if _ROUND.fullmatch(path.name))

    def commit(self, round_number: int, generic: Generic, record: Mapping[str, Any]) -> None:
        """Make the round durable, then drop models that are no longer needed."""
        tensors = {f"weights/{name}": value.contiguous() for name, value in generic.weights.items()}
        tensors["prototypes"] = generic.prototypes.contiguous()
        tensors |= {f"kept/{name}": value.contiguous() for name, value in generic.kept.items()}

        def fill(folder: Path) -> None:
            safetensors.torch.save_file(tensors, str(folder / "generic.safetensors"), {"round": str(round_number)})
            write_json(folder / "round.json", {"round": round_number, **record})

        write_folder_atomically(self._path(round_number), fill)
        for old in self.rounds()[: -self.keep]:
            (self._path(old) / "generic.safetensors").unlink(missing_ok=True)

    def latest(self) -> JournalEntry | None:
        """The newest finished round, or None; raises :class:`FedfrError` when its files are damaged."""
        rounds = self.rounds()
        return self.read(rounds[-1]) if rounds else None

    def read(self, round_number: int) -> JournalEntry:
        """One finished round whose model is still kept."""
        folder = self._path(round_number)
        path = folder / "generic.safetensors"
        try:
            tensors = safetensors.torch.load_file(str(path))
        except (SafetensorError, FileNotFoundError) as error:
            raise FedfrError(
                f"round {round_number} cannot be read from {path} ({error}); remove {folder} to resume a round earlier"
            ) from error
        except OSError as error:
            raise FedfrError(f"cannot read {path}: {error.strerror or error}; check the file and the disk") from error
        weights, kept = (
            {name.removeprefix(part): value for name, value in tensors.items() if name.startswith(part)}
            for part in ("weights/", "kept/")
        )
        generic = Generic(weights, tensors["prototypes"], kept)
        return JournalEntry(round_number, generic, read_json(folder / "round.json"))

    def records(self) -> list[dict[str, Any]]:
        """Every finished round's record, in order."""
        return [read_json(self._path(number) / "round.json") for number in self.rounds()]

    def _path(self, round_number: int) -> Path:
        return self.folder / f"{round_number:04d}"
