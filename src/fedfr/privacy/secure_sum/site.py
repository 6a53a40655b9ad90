"""A site's part in a secure sum: one method for each stage, from the coordinator's request to the site's answer.

Every answer is bound by the record of :mod:`fedfr.privacy.secure_sum.site_record`: the same request gives the same
bytes again, another one is refused. A refusal changes nothing and says to the coordinator only the site, the stage, the
round and a reason that does not depend on secrets.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NoReturn

import numpy as np

from fedfr.core.errors import FedfrError
from fedfr.privacy.secure_sum.agreement import RoundPlan, SumAgreement, roster_hash, sharers_hash, survivors_hash
from fedfr.privacy.secure_sum.boxes import Box
from fedfr.privacy.secure_sum.canonical import Label, canonical
from fedfr.privacy.secure_sum.fixed_point import Vector
from fedfr.privacy.secure_sum.keys import Identity, derive, has_low_order, new_secret, public_key
from fedfr.privacy.secure_sum.masks import Stream, add_streams, pair_stream, self_stream
from fedfr.privacy.secure_sum.shares import split
from fedfr.privacy.secure_sum.site_record import SiteRecord, SiteState
from fedfr.privacy.secure_sum.stage_messages import Pieces, Stage, StageMessage, decode_message, encode_message

__all__ = ["Site"]

_STAGES = list(Stage)


class Site:
    """Site ``client`` of a run. ``folder`` holds its records; only this site and user may have access to it.

    The object keeps no state of its own: a new one continues where an earlier one, or its process, ended. Raises
    :class:`FedfrError` if ``identity`` is not the key that the agreement pins for the site.
    """

    def __init__(self, agreement: SumAgreement, client: str, identity: Identity, folder: Path) -> None:
        if agreement.sites.get(client) != identity.public:
            raise FedfrError(
                f"the identity key of {client} is not the one in the agreement of run {agreement.run}; use the site's "
                "own key, or agree on this one"
            )
        self._agreement = agreement
        self._client = client
        self._identity = identity
        self._record = SiteRecord(folder, agreement.run)

    def check_open(self, number: int) -> None:
        """Raise :class:`FedfrError` if the site has begun the round ``number`` or a later one: training is in vain."""
        with self._record.locked():
            state = self._record.read()
        if state is not None and self._is_own(state) and number <= state.round:
            text = f"{self._client} refuses to train for round {number}: round {state.round} of secure sums has begun"
            raise FedfrError(text, shareable=text)

    def begin(self, request: bytes, plan: RoundPlan) -> bytes:
        """Stage 1: draw the round's keys and return the public ones, signed.

        ``plan``: what the site itself computed from the broadcast that it trained on.
        """
        message = decode_message(request, Stage.BEGIN, reply=False)
        context = self._agreement.round_hash(plan)
        if message.round != plan.round or message.context != context:
            self._refuse(message, "agreement, round, model or layout are not those of this site")
        with self._record.locked():
            state = self._record.read()
            if state is not None and self._is_answered(message, state, context):
                return bytes.fromhex(state.answers[Stage.BEGIN])
            box, mask = new_secret(), new_secret()
            keys = {"box_key": public_key(box), "mask_key": public_key(mask)}
            state = SiteState(
                agreement=self._agreement.digest.hex(), client=self._client, round=plan.round, length=plan.layout.length
            )
            state.secrets = {"box": box.hex(), "mask": mask.hex()}
            return self._answer(state, StageMessage(Stage.BEGIN, plan.round, context, self._client, values=keys))

    def share(self, request: bytes) -> bytes:
        """Stage 2: check the keys of U1; return shares of the seed and the mask key, in a box for each other site."""
        message = decode_message(request, Stage.SHARE, reply=False)
        with self._record.locked():
            state = self._state(message)
            keys = self._checked_keys(message, state)
            context = roster_hash(message.context, keys)
            if self._is_repeated(message, state, context):
                return bytes.fromhex(state.answers[Stage.SHARE])
            seed, secrets = new_secret(), state.secrets
            threshold, sites = self._agreement.threshold, message.members
            dealt = [split(secret, threshold, len(sites)) for secret in (seed, bytes.fromhex(secrets["mask"]))]
            shares = dict(zip(sites, zip(*dealt, strict=True), strict=True))
            own, others = shares.pop(self._client), tuple(site for site in sites if site != self._client)
            box_secret = bytes.fromhex(secrets["box"])
            boxes = [Box(box_secret, keys[to][0], context, self._client, to).close(*shares[to]) for to in others]
            state.sites = {Stage.SHARE: list(sites)}
            state.keys = {site: (box.hex(), mask.hex()) for site, (box, mask) in keys.items()}
            state.secrets = {**secrets, "seed": seed.hex()}
            state.shares = {self._client: (own[0].hex(), own[1].hex())}
            commitment = derive(seed, context, Label.SEED_COMMITMENT, self._client)
            return self._answer(
                state,
                StageMessage(
                    Stage.SHARE,
                    state.round,
                    context,
                    self._client,
                    others,
                    {"commitment": commitment},
                    {"box": tuple(boxes)},
                ),
            )

    def mask(self, request: bytes, vector: Vector) -> Pieces:
        """Stage 3: mask ``vector`` in place and return it, in pieces to be sent one after the other.

        If the request is repeated, so is the vector, not yet masked: another one would reveal the difference, and is
        refused.
        """
        message = decode_message(request, Stage.MASK, reply=False)
        with self._record.locked():
            state = self._state(message)
            self._check_vector(message, state, vector)
            sharers = sorted({*message.members, self._client})
            context = sharers_hash(message.context, sharers)
            hashed = hashlib.sha256(canonical(Label.VECTOR, context))
            hashed.update(vector.view(np.uint8).data)
            if self._is_repeated(message, state, context):
                if Stage.CONSENT in state.contexts:
                    self._refuse(message, "the keys are erased, because the sites in the sum are decided")
                if state.vector != hashed.hexdigest():
                    self._refuse(message, "the update is not the one that was sent before, and no second one is sent")
            else:
                self._open_boxes(message, state)
                state.sites[Stage.MASK] = sharers
                state.vector = hashed.hexdigest()
                state.contexts[Stage.MASK] = context.hex()
                del state.secrets["box"]
                self._record.write(state)
        add_streams(vector, self._streams(state, context))
        reply = StageMessage(Stage.MASK, state.round, context, self._client, vector=vector)
        return encode_message(reply.signed(self._identity))

    def consent(self, request: bytes) -> bytes:
        """Stage 4: sign U3, the only one of this round; the keys of the masks are erased."""
        message = decode_message(request, Stage.CONSENT, reply=False)
        with self._record.locked():
            state = self._state(message)
            survivors = message.members
            if not {*survivors} <= {*state.sites[Stage.MASK]} or self._client not in survivors:
                self._refuse(message, "the sites in the sum are not among those that dealt shares, or this site is not")
            if len(survivors) < self._agreement.fewest:
                self._refuse(
                    message, f"{len(survivors)} sites are in the sum; at least {self._agreement.fewest} must be"
                )
            context = survivors_hash(message.context, survivors)
            if self._is_repeated(message, state, context):
                return bytes.fromhex(state.answers[Stage.CONSENT])
            state.sites[Stage.CONSENT] = list(survivors)
            state.secrets, state.keys, state.vector = {}, {}, None
            return self._answer(state, StageMessage(Stage.CONSENT, state.round, context, self._client))

    def unmask(self, request: bytes) -> bytes:
        """Stage 5: check that t sites signed U3; return one share of each site of U2, and erase all shares."""
        message = decode_message(request, Stage.UNMASK, reply=False)
        with self._record.locked():
            state = self._state(message)
            if self._is_repeated(message, state, message.context):
                return bytes.fromhex(state.answers[Stage.UNMASK])
            survivors = {*state.sites[Stage.CONSENT]}
            if not {*message.members} <= survivors or len(message.members) < self._agreement.threshold:
                self._refuse(message, f"fewer than {self._agreement.threshold} sites of the sum signed its list")
            for site, signature in message.by_member("signature").items():
                signed = StageMessage(Stage.CONSENT, state.round, message.context, site, signature=signature)
                if not signed.is_signed_by(self._agreement.sites[site]):
                    self._refuse(message, f"{site} did not sign this list of sites")
            sharers = tuple(state.sites[Stage.MASK])
            shares = tuple(bytes.fromhex(state.shares[site][site not in survivors]) for site in sharers)
            state.shares = {}
            return self._answer(
                state,
                StageMessage(
                    Stage.UNMASK, state.round, message.context, self._client, sharers, columns={"share": shares}
                ),
            )

    def _state(self, message: StageMessage) -> SiteState:
        """Return the state, if the request follows the stage before as this site answered it."""
        state = self._record.read()
        before = _STAGES[_STAGES.index(message.stage) - 1]
        if (
            state is None
            or not self._is_own(state)
            or state.round != message.round
            or state.contexts.get(before) != message.context.hex()
        ):
            self._refuse(message, f"it does not follow the stage {before} as this site answered it")
        return state

    def _is_own(self, state: SiteState) -> bool:
        return (state.agreement, state.client) == (self._agreement.digest.hex(), self._client)

    def _is_answered(self, message: StageMessage, state: SiteState, context: bytes) -> bool:
        """Return whether the recorded round is this one; refuse what was closed before."""
        if not self._is_own(state):
            self._refuse(message, "this run has a record under another agreement; agree on a run of another name")
        if message.round < state.round:
            self._refuse(message, f"round {state.round} has begun, and earlier ones are closed")
        return message.round == state.round and self._is_repeated(message, state, context)

    def _is_repeated(self, message: StageMessage, state: SiteState, context: bytes) -> bool:
        """Return whether the stage was answered to the same request; refuse a second, different one."""
        known = state.contexts.get(message.stage)
        if known is not None and known != context.hex():
            self._refuse(message, "it was answered to another request, and is not answered twice")
        return known is not None

    def _answer(self, state: SiteState, reply: StageMessage) -> bytes:
        """Sign the reply and record it; then it may be sent."""
        answer = b"".join(encode_message(reply.signed(self._identity)))
        state.contexts[reply.stage] = reply.context.hex()
        state.answers[reply.stage] = answer.hex()
        self._record.write(state)
        return answer

    def _checked_keys(self, message: StageMessage, state: SiteState) -> dict[str, tuple[bytes, bytes]]:
        """Return box key and mask key of every site of U1, each signed with the pinned key of its site."""
        sites = message.members
        if self._client not in sites or len(sites) < self._agreement.fewest:
            self._refuse(
                message, f"the list has {len(sites)} sites; it must have this one and {self._agreement.fewest}"
            )
        box_keys, mask_keys, signatures = map(message.by_member, ("box_key", "mask_key", "signature"))
        for site in sites:
            values = {"box_key": box_keys[site], "mask_key": mask_keys[site]}
            signed = StageMessage(
                Stage.BEGIN, state.round, message.context, site, values=values, signature=signatures[site]
            )
            if site not in self._agreement.sites or not signed.is_signed_by(self._agreement.sites[site]):
                self._refuse(message, f"the keys of {site} are not signed with its pinned key for this round")
            if any(map(has_low_order, values.values())):
                self._refuse(message, f"a key of {site} is of low order, so that anybody could compute its masks")
        secrets = state.secrets
        if Stage.SHARE not in state.contexts:
            own = tuple(public_key(bytes.fromhex(secrets[name])) for name in ("box", "mask"))
            if own != (box_keys[self._client], mask_keys[self._client]):
                self._refuse(message, "this site's own keys are others")
        if len({*box_keys.values(), *mask_keys.values()}) != 2 * len(sites):
            self._refuse(message, "two of the keys are equal")
        return {site: (box_keys[site], mask_keys[site]) for site in sites}

    def _check_vector(self, message: StageMessage, state: SiteState, vector: Vector) -> None:
        usable = vector.flags.c_contiguous and vector.flags.writeable
        if vector.dtype != np.uint32 or vector.shape != (state.length,) or not usable:
            found = f"{vector.dtype} of shape {vector.shape}"
            self._refuse(message, f"the vector is {found}, expected {state.length} values of uint32 to be changed")

    def _open_boxes(self, message: StageMessage, state: SiteState) -> None:
        """Add the shares in the boxes to the state; the sites of the boxes and this one are U2."""
        boxes = message.by_member("box")
        others = {*state.sites[Stage.SHARE]} - {self._client}
        if not boxes.keys() <= others or len(boxes) + 1 < self._agreement.fewest:
            self._refuse(message, f"{len(boxes)} boxes came; {self._agreement.fewest - 1} others of the list must deal")
        secret = bytes.fromhex(state.secrets["box"])
        for site, box in boxes.items():
            public = bytes.fromhex(state.keys[site][0])
            try:
                seed, key = Box(secret, public, message.context, site, self._client).open(box)
            except FedfrError as error:
                self._refuse(message, str(error))
            state.shares[site] = (seed.hex(), key.hex())

    def _streams(self, state: SiteState, sharers: bytes) -> list[Stream]:
        secret = bytes.fromhex(state.secrets["mask"])
        streams = [self_stream(bytes.fromhex(state.secrets["seed"]), sharers, self._client)]
        for site in state.sites[Stage.MASK]:
            if site != self._client:
                public = bytes.fromhex(state.keys[site][1])
                streams.append(pair_stream(secret, public, sharers, self._client, site))
        return streams

    def _refuse(self, message: StageMessage, reason: str) -> NoReturn:
        text = f"{self._client} refuses stage {message.stage} of the secure sum of round {message.round}: {reason}"
        raise FedfrError(text, shareable=text)
