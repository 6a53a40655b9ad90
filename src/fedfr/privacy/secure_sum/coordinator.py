"""The coordinator's part in a secure sum: it passes messages on, drops sites that are late, and removes the masks.

It has no secrets, and nothing here is needed for the privacy of the sites: they check everything themselves. Its own
checks keep a faulty site from spoiling a round unnoticed.

A driver sends :meth:`Coordinator.requests` to the sites, gives their replies to :meth:`Coordinator.receive`, and at the
end of each stage's time calls :meth:`Coordinator.advance`. To survive a restart it stores :meth:`Coordinator.state`
after each ``advance``, before the new requests leave; after stage 3 also :attr:`Coordinator.total`. Sites answer a
repeated request with the same bytes, so that replies of the current stage need not be stored.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Mapping
from typing import NoReturn

import numpy as np

from fedfr.core.errors import FedfrError
from fedfr.core.files import parse_json
from fedfr.privacy.secure_sum.agreement import (
    RoundPlan,
    SumAgreement,
    SumLostError,
    roster_hash,
    sharers_hash,
    survivors_hash,
)
from fedfr.privacy.secure_sum.canonical import Label
from fedfr.privacy.secure_sum.fixed_point import Vector
from fedfr.privacy.secure_sum.keys import derive, has_low_order, public_key
from fedfr.privacy.secure_sum.masks import add_streams, pair_stream, self_stream
from fedfr.privacy.secure_sum.shares import recover
from fedfr.privacy.secure_sum.stage_messages import Stage, StageMessage, decode_message, encode_message

__all__ = ["Coordinator"]

_STAGES = list(Stage)
# Index of the hash that the request and the replies of a stage are bound to.
_BOUND = {Stage.BEGIN: (0, 0), Stage.SHARE: (0, 1), Stage.MASK: (1, 2), Stage.CONSENT: (2, 3), Stage.UNMASK: (3, 3)}
_FORMAT = "fedfr-secure-sum-coordinator/1"


class Coordinator:
    """State machine of one round. ``stage`` is None when the sum is finished.

    Memory: one running sum, and the message being added, for any number of sites.
    """

    def __init__(self, agreement: SumAgreement, plan: RoundPlan) -> None:
        self._agreement = agreement
        self._plan = plan
        self._contexts = [agreement.round_hash(plan)]
        self._sites = tuple(sorted(agreement.sites))
        self._replies: dict[Stage, dict[str, StageMessage]] = {stage: {} for stage in Stage}
        self._survivors: tuple[str, ...] = ()
        self.stage: Stage | None = Stage.BEGIN
        self.total: Vector | None = None
        """Sum of the masked vectors so far; after the last stage, the sum of the vectors."""

    @property
    def members(self) -> tuple[str, ...]:
        """Sites whose vectors are in the sum (U3), from stage 4 on."""
        return self._survivors

    def requests(self) -> dict[str, bytes]:
        """Return the requests of the current stage, by site; they may be sent again."""
        stage, before = self._current(), self._context_of_request()
        if stage is Stage.BEGIN:
            return dict.fromkeys(self._sites, _encoded(StageMessage(stage, self._plan.round, before)))
        if stage is Stage.SHARE:
            began = self._replies[Stage.BEGIN]
            columns = {
                name: tuple(began[site].values[name] for site in self._sites) for name in ("box_key", "mask_key")
            }
            columns["signature"] = tuple(began[site].signature for site in self._sites)
            return self._to_all(before, self._sites, columns)
        if stage is Stage.MASK:
            dealt = {site: self._replies[Stage.SHARE][site].by_member("box") for site in self._sites}
            requests = {}
            for site in self._sites:
                others = tuple(other for other in self._sites if other != site)
                boxes = {"box": tuple(dealt[other][site] for other in others)}
                requests[site] = _encoded(StageMessage(stage, self._plan.round, before, "", others, columns=boxes))
            return requests
        if stage is Stage.CONSENT:
            return self._to_all(before, self._survivors, {})
        consents = self._replies[Stage.CONSENT]
        return self._to_all(before, self._sites, {"signature": tuple(consents[site].signature for site in self._sites)})

    def receive(self, site: str, reply: bytes) -> None:
        """Take the reply of a site to the current stage; one that was taken before is ignored.

        Raises :class:`FedfrError` naming site, stage and reason for any other message; nothing is changed then.
        """
        stage = self._current()
        if site not in self._sites:
            self._refuse(site, "it was not asked, or its reply to an earlier stage was late")
        message = decode_message(reply, stage, reply=True, length=self._plan.layout.length)
        if message.sender != site or message.round != self._plan.round:
            self._refuse(site, f"the reply is of {message.sender} for round {message.round}")
        known = self._replies[stage].get(site)
        if known is not None:
            if not hmac.compare_digest(known.signature, message.signature):
                self._refuse(site, "it replied before with other content")
            return
        if message.context != self._context_of_replies():
            self._refuse(site, "the reply is bound to another request")
        if not message.is_signed_by(self._agreement.sites[site]):
            self._refuse(site, "the reply is not signed with its pinned key")
        self._check_members(stage, site, message)
        if stage is Stage.BEGIN:
            self._check_keys(site, message)
        if message.vector is not None:
            self._add(message.vector)
            message = StageMessage(stage, message.round, message.context, site, signature=message.signature)
        self._replies[stage][site] = message

    def advance(self) -> None:
        """Close the current stage: sites that did not reply are dropped; after the last stage, remove the masks.

        Raises :class:`SumLostError` if too few replied, or if their shares are wrong.
        """
        stage = self._current()
        replied = tuple(sorted(self._replies[stage]))
        needed = self._agreement.threshold if stage in (Stage.CONSENT, Stage.UNMASK) else self._agreement.fewest
        if len(replied) < needed:
            missing = sorted({*self._sites} - {*replied})
            raise SumLostError(
                f"the secure sum of round {self._plan.round} is lost: {len(replied)} sites replied to stage {stage}, "
                f"and {needed} are needed ({', '.join(missing[:5])} did not); continue with the next round"
            )
        if stage is Stage.UNMASK:
            self._remove_masks()
            self.stage = None
            return
        before = self._contexts[-1]
        if stage is Stage.BEGIN:
            self._contexts.append(roster_hash(before, {site: self._keys(site) for site in replied}))
        elif stage is Stage.SHARE:
            self._contexts.append(sharers_hash(before, replied))
        elif stage is Stage.MASK:
            self._contexts.append(survivors_hash(before, replied))
            self._survivors = replied
        self._sites = replied
        self.stage = _STAGES[_STAGES.index(stage) + 1]

    def state(self) -> bytes:
        """Return the replies of closed stages, from which :meth:`restore` continues; public, as is :attr:`total`."""
        closed = _STAGES[: _STAGES.index(self._current())]
        replies = {
            stage: {
                site: "" if stage is Stage.MASK else base64.b64encode(_encoded(reply)).decode()
                for site, reply in self._replies[stage].items()
            }
            for stage in closed
        }
        return json.dumps({"format": _FORMAT, "round": self._plan.round, "replies": replies}).encode()

    @classmethod
    def restore(
        cls, agreement: SumAgreement, plan: RoundPlan, state: bytes, total: Vector | None = None
    ) -> Coordinator:
        """Return the coordinator of a stored state; ``total`` is needed after stage 3, and is changed in place.

        Raises :class:`SumLostError` if the state is damaged or of another round.
        """
        made = cls(agreement, plan)
        try:
            content = parse_json(state, names_once=True)
            if (content["format"], content["round"]) != (_FORMAT, plan.round):
                raise ValueError("it is of another format or round")
            for stage in _STAGES[: len(content["replies"])]:
                if stage is Stage.MASK:
                    made._set_total(content["replies"][stage], total)
                else:
                    for site, reply in content["replies"][stage].items():
                        made.receive(site, base64.b64decode(reply, validate=True))
                made.advance()
        except (FedfrError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise SumLostError(
                f"the stored state of the secure sum of round {plan.round} is damaged ({error}); the round is lost; "
                "continue with the next round"
            ) from error
        return made

    def _current(self) -> Stage:
        if self.stage is None:
            raise FedfrError(f"the secure sum of round {self._plan.round} is finished; begin the next round")
        return self.stage

    def _to_all(
        self, context: bytes, members: tuple[str, ...], columns: Mapping[str, tuple[bytes, ...]]
    ) -> dict[str, bytes]:
        request = StageMessage(self._current(), self._plan.round, context, "", members, columns=columns)
        return dict.fromkeys(self._sites, _encoded(request))

    def _keys(self, site: str) -> tuple[bytes, bytes]:
        values = self._replies[Stage.BEGIN][site].values
        return values["box_key"], values["mask_key"]

    def _check_members(self, stage: Stage, site: str, message: StageMessage) -> None:
        expected: tuple[str, ...] = ()
        if stage is Stage.SHARE:
            expected = tuple(other for other in self._sites if other != site)
        elif stage is Stage.UNMASK:
            expected = tuple(sorted(self._replies[Stage.SHARE]))
        if message.members != expected:
            self._refuse(site, "the reply names other sites than the request")

    def _check_keys(self, site: str, message: StageMessage) -> None:
        """Refuse the keys of a faulty site, because of which every other site would refuse the whole list."""
        keys = [*message.values.values()]
        known = {key for reply in self._replies[Stage.BEGIN].values() for key in reply.values.values()}
        if len({*keys} - known) != len(keys) or any(map(has_low_order, keys)):
            self._refuse(site, "its keys are not two new ones of full order")

    def _add(self, vector: Vector) -> None:
        if self.total is None:
            self.total = vector.copy()
        else:
            np.add(self.total, vector, out=self.total)

    def _set_total(self, survivors: Mapping[str, str], total: Vector | None) -> None:
        """Continue after stage 3 with the stored sum of the masked vectors."""
        if total is None or total.dtype != np.uint32 or total.shape != (self._plan.layout.length,):
            raise ValueError("the sum of the masked vectors is missing or has another length")
        if not survivors.keys() <= {*self._sites}:
            raise ValueError("a site in the sum did not deal shares")
        self.total = total
        context = self._context_of_replies()
        self._replies[Stage.MASK] = {
            site: StageMessage(Stage.MASK, self._plan.round, context, site) for site in survivors
        }

    def _remove_masks(self) -> None:
        """Recover the seeds of the sites in the sum and the mask keys of those that dropped out; remove their masks."""
        assert self.total is not None
        positions = {site: at for at, site in enumerate(sorted(self._replies[Stage.BEGIN]), 1)}
        shares = {site: reply.by_member("share") for site, reply in self._replies[Stage.UNMASK].items()}
        _, roster, sharers, _ = self._contexts
        streams = []
        for site, dealt in self._replies[Stage.SHARE].items():
            found = {positions[giver]: given[site] for giver, given in shares.items()}
            if site in self._survivors:
                commitment = dealt.values["commitment"]

                def is_seed(seed: bytes, site: str = site, commitment: bytes = commitment) -> bool:
                    return derive(seed, roster, Label.SEED_COMMITMENT, site) == commitment

                seed = recover(found, self._agreement.threshold, is_seed, site)
                streams.append(self_stream(seed, sharers, site, added=False))
                continue
            public = self._keys(site)[1]

            def is_key(secret: bytes, public: bytes = public) -> bool:
                return public_key(secret) == public

            secret = recover(found, self._agreement.threshold, is_key, site)
            streams += [
                pair_stream(secret, self._keys(other)[1], sharers, other, site, added=False)
                for other in self._survivors
            ]
        add_streams(self.total, streams)

    def _context_of_request(self) -> bytes:
        return self._contexts[_BOUND[self._current()][0]]

    def _context_of_replies(self) -> bytes:
        return self._contexts[_BOUND[self._current()][1]]

    def _refuse(self, site: str, reason: str) -> NoReturn:
        text = f"{site}, stage {self._current()} of the secure sum of round {self._plan.round}: {reason}"
        raise FedfrError(text, shareable=text)


def _encoded(message: StageMessage) -> bytes:
    return b"".join(encode_message(message))
