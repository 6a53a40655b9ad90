"""Attacks of a server that deviates from the protocol: each is refused by name, and nothing is released or changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.secure_sum_attacks import Attack, read, sent, with_columns, without
from tests.support.secure_sums import STAGES, Sums, refused

from fedfr.core.errors import FedfrError
from fedfr.privacy.secure_sum.agreement import SumAgreement
from fedfr.privacy.secure_sum.coordinator import Coordinator
from fedfr.privacy.secure_sum.keys import Identity, new_secret, public_key
from fedfr.privacy.secure_sum.site import Site
from fedfr.privacy.secure_sum.stage_messages import Stage, StageMessage

SERVER = Identity(b"server's own key 32 bytes long!!")


def test_another_model_for_one_site(tmp_path: Path) -> None:
    """Model inconsistency: it does not begin, and if it did, the others would not accept its keys."""
    attack = Attack(tmp_path, Stage.BEGIN)
    own = attack.sums.plan(model=1.0)
    request = attack.coordinator.requests()["adam"]
    assert "model or layout are not those of this site" in refused(
        partial(attack.sums.answer, Stage.BEGIN, "adam", request, own)
    )
    targeted = Coordinator(attack.sums.agreement, own).requests()["adam"]
    reply = attack.sums.answer(Stage.BEGIN, "adam", targeted, own)
    assert "the reply is bound to another request" in refused(partial(attack.coordinator.receive, "adam", reply))
    # A server that passes its keys on all the same.
    for name in attack.sums.names[1:]:
        attack.coordinator.receive(name, attack.sums.answer(Stage.BEGIN, name, request, attack.plan))
    attack.coordinator.advance()
    honest = read(attack.coordinator.requests()["Berta"], Stage.SHARE)
    theirs, members = read(reply, Stage.BEGIN, reply=True), ("adam", *honest.members)
    order = tuple(sorted(members))
    added = {
        name: {**honest.by_member(name), "adam": theirs.values.get(name, theirs.signature)} for name in honest.columns
    }
    forged = replace(
        honest, members=order, columns={name: tuple(column[site] for site in order) for name, column in added.items()}
    )
    reason = refused(partial(attack.sums.answer, Stage.SHARE, "Berta", sent(forged), attack.plan))
    assert reason.endswith("the keys of adam are not signed with its pinned key for this round")


def test_keys_of_the_server_in_the_name_of_a_site(tmp_path: Path) -> None:
    attack = Attack(tmp_path, Stage.SHARE)
    own = public_key(new_secret())
    for column in ("box_key", "mask_key"):
        swapped = with_columns(attack.honest, column, "emil", own)
        assert "the keys of emil are not signed" in attack.refused(swapped)
    values = {"box_key": own, "mask_key": public_key(new_secret())}
    signed = StageMessage(Stage.BEGIN, 1, attack.honest.context, "emil", values=values).signed(SERVER)
    forged = attack.honest
    for column, value in {**values, "signature": signed.signature}.items():
        forged = with_columns(forged, column, "emil", value)
    assert "the keys of emil are not signed" in attack.refused(forged)
    attack.finish()


def test_keys_of_an_earlier_round(tmp_path: Path) -> None:
    first = Attack(tmp_path, Stage.SHARE)
    second = Attack(tmp_path, Stage.SHARE, 2)
    replayed = second.honest
    for column in replayed.columns:
        replayed = with_columns(replayed, column, "emil", first.honest.by_member(column)["emil"])
    assert "the keys of emil are not signed" in second.refused(replayed)
    assert "does not follow the stage begin" in second.refused(first.honest)
    second.finish()


def test_a_list_that_is_too_short_or_strange(tmp_path: Path) -> None:
    attack = Attack(tmp_path, Stage.SHARE)
    assert "the list has 3 sites; it must have this one and 4" in attack.refused(without(attack.honest, "emil", "dora"))
    assert "the list has 4 sites; it must have this one and 4" in attack.refused(without(attack.honest, "adam"))
    attack.finish()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"box_key": bytes(32)}, "a key of emil is of low order"),
        ({"mask_key": b"\x01" + bytes(31)}, "a key of emil is of low order"),
        ({"mask_key": "adam"}, "two of the keys are equal"),
    ],
)
def test_bad_keys_of_a_colluding_site(tmp_path: Path, values: dict[str, bytes | str], reason: str) -> None:
    """Signed as they should be: of low order, with which every secret agrees on zeros, or another site's own."""
    attack = Attack(tmp_path, Stage.SHARE)
    honest = attack.honest
    keys = {name: honest.by_member(name)["emil"] for name in ("box_key", "mask_key")}
    keys |= {name: key if isinstance(key, bytes) else honest.by_member(name)[key] for name, key in values.items()}
    emil = attack.sums.identities["emil"]
    signed = StageMessage(Stage.BEGIN, 1, honest.context, "emil", values=keys).signed(emil)
    for column, value in {**keys, "signature": signed.signature}.items():
        honest = with_columns(honest, column, "emil", value)
    assert reason in attack.refused(honest)


def test_boxes_that_were_changed_or_swapped(tmp_path: Path) -> None:
    attack = Attack(tmp_path, Stage.MASK)
    boxes = attack.honest.by_member("box")
    flipped = bytes([boxes["emil"][0] ^ 1]) + boxes["emil"][1:]
    to_dora = read(attack.coordinator.requests()["dora"], Stage.MASK).by_member("box")["emil"]
    wrong = (flipped, boxes["dora"], to_dora, bytes(len(flipped)))
    reasons = {attack.refused(with_columns(attack.honest, "box", "emil", box)) for box in wrong}
    # Whatever is wrong, the server learns the same.
    assert reasons == {"the box from emil cannot be opened; it was changed or is for another round"}
    assert "2 boxes came; 3 others of the list must deal" in attack.refused(without(attack.honest, "emil", "dora"))
    attack.finish()


def test_a_second_list_or_a_second_vector_for_one_round(tmp_path: Path) -> None:
    """Either would give the difference of two vectors under the same masks, or one vector under two masks."""
    attack = Attack(tmp_path, Stage.MASK)
    first = attack.sums.answer(Stage.MASK, "adam", sent(attack.honest), attack.plan)
    assert "it was answered to another request" in attack.refused(without(attack.honest, "emil"))
    other = attack.sums.vector("adam")
    other[1] += 1
    before = other.copy()
    reason = refused(partial(attack.sums.site("adam").mask, sent(attack.honest), other))
    assert "the update is not the one that was sent before" in reason
    assert np.array_equal(other, before)
    frozen = attack.sums.vector("adam")
    frozen.setflags(write=False)
    wrong: list[Any] = [frozen, attack.sums.vector("adam")[:-1], attack.sums.vector("adam").view(np.int32)]
    for vector in wrong:
        reason = refused(partial(attack.sums.site("adam").mask, sent(attack.honest), vector))
        assert "expected 9 values of uint32 to be changed" in reason
    assert attack.sums.answer(Stage.MASK, "adam", sent(attack.honest), attack.plan) == first


def test_another_list_of_the_sites_in_the_sum(tmp_path: Path) -> None:
    attack = Attack(tmp_path, Stage.CONSENT)
    honest = attack.honest
    assert "3 sites are in the sum; at least 4" in attack.refused(without(honest, "emil", "dora"))
    assert "or this site is not" in attack.refused(without(honest, "adam"))
    strange = replace(honest, members=tuple(sorted((*honest.members, "zora"))))
    assert "not among those that dealt" in attack.refused(strange)
    attack.sums.answer(Stage.CONSENT, "adam", sent(honest), attack.plan)
    assert "it was answered to another request" in attack.refused(without(honest, "emil"))
    attack.finish()


def test_a_site_that_is_active_and_dead(tmp_path: Path) -> None:
    """Both shares of dora would open her vector: half of the sites are told that she is in the sum, half that not.

    No list gets the signatures of four sites, because each site signs one list.
    """
    attack = Attack(tmp_path, Stage.CONSENT)
    sums, whole = attack.sums, attack.honest
    less = without(whole, "dora")
    told = {"adam": whole, "Berta": whole, "dora": whole, "cäsar": less, "emil": less}
    signed = {
        name: read(sums.answer(Stage.CONSENT, name, sent(each), attack.plan), Stage.CONSENT, reply=True)
        for name, each in told.items()
    }
    for name in ("adam", "cäsar"):
        context = signed[name].context
        groups = (signed, {site: it for site, it in signed.items() if it.context == context})
        for group in groups:
            members = tuple(sorted(site for site in group if site in told[name].members))
            signatures = {"signature": tuple(group[site].signature for site in members)}
            request = StageMessage(Stage.UNMASK, 1, context, "", members, columns=signatures)
            reason = refused(partial(sums.answer, Stage.UNMASK, name, sent(request), attack.plan))
            assert "did not sign this list" in reason or "fewer than 4 sites of the sum signed" in reason


def test_signatures_of_another_purpose_or_of_strangers(tmp_path: Path) -> None:
    attack = Attack(tmp_path, Stage.UNMASK)
    sums, honest = attack.sums, attack.honest
    assert "fewer than 4 sites of the sum signed" in attack.refused(without(honest, "emil", "dora"))
    own = StageMessage(Stage.CONSENT, 1, honest.context, "emil").signed(SERVER).signature
    assert "emil did not sign" in attack.refused(with_columns(honest, "signature", "emil", own))
    # The same values, signed by emil for another stage.
    other = StageMessage(Stage.MASK, 1, honest.context, "emil").signed(sums.identities["emil"]).signature
    assert "emil did not sign" in attack.refused(with_columns(honest, "signature", "emil", other))
    stranger = replace(
        honest, members=(*honest.members, "zora"), columns={"signature": (*honest.columns["signature"], own)}
    )
    assert "fewer than 4 sites of the sum signed" in attack.refused(stranger)
    attack.finish()


def test_a_round_run_again_with_one_site_fewer(tmp_path: Path) -> None:
    """The difference of both sums would be the vector of that site; every other site refuses, also after a restart."""
    attack = Attack(tmp_path, Stage.UNMASK)
    sums = attack.sums
    attack.finish()
    again = sums.coordinator(attack.plan)
    for stage in (Stage.BEGIN, Stage.SHARE):
        for name, request in again.requests().items():
            if name != "dora" or stage is Stage.BEGIN:
                again.receive(name, sums.answer(stage, name, request, attack.plan))
        again.advance()
    for name, request in again.requests().items():
        assert "it was answered to another request" in refused(
            partial(sums.answer, Stage.MASK, name, request, attack.plan)
        )
    # The same with dora's keys left out, and with the same round of another model.
    began = sums.coordinator(attack.plan)
    for name, request in began.requests().items():
        if name != "dora":
            began.receive(name, sums.answer(Stage.BEGIN, name, request, attack.plan))
    began.advance()
    for name, request in began.requests().items():
        assert "it was answered to another" in refused(partial(sums.answer, Stage.SHARE, name, request, attack.plan))
    other = sums.plan(model=2.0)
    for name, request in sums.coordinator(other).requests().items():
        assert "it was answered to another" in refused(partial(sums.answer, Stage.BEGIN, name, request, other))


def test_earlier_rounds_are_closed(tmp_path: Path) -> None:
    attack = Attack(tmp_path, Stage.BEGIN, 5)
    attack.finish()
    for number in (1, 4):
        earlier = attack.sums.plan(number)
        request = attack.sums.coordinator(earlier).requests()["adam"]
        reason = refused(partial(attack.sums.answer, Stage.BEGIN, "adam", request, earlier))
        assert "round 5 has begun, and earlier ones are closed" in reason


def test_another_agreement_for_the_same_run(tmp_path: Path) -> None:
    """Fewer sites, or a lower threshold: the record of the run does not know it."""
    attack = Attack(tmp_path, Stage.SHARE)
    attack.finish()
    pinned = {name: key for name, key in attack.sums.agreement.sites.items() if name != "dora"}
    changed = SumAgreement("run", pinned, 3)
    plan = replace(attack.sums.plan(2), layout=replace(attack.sums.layout, sites=4))
    request = Coordinator(changed, plan).requests()["adam"]
    site = Site(changed, "adam", attack.sums.identities["adam"], tmp_path / "adam")
    assert "this run has a record under another agreement" in refused(partial(site.begin, request, plan))


@pytest.mark.parametrize("stage", STAGES)
def test_a_damaged_record_ends_the_part_of_a_site(tmp_path: Path, stage: Stage) -> None:
    """Truncated, emptied, or with a field of another type: it is never taken for a new run."""
    attack = Attack(tmp_path, stage)
    path = tmp_path / "adam" / "run.json"
    whole = path.read_bytes() if path.exists() else b"{}"
    for damaged in (whole[:-1], b"", whole.replace(b'"round":1', b'"round":true'), b"[]", b"null"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(damaged)
        if damaged == whole:
            continue
        with pytest.raises(FedfrError, match=r"cannot be read: .*takes no further part") as caught:
            attack.sums.answer(stage, "adam", sent(attack.honest), attack.plan)
        # No path is sent to the coordinator.
        assert caught.value.shareable == "the site's record of secure sums cannot be read"
        assert path.read_bytes() == damaged


def test_an_identity_that_is_not_pinned(tmp_path: Path) -> None:
    sums = Sums(tmp_path, 3, 3)
    make: Callable[[], object] = partial(Site, sums.agreement, "adam", SERVER, tmp_path)
    assert "is not the one in the agreement of run run" in refused(make)
