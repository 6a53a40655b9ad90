"""A faulty site's messages are refused by name and change nothing; wrong shares never give a wrong sum."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.support.fuzz.bounds import bounded, refusal
from tests.support.fuzz.messages import damaged
from tests.support.fuzz.mutator import Mutator
from tests.support.secure_sums import STAGES, Sums, plain_sum, refused

from fedfr.core.errors import FedfrError
from fedfr.privacy.secure_sum.coordinator import Coordinator
from fedfr.privacy.secure_sum.keys import new_secret, public_key
from fedfr.privacy.secure_sum.site_record import SiteRecord
from fedfr.privacy.secure_sum.stage_messages import Stage, StageMessage, decode_message, encode_message

# Of the points that RFC 7748 names in section 6.1 as not contributing to the result.
ORDER_EIGHT = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"


def answers(sums: Sums, coordinator: Coordinator, name: str) -> StageMessage:
    stage = coordinator.stage
    assert stage is not None
    data = sums.answer(stage, name, coordinator.requests()[name], sums.plan())
    return decode_message(data, stage, reply=True, length=sums.layout.length)


def sent(message: StageMessage) -> bytes:
    return b"".join(encode_message(message))


@pytest.mark.parametrize("stage", STAGES)
def test_replies_that_are_refused(tmp_path: Path, stage: Stage) -> None:
    sums = Sums(tmp_path, 4, 3)
    coordinator = sums.until(stage, sums.plan())
    total = None if coordinator.total is None else coordinator.total.copy()
    honest = answers(sums, coordinator, "adam")
    identities = sums.identities
    wrong = {
        "the reply is of adam": ("Berta", honest),
        "it was not asked": ("gustav", honest),
        "the reply is bound to another": ("adam", replace(honest, context=bytes(32)).signed(identities["adam"])),
        "not signed with its pinned key": ("adam", honest.signed(identities["Berta"])),
        "for round 2": ("adam", replace(honest, round=2)),
    }
    for reason, (name, message) in wrong.items():
        text = refused(partial(coordinator.receive, name, sent(message)))
        assert reason in text
        assert text.startswith(f"{name}, stage {stage} of the secure sum of round 1: ")
    if total is not None:
        assert coordinator.total is not None
        assert np.array_equal(coordinator.total, total)
    coordinator.receive("adam", sent(honest))
    coordinator.receive("adam", sent(honest))
    again = replace(honest, signature=identities["adam"].sign(b""))
    assert "it replied before with other content" in refused(partial(coordinator.receive, "adam", sent(again)))
    done = sums.until(
        None, sums.plan(), answers=lambda at, name: at is not stage or name != "adam", coordinator=coordinator
    )
    assert done.total is not None
    assert np.array_equal(done.total, plain_sum(sums.vectors(), done.members))
    assert "is finished; begin the next round" in refused(partial(done.receive, "adam", sent(honest)))


def test_a_late_vector_is_not_added(tmp_path: Path) -> None:
    sums = Sums(tmp_path, 4, 3)
    plan = sums.plan()
    coordinator = sums.until(Stage.MASK, plan)
    late = sent(answers(sums, coordinator, "adam"))
    sums.until(Stage.CONSENT, plan, answers=lambda stage, name: name != "adam", coordinator=coordinator)
    assert "its reply to an earlier stage was late" in refused(partial(coordinator.receive, "adam", late))
    sums.until(None, plan, coordinator=coordinator)
    assert coordinator.total is not None
    assert np.array_equal(coordinator.total, plain_sum(sums.vectors(), ("Berta", "cäsar", "dora")))


@pytest.mark.parametrize(
    "keys",
    [
        lambda key: {"box_key": bytes(32), "mask_key": key},
        lambda key: {"box_key": key, "mask_key": key},
        lambda key: {"box_key": key, "mask_key": bytes.fromhex(ORDER_EIGHT)},
    ],
    ids=["zeros", "twice the same", "order 8"],
)  # fmt: skip
def test_keys_that_would_stop_the_others(tmp_path: Path, keys: Callable[[bytes], dict[str, bytes]]) -> None:
    """The coordinator drops the site; the round is that of the others."""
    sums = Sums(tmp_path, 4, 3)
    coordinator = sums.coordinator(sums.plan())
    honest = answers(sums, coordinator, "adam")
    bad = replace(honest, values=keys(public_key(new_secret()))).signed(sums.identities["adam"])
    assert "not two new ones of full order" in refused(partial(coordinator.receive, "adam", sent(bad)))
    done = sums.until(None, sums.plan(), answers=lambda stage, name: name != "adam", coordinator=coordinator)
    assert done.members == ("Berta", "cäsar", "dora")


@pytest.mark.parametrize("of", ["dora", "emil"], ids=["in the sum", "dropped out"])
def test_a_wrong_share_is_noticed(tmp_path: Path, of: str) -> None:
    """One of four: three others recover the secret. Two of four: the round has no result rather than a wrong one."""
    sums = Sums(tmp_path, 5, 3)
    plan = sums.plan()

    def alive(stage: Stage, name: str) -> bool:
        return name != "emil" or stage in (Stage.BEGIN, Stage.SHARE)

    state = sums.until(Stage.UNMASK, plan, answers=alive)
    stored, total = state.state(), state.total
    assert total is not None
    for liars in (("Berta",), ("Berta", "cäsar")):
        coordinator = Coordinator.restore(sums.agreement, plan, stored, total.copy())
        for name in coordinator.requests():
            message = answers(sums, coordinator, name)
            if name in liars:
                shares = {**message.by_member("share"), of: new_secret()}
                column = tuple(shares[site] for site in message.members)
                message = replace(message, columns={"share": column}).signed(sums.identities[name])
            coordinator.receive(name, sent(message))
        if len(liars) == 1:
            coordinator.advance()
            assert coordinator.total is not None
            assert np.array_equal(coordinator.total, plain_sum(sums.vectors(), coordinator.members))
        else:
            assert f"the 4 shares of {of} do not give what it published" in refused(coordinator.advance)


def test_damaged_messages_are_refused_in_one_line(tmp_path: Path) -> None:
    """Every kind, damaged in bytes, header and columns: read as a whole message, or refused; never more memory."""
    sums, seen = Sums(tmp_path, 3, 3), list[tuple[Stage, str, bytes, bytes]]()
    sums.until(None, sums.plan(), seen=seen)
    length, mutator, count = sums.layout.length, Mutator(7), 0
    kinds = [(stage, request, False) for stage, name, request, _ in seen if name == "adam"]
    kinds += [(stage, reply, True) for stage, name, _, reply in seen if name == "adam"]
    others = [data for _, data, _ in kinds]
    with bounded(mebibytes=512):
        for stage, data, reply in kinds:
            for _ in range(60):
                broken = damaged(mutator, data, others)
                count += refusal(partial(decode_message, broken, stage, reply=reply, length=length)) is not None
            for cut in range(0, len(data), 97):
                with pytest.raises(FedfrError, match="is not a whole"):
                    decode_message(data[:cut], stage, reply=reply, length=length)
    assert count > 300


def test_a_message_of_one_kind_is_not_read_as_another(tmp_path: Path) -> None:
    sums, seen = Sums(tmp_path, 3, 3), list[tuple[Stage, str, bytes, bytes]]()
    sums.until(None, sums.plan(), seen=seen)
    for stage, name, request, reply in seen:
        for other in STAGES:
            for data, is_reply in ((request, False), (reply, True)):
                for wanted in (False, True):
                    if (other, wanted) != (stage, is_reply) and name == "adam":
                        with pytest.raises(FedfrError, match=r"of another kind|its sender"):
                            decode_message(data, other, reply=wanted, length=sums.layout.length)


def test_damaged_states_of_a_coordinator(tmp_path: Path) -> None:
    sums = Sums(tmp_path, 3, 3)
    coordinator = sums.until(Stage.UNMASK, sums.plan())
    state, total = coordinator.state(), coordinator.total
    restore = partial(Coordinator.restore, sums.agreement, sums.plan())
    content = json.loads(state)
    replies = content["replies"]
    wrong = [
        state[:-1], b"", b"[]", json.dumps(content | {"round": 2}).encode(),
        json.dumps(content | {"replies": {"share": replies["share"]}}).encode(),
        json.dumps(content | {"replies": replies | {"mask": {**replies["mask"], "zora": ""}}}).encode(),
        json.dumps(content | {"replies": replies | {"begin": {"adam": "?"}}}).encode(),
    ]  # fmt: skip
    for each in wrong:
        assert "is damaged" in refused(partial(restore, each, total))
    assert "is missing or has another length" in refused(partial(restore, state, None))
    swapped = replies | {"begin": replies["begin"] | {"adam": replies["begin"]["Berta"]}}
    assert "the reply is of Berta" in refused(
        partial(restore, json.dumps(content | {"replies": swapped}).encode(), total)
    )


def test_a_temporary_file_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    """It may hold secrets."""
    record = SiteRecord(tmp_path, "run")
    leftover = tmp_path / ".run.json.123.tmp"
    leftover.write_bytes(b"secret")
    with record.locked():
        assert not leftover.exists()
