"""Durable ledger of a site: every noised sum that may leave is charged before, and its noise can be drawn again."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json, remove_leftovers, write_json
from fedfr.core.locks import locked
from fedfr.core.secret_files import erase_secret, read_secret, write_private
from fedfr.core.settings import Settings, validate
from fedfr.privacy.person_dp.accountant import epsilon_of
from fedfr.privacy.person_dp.mechanism import Mechanism
from fedfr.privacy.person_dp.random_words import SEED_BYTES, new_seed

__all__ = ["Ledger", "open_ledger", "spent_epsilon"]

_FILE = "ledger.json"

# The accountant's rounding: planned rounds add up to the budget exactly.
_TOLERANCE = 1e-9


class _Release(Settings):
    """One charged noised sum.

    ``tag``: HMAC of its content under the seed of its noise, useless once the seed is erased. ``shared``: its noise
    multiplier counts noise of other sites, too.
    """

    run: str
    round: Annotated[int, Field(ge=1)]
    noise_multiplier: Annotated[float, Field(gt=0)]
    shared: bool
    tag: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    accepted: bool = False


class _Content(Settings):
    format: Literal["fedfr-person-ledger/1"] = "fedfr-person-ledger/1"
    epsilon: Annotated[float, Field(gt=0)]
    delta: Annotated[float, Field(gt=0, lt=1)]
    releases: tuple[_Release, ...] = ()


class Ledger:
    """Ledger of one site and its persons, for all runs: ``ledger.json``, and a seed for each sum not yet accepted.

    Use :func:`open_ledger`. Removing the folder, or restoring an older copy, forgets what was spent; nothing at the
    site can find that out.
    """

    def __init__(self, folder: Path, content: _Content) -> None:
        self.folder = folder
        self._content = content

    @property
    def spent(self) -> float:
        """ε of all charged sums at the budget's δ."""
        return self._epsilon()

    @property
    def releases(self) -> list[tuple[str, int, float]]:
        """Run, round and noise multiplier of every charged sum, in order."""
        return [(each.run, each.round, each.noise_multiplier) for each in self._content.releases]

    def charge(self, run: str, round_number: int, content: bytes, mechanism: Mechanism) -> bytes:
        """Charge a noised sum and return the seed of its noise; both are on disk when this returns.

        ``content`` identifies all that determines the sum: model, mechanism, sum before noise. The same content in the
        same round gives the same seed again, without a charge: the same bits leave twice. Any other content is another
        release. It is charged with a seed of its own, or refused if the noise of other sites counts in this round:
        theirs would be the same in both sums, and so would not protect the difference.

        Raises :class:`FedfrError` if the budget does not suffice, or if the round cannot be released again.
        """
        former = [
            (index, each)
            for index, each in enumerate(self._content.releases)
            if (each.run, each.round) == (run, round_number)
        ]
        for index, each in former:
            seed = None if each.accepted else self._stored_seed(index)
            if seed is not None and hmac.compare_digest(each.tag, _tag(seed, content)):
                return seed
        shared = mechanism.honest > 1
        if former and (shared or any(each.shared for _, each in former)):
            raise FedfrError(
                f"round {round_number} of {run} was already charged in {self.folder} with another sum or model, and "
                "the noise of the other sites would be the same; this site takes part again in the next round",
                "it has already sent another sum for this round; it takes part again in the next one",
            )
        after = self._epsilon(mechanism.noise_multiplier)
        if after > self._content.epsilon + _TOLERANCE:
            raise FedfrError(
                f"round {round_number} of {run} would raise ε from {self.spent:.4g} to {after:.4g} at δ = "
                f"{self._content.delta:g}; the budget of {self.folder} is {self._content.epsilon:g}; no further round "
                "with these persons is possible",
                "the privacy budget of its persons is spent",
            )
        seed = new_seed()
        write_private(self._seed_file(len(self._content.releases)), seed)
        release = _Release(
            run=run,
            round=round_number,
            noise_multiplier=mechanism.noise_multiplier,
            shared=shared,
            tag=_tag(seed, content),
        )
        self._write((*self._content.releases, release))
        return seed

    def accept(self, run: str, round_number: int) -> None:
        """Mark the sums of a round as accepted by the server and erase their seeds; they are not released again."""
        self._accept(lambda each: (each.run, each.round) == (run, round_number))

    def begin(self, run: str, round_number: int) -> None:
        """Mark the sums of all other rounds as accepted and erase their seeds, because another round has begun."""
        self._accept(lambda each: (each.run, each.round) != (run, round_number))

    def _accept(self, over: Callable[[_Release], bool]) -> None:
        former = self._content.releases
        releases = tuple(each.model_copy(update={"accepted": True}) if over(each) else each for each in former)
        if releases != former:
            self._write(releases)
        self.erase_seeds()

    def erase_seeds(self) -> None:
        """Erase the seeds of accepted sums, and those of sums that were never charged because the process ended."""
        kept = {self._seed_file(index) for index, each in enumerate(self._content.releases) if not each.accepted}
        for path in self._seed_folder.iterdir() if self._seed_folder.is_dir() else ():
            if path not in kept:
                erase_secret(path)

    def _epsilon(self, *more: float) -> float:
        return epsilon_of([*(each.noise_multiplier for each in self._content.releases), *more], self._content.delta)

    def _write(self, releases: tuple[_Release, ...]) -> None:
        content = self._content.model_copy(update={"releases": releases})
        write_json(self._file, content.model_dump())
        self._content = content

    @property
    def _file(self) -> Path:
        return self.folder / _FILE

    @property
    def _seed_folder(self) -> Path:
        return self.folder / "seeds"

    def _seed_file(self, index: int) -> Path:
        return self._seed_folder / f"{index:06d}.seed"

    def _stored_seed(self, index: int) -> bytes | None:
        path = self._seed_file(index)
        seed = read_secret(path) if path.exists() else b""
        return seed if len(seed) == SEED_BYTES else None


def _tag(seed: bytes, content: bytes) -> str:
    return hmac.new(seed, b"fedfr person ledger 1" + content, hashlib.sha256).hexdigest()


@contextlib.contextmanager
def open_ledger(folder: Path, *, epsilon: float, delta: float) -> Iterator[Ledger]:
    """Context manager: open the ledger in ``folder`` under its lock, or begin one with this budget.

    Raises :class:`FedfrError` if it is damaged or has another budget, and
    :class:`~fedfr.core.errors.InUseError` if another process uses it.
    """
    budget = validate(_Content, {"epsilon": epsilon, "delta": delta}, f"the budget of {folder}")
    with locked(folder):
        remove_leftovers(folder)
        if not os.path.lexists(folder / _FILE):
            write_json(folder / _FILE, budget.model_dump())
        ledger = Ledger(folder, _read(folder, budget))
        ledger.erase_seeds()
        yield ledger


def spent_epsilon(folder: Path, *, epsilon: float, delta: float) -> float:
    """Return ε of all sums that the ledger in ``folder`` has charged, 0 without a ledger; nothing is changed or locked.

    Raises :class:`FedfrError` as :func:`open_ledger` does.
    """
    budget = validate(_Content, {"epsilon": epsilon, "delta": delta}, f"the budget of {folder}")
    return Ledger(folder, _read(folder, budget)).spent if os.path.lexists(folder / _FILE) else 0.0


def _read(folder: Path, budget: _Content) -> _Content:
    """Return the content of a ledger; raises :class:`FedfrError` if it is damaged or has another budget."""
    path = folder / _FILE
    stored = read_json(path)
    if not isinstance(stored, dict):
        raise FedfrError(f"{path} is not a ledger; restore it")
    content = validate(_Content, stored, str(path))
    if (content.epsilon, content.delta) != (budget.epsilon, budget.delta):
        raise FedfrError(
            f"{path} has the budget ε = {content.epsilon:g}, δ = {content.delta:g}; given are ε = {budget.epsilon:g}, "
            f"δ = {budget.delta:g}; the budget of persons does not change"
        )
    return content
