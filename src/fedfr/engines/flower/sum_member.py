"""The part of a site in secure sums: it keeps the vector of a round until it is masked, and answers the stages."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedfr.core.errors import FedfrError, InUseError
from fedfr.core.files import make_folder, read_file
from fedfr.core.secret_files import write_private
from fedfr.engines.secure_sum import answer_stage
from fedfr.engines.sum_terms import SumTerms
from fedfr.federation.client import Client
from fedfr.federation.messages import Broadcast, Update, decode_update, encode
from fedfr.privacy.person_dp import SharingClient
from fedfr.privacy.secure_sum import Identity, RoundPlan, Site
from fedfr.privacy.secure_sum.fixed_point import Vector
from fedfr.privacy.secure_sum.site_record import Hash, Hex
from fedfr.privacy.secure_sum.stage_messages import Pieces, Stage, decode_message

__all__ = ["SumBusyError", "SumMember", "TrainedRound", "remove_round"]

# The site's own log; it stays on the site's machine.
_log = logging.getLogger("fedfr.client")

_TRAINED, _VECTOR = "trained.json", "vector"
_MOST_BYTES = 1 << 24


class TrainedRound(BaseModel):
    """A round for which a site has trained: its plan, and what the site replied to the broadcast, in hexadecimal."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal["fedfr-secure-sum-trained/1"] = "fedfr-secure-sum-trained/1"
    round: Annotated[int, Field(ge=1)]
    model: Hash
    layout: Hash
    length: Annotated[int, Field(ge=1)]
    reply: Hex

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Return the newest round; None before the first, and if the file is damaged."""
        try:
            return cls.model_validate_json(read_file(folder / _TRAINED, _MOST_BYTES))
        except (OSError, ValidationError):
            return None

    def save(self, folder: Path) -> None:
        """Write the file durably."""
        write_private(folder / _TRAINED, self.model_dump_json().encode())

    def plan(self, sites: int) -> RoundPlan:
        """Return the plan of the round."""
        layout = _KnownLayout(bytes.fromhex(self.layout), self.length, sites)
        return RoundPlan(self.round, bytes.fromhex(self.model), layout)

    def update(self) -> Update:
        """Return the update without its tensors; raises :class:`FedfrError` if it is damaged."""
        return decode_update(bytes.fromhex(self.reply))


@dataclass(frozen=True)
class _KnownLayout:
    """Layout of which only the hash is left, which is all that the stages need."""

    digest: bytes
    length: int
    sites: int


def remove_round(folder: Path) -> None:
    """Remove what a site has stored of a round: the vector of its update, and that it has trained.

    It takes no further part in a round that it has begun. The caller has exclusive use of the private states.
    """
    for place in [folder / _TRAINED, folder / _VECTOR, *folder.glob(".*.tmp")]:
        place.unlink(missing_ok=True)


class SumBusyError(FedfrError):
    """Another process of the site is still working on an earlier request, which may be the same."""


class SumMember:
    """Site ``client`` of the secure sums under ``terms``; ``folder`` belongs to it and this agreement alone.

    ``make_client``: context that holds the client while it trains. The vector stays in the folder until the site has
    consented to a list of sites; a broadcast that is repeated is answered as before, without training.
    """

    def __init__(
        self,
        client: str,
        identity: Identity,
        terms: SumTerms,
        folder: Path,
        make_client: Callable[[], AbstractContextManager[Client]],
    ) -> None:
        self._client = client
        # Apart, because a record removes incomplete files beside it.
        self._site = Site(terms.agreement, client, identity, folder / "records")
        self._terms = terms
        self._folder = folder
        self._make_client = make_client

    def train(self, broadcast: Broadcast) -> Update:
        """Train, store the vector of the update, and return the update without its tensors and its count.

        Where nothing is shared, the count is left in it. Raises :class:`FedfrError` for a round that is closed.
        """
        try:
            with self._make_client() as client:
                return self._train(client, broadcast)
        except InUseError as error:
            raise SumBusyError(str(error)) from error

    def _train(self, client: Client, broadcast: Broadcast) -> Update:
        # A plan that is refused must be so before the ledger is charged for the training.
        plan = self._terms.plan(broadcast) if self._terms.expected(broadcast) else None
        trained = TrainedRound.load(self._folder)
        if plan and trained and (trained.round, trained.model) == (plan.round, plan.model.hex()):
            _forget_noise(client, broadcast.round)
            return trained.update()
        self._site.check_open(broadcast.round)
        # What was stored for an earlier round can no longer be asked for.
        remove_round(self._folder)
        update = client.update(broadcast)
        if plan is None:
            return replace(update, weights={}, prototypes=None)
        vector = self._terms.vector(broadcast, update)
        ready = replace(update, weights={}, prototypes=None, count=1)
        make_folder(self._folder)
        write_private(self._folder / _VECTOR, vector.tobytes())
        stored = TrainedRound(
            round=plan.round,
            model=plan.model.hex(),
            layout=plan.layout.digest.hex(),
            length=plan.layout.length,
            reply=encode(ready).hex(),
        )
        stored.save(self._folder)
        _forget_noise(client, broadcast.round)
        return ready

    def answer(self, stage: Stage, request: bytes) -> Pieces:
        """Return the answer to a stage, in pieces; raises :class:`FedfrError` if the site refuses the request."""
        try:
            pieces = answer_stage(self._site, stage, request, self._plan, self._vector)
        except InUseError as error:
            raise SumBusyError(str(error)) from error
        if stage is Stage.CONSENT:
            members = decode_message(request, stage, reply=False).members
            _log.info("in the secure sum: %s", ", ".join(members), extra={"round": self._plan().round})
            (self._folder / _VECTOR).unlink(missing_ok=True)
        return pieces

    def _plan(self) -> RoundPlan:
        trained = TrainedRound.load(self._folder)
        if trained is None:
            text = f"{self._client} has not trained for a secure sum"
            raise FedfrError(text, shareable=text)
        return trained.plan(len(self._terms.agreement.sites))

    def _vector(self) -> Vector:
        try:
            return np.fromfile(self._folder / _VECTOR, np.uint32)
        except OSError as error:
            text = f"{self._client} has no vector of this round"
            raise FedfrError(text, shareable=text) from error


def _forget_noise(client: Client, round_number: int) -> None:
    """Erase the seed of the noise in a vector that is stored, so that nobody can remove it from what is sent."""
    if isinstance(client, SharingClient):
        client.forget_noise(round_number)
