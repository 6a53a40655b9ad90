"""Engine of secure sums for clients on this machine, which withhold their updates in their own folders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

from fedfr.core.errors import FedfrError
from fedfr.core.files import make_folder
from fedfr.core.secret_files import read_secret, write_secret
from fedfr.engines.local import LocalEngine, Tap
from fedfr.engines.secure_sum import SecureSumEngine, answer_stage
from fedfr.engines.sum_terms import SumTerms
from fedfr.federation.messages import Broadcast, Failure
from fedfr.federation.withholding_client import SUM_FOLDER, remove_withheld, withheld_update
from fedfr.privacy.secure_sum import Identity, RoundPlan, Site, SumAgreement
from fedfr.privacy.secure_sum.fixed_point import Vector
from fedfr.privacy.secure_sum.stage_messages import Stage

__all__ = ["LocalSumEngine", "local_agreement"]

_KEY = "identity.key"


def local_agreement(clients_folder: Path, clients: Sequence[str], threshold: int) -> SumAgreement:
    """Return the agreement of all clients of a run on this machine; creates the identity keys that are missing.

    If the clients of a run change, the agreement has another name, and with it new records.
    """
    keys = {}
    for client in clients:
        path = clients_folder / client / SUM_FOLDER / _KEY
        if not path.exists():
            make_folder(path.parent)
            write_secret(path, Identity.new().secret())
        keys[client] = Identity(read_secret(path)).public
    terms = json.dumps([sorted(clients), threshold])
    return SumAgreement(f"local-{hashlib.sha256(terms.encode()).hexdigest()[:16]}", keys, threshold)


class LocalSumEngine(SecureSumEngine):
    """Engine of clients on this machine: :class:`~fedfr.engines.local.LocalEngine` with clients that withhold updates.

    All clients with their records and keys are on this machine: this shows what a federation does and costs, and hides
    nothing from a reader of the run's folder. The clients' metrics stay in the run's events for the same reason.
    ``clients_folder``: with a folder for each client. ``tap`` receives every message of a stage with its direction and
    the client's id.
    """

    def __init__(
        self, engine: LocalEngine, clients_folder: Path, records: Path, terms: SumTerms, *, tap: Tap | None = None
    ) -> None:
        super().__init__(engine, records, terms)
        self._local = engine
        self._clients = clients_folder
        self._tap = tap

    def __enter__(self) -> Self:
        self._local.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        self._local.__exit__(kind, *exception)

    def _answers(
        self, broadcast: Broadcast, plan: RoundPlan, stage: Stage, requests: Mapping[str, bytes]
    ) -> Iterator[tuple[str, bytes | Failure]]:
        for client, request in requests.items():
            try:
                answer = self._answer(client, stage, request, plan, broadcast)
            except FedfrError as error:
                yield client, Failure(client, error.shareable)
                continue
            if self._tap is not None:
                self._tap("down", client, request)
                self._tap("up", client, answer)
            yield client, answer
            del answer

    def _answer(self, client: str, stage: Stage, request: bytes, plan: RoundPlan, broadcast: Broadcast) -> bytes:
        """Return a client's answer to a stage, from its own folder."""
        folder = self._clients / client / SUM_FOLDER
        site = Site(self._terms.agreement, client, Identity(read_secret(folder / _KEY)), folder)

        def vector() -> Vector:
            update = withheld_update(self._clients / client)
            return self._terms.vector(broadcast, update)

        return b"".join(answer_stage(site, stage, request, lambda: plan, vector))

    def _finish(self, ready: Sequence[str], members: Sequence[str]) -> None:
        # If the server does not finish the round, a client trains again, to the same update.
        for client in ready:
            remove_withheld(self._clients / client)
