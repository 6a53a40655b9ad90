"""Journal of finished rounds: the generic model and the record of each, written atomically."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from fedfr.core.errors import FedfrError
from fedfr.core.files import move_folder, read_json, write_folder_atomically, write_json
from fedfr.federation.method import GenericModel

__all__ = ["Journal", "JournalEntry"]

_ROUND = re.compile(r"\d{4,}")


@dataclass(frozen=True)
class JournalEntry:
    """Finished round: number, generic model after the round, and the record written with it."""

    round: int
    generic: GenericModel
    record: Mapping[str, Any]


class Journal:
    """Journal in folders ``rounds/0007/{generic.safetensors, round.json}``; round 0 is the starting model.

    All random draws are keyed by (seed, round, client, purpose), so the round number is the whole RNG state. Models are
    kept for the newest ``keep`` rounds, records for every round.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def rounds(self) -> list[int]:
        """Return the numbers of finished rounds, ascending."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if _ROUND.fullmatch(path.name))

    def commit(self, round_number: int, generic: GenericModel, record: Mapping[str, Any]) -> None:
        """Write the round durably, then delete models that are no longer needed."""
        tensors = {f"weights/{name}": value.contiguous() for name, value in generic.weights.items()}
        tensors["prototypes"] = generic.prototypes.contiguous()
        tensors |= {f"kept/{name}": value.contiguous() for name, value in generic.server_state.items()}

        def fill(folder: Path) -> None:
            safetensors.torch.save_file(tensors, str(folder / "generic.safetensors"), {"round": str(round_number)})
            write_json(folder / "round.json", {"round": round_number, **record})

        write_folder_atomically(self._path(round_number), fill)
        for old in self.rounds()[: -self.keep]:
            (self._path(old) / "generic.safetensors").unlink(missing_ok=True)

    def latest(self) -> JournalEntry | None:
        """Return the newest finished round, or None; raises :class:`FedfrError` when its files are damaged."""
        rounds = self.rounds()
        return self.read(rounds[-1]) if rounds else None

    def read(self, round_number: int) -> JournalEntry:
        """Return a finished round whose model is still kept."""
        folder = self._path(round_number)
        path = folder / "generic.safetensors"
        try:
            tensors = safetensors.torch.load_file(str(path))
        except (SafetensorError, FileNotFoundError) as error:
            raise FedfrError(
                f"cannot read round {round_number} from {path} ({error}); remove {folder} to resume one round earlier"
            ) from error
        except OSError as error:
            raise FedfrError(f"cannot read {path}: {error.strerror or error}; check the file and the disk") from error
        weights, kept = (
            {name.removeprefix(part): value for name, value in tensors.items() if name.startswith(part)}
            for part in ("weights/", "kept/")
        )
        generic = GenericModel(weights, tensors["prototypes"], kept)
        return JournalEntry(round_number, generic, read_json(folder / "round.json"))

    def kept(self) -> list[int]:
        """Return the finished rounds whose models are still kept, ascending."""
        return [number for number in self.rounds() if (self._path(number) / "generic.safetensors").is_file()]

    def rewind(self, round_number: int) -> None:
        """Remove all rounds after ``round_number``, whose model is kept; with -1 every round.

        Repeating it after an interruption completes it.
        """
        for later in reversed([number for number in self.rounds() if number > round_number]):
            # Renamed first, so that no half removed round is taken for a finished one.
            aside = self.folder / f".{later:04d}.rewind.tmp"
            shutil.rmtree(aside, ignore_errors=True)
            move_folder(self._path(later), aside)
            shutil.rmtree(aside)

    def records(self) -> list[dict[str, Any]]:
        """Return the records of all finished rounds, in order."""
        return [read_json(self._path(number) / "round.json") for number in self.rounds()]

    def _path(self, round_number: int) -> Path:
        return self.folder / f"{round_number:04d}"
