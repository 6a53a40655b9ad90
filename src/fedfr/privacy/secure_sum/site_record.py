"""Durable record of a site: what it answered in the current round of a run, and the secrets of answers to come.

It is written before an answer leaves, through :mod:`fedfr.core.files`, so that a site that is killed at any time gives
the same answer again or a first one, and never a second. Without the record it could: neither delete it during a run
nor restore it from a copy. A round number is used once; an earlier one is refused for ever.

Secrets are erased from the record with the write that makes them useless: the box key when the boxes of the others are
open, seed and mask key with the consent, the shares of the others with the last answer, and everything with the next
round. The replaced file is then overwritten with zeros, as are incomplete files of a killed process; if the process is
killed after the new file has its name and before the old one is overwritten, the blocks of the old one are freed with
their content. Python does not clear the memory of ``bytes`` either, the system may write memory to its swap space, and
a disk that relocates blocks, or a file system that copies on writing, keeps old ones for a while. Encrypt the disk and
the swap space.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_file
from fedfr.core.locks import locked
from fedfr.core.secret_files import write_private
from fedfr.privacy.secure_sum.stage_messages import Stage

__all__ = ["SiteRecord", "SiteState"]

_MOST_BYTES = 1 << 20

Hex = Annotated[str, StringConstraints(pattern=r"^(?:[0-9a-f]{2})*$")]
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class SiteState(BaseModel):
    """State of a site in one round; bytes are in hexadecimal.

    ``contexts``: by answered stage, the hash that the answer is bound to. ``sites``: U1, U2 and U3 by the stage whose
    request named them. ``keys``: public box key and mask key of each site of U1. ``secrets``: box key, mask key and
    seed, as long as they are needed. ``shares``: of each site of U2 the shares of its seed and its mask key.
    ``answers``: by stage, the bytes that were sent; the masked vector is made again instead. ``vector``: its hash
    before masking.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal["fedfr-secure-sum/1"] = "fedfr-secure-sum/1"
    agreement: Hash
    client: str
    round: Annotated[int, Field(ge=1)]
    length: Annotated[int, Field(ge=1)]
    contexts: dict[Stage, Hash] = {}
    sites: dict[Stage, list[str]] = {}
    keys: dict[str, tuple[Hash, Hash]] = {}
    secrets: dict[Literal["box", "mask", "seed"], Hash] = {}
    shares: dict[str, tuple[Hash, Hash]] = {}
    answers: dict[Stage, Hex] = {}
    vector: Hash | None = None


class SiteRecord:
    """Record of one run in a folder that belongs to one site.

    It is read and written under the folder's lock: of two processes of a site, one is refused.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self._folder = folder
        self.path = folder / f"{run}.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; raises :class:`InUseError` if another process does."""
        with locked(self._folder):
            for leftover in self._folder.glob(".*.tmp"):
                _overwrite(leftover)
                leftover.unlink()
            yield

    def read(self) -> SiteState | None:
        """Return the state; None before the first round.

        Raises :class:`FedfrError` if it cannot be read: the site could otherwise answer twice.
        """
        try:
            return SiteState.model_validate_json(read_file(self.path, _MOST_BYTES))
        except FileNotFoundError:
            return None
        except OSError as error:
            reason = error.strerror or str(error)
        except ValidationError as error:
            reason = f"{error.error_count()} of its fields are damaged"
        raise FedfrError(
            f"the record of secure sums {self.path} cannot be read: {reason}; the site takes no further part in this "
            "run; repair it, or agree on a new run",
            shareable="the site's record of secure sums cannot be read",
        )

    def write(self, state: SiteState) -> None:
        """Write the state durably, readable by its owner alone; then overwrite what it replaces."""
        content = state.model_dump_json().encode()
        with contextlib.ExitStack() as opened:
            old = None
            if self.path.exists():
                old = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
                opened.callback(os.close, old)
            write_private(self.path, content)
            if old is not None:
                _zero(old)


def _overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        _zero(file.fileno())


def _zero(descriptor: int) -> None:
    """Replace the content of an open file by zeros, of the same length, on the disk."""
    os.pwrite(descriptor, bytes(os.fstat(descriptor).st_size), 0)
    os.fsync(descriptor)
