"""Durable record of a coordinator, and the loop that carries a round from its first request to the sum.

The replies of a finished stage are written before the requests of the next leave, and the sum of the masked vectors
before any site is asked to consent: a server that is killed at any time continues the round with the same lists of
sites, because sites refuse others. Nothing in the record is secret from the server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_file, write_atomically
from fedfr.privacy.secure_sum.agreement import RoundPlan, SumAgreement
from fedfr.privacy.secure_sum.coordinator import Coordinator
from fedfr.privacy.secure_sum.fixed_point import Vector
from fedfr.privacy.secure_sum.stage_messages import Stage

__all__ = ["CoordinatorRecord", "Exchange", "run_sum"]

Exchange = Callable[[Stage, Mapping[str, bytes]], Iterable[tuple[str, bytes]]]
"""Sends the requests of a stage to the sites and yields the replies that arrive in its time, in any order."""

_MOST_BYTES = 1 << 26
_PREFIX = "secure-sum-"


class CoordinatorRecord:
    """Record of the rounds of one run in a folder of the server, whose lock the caller holds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, plan: RoundPlan) -> bool:
        """Return whether a stage of the round was closed."""
        return self._path(plan, "json").exists()

    def read(self, agreement: SumAgreement, plan: RoundPlan) -> Coordinator:
        """Return the coordinator of a round where it stopped, or at its start.

        Raises :class:`FedfrError` if the record is damaged.
        """
        state = self._path(plan, "json")
        if not state.exists():
            return Coordinator(agreement, plan)
        try:
            total = self._path(plan, "total")
            found = np.fromfile(total, np.uint32) if total.exists() else None
            content = read_file(state, _MOST_BYTES)
        except OSError as error:
            raise FedfrError(f"cannot read {state}: {error.strerror or error}; check the file and the disk") from error
        return Coordinator.restore(agreement, plan, content, found)

    def write(self, coordinator: Coordinator, plan: RoundPlan) -> None:
        """Write the coordinator, which has closed a stage; raises :class:`WriteError` if the disk is full."""
        if coordinator.stage is Stage.CONSENT and coordinator.total is not None:
            # Before the state that needs it.
            write_atomically(self._path(plan, "total"), coordinator.total.tofile)
        write_atomically(self._path(plan, "json"), coordinator.state())

    def remove(self, plan: RoundPlan) -> None:
        """Remove the record of a round whose result is stored, or which is lost."""
        for kind in ("json", "total"):
            self._path(plan, kind).unlink(missing_ok=True)

    def remove_before(self, number: int) -> None:
        """Remove the records of all rounds before ``number``."""
        for path in [*self._folder.glob(f"{_PREFIX}*")]:
            if path.stem.removeprefix(_PREFIX).isdecimal() and int(path.stem.removeprefix(_PREFIX)) < number:
                path.unlink()

    def _path(self, plan: RoundPlan, kind: str) -> Path:
        return self._folder / f"{_PREFIX}{plan.round:04d}.{kind}"


def run_sum(
    record: CoordinatorRecord,
    agreement: SumAgreement,
    plan: RoundPlan,
    exchange: Exchange,
    refuse: Callable[[str, str], None] = lambda site, reason: None,
) -> tuple[Vector, tuple[str, ...]]:
    """Run or continue a round; return the sum of the vectors and the sites in it.

    ``refuse`` is called with each site and the reason why its reply is not used. Store the result before removing the
    record: until then, a restart gives the same sum. Raises :class:`SumLostError` if too few sites replied to a stage;
    the record stays, because the round is lost only when its driver has stored that.
    """
    coordinator = record.read(agreement, plan)
    while (stage := coordinator.stage) is not None:
        for site, reply in exchange(stage, coordinator.requests()):
            try:
                coordinator.receive(site, reply)
            except FedfrError as error:
                refuse(site, str(error))
            del reply  # At most one vector is in memory beside the sum.
        coordinator.advance()
        if coordinator.stage is not None:
            record.write(coordinator, plan)
    assert coordinator.total is not None
    return coordinator.total, coordinator.members
