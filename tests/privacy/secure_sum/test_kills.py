"""A site that is killed between any two writes gives one answer for each stage, and the round has the right sum."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.support.kill_steps import killed_at_every_step
from tests.support.secure_sums import STAGES, Sums, plain_sum

from fedfr.core.errors import FedfrError
from fedfr.privacy.secure_sum.coordinator import Coordinator
from fedfr.privacy.secure_sum.coordinator_record import CoordinatorRecord, run_sum
from fedfr.privacy.secure_sum.stage_messages import Stage, decode_message, encode_message


@pytest.mark.parametrize("stage", STAGES)
def test_the_answer_that_left_is_the_only_one(tmp_path: Path, stage: Stage) -> None:
    sums = Sums(tmp_path / "sites", 4, 3)
    plan, left, whole = sums.plan(), tmp_path / "left", tmp_path / "whole"
    coordinator = sums.until(stage, plan)
    request, state = coordinator.requests()["adam"], coordinator.state()
    total = None if coordinator.total is None else coordinator.total.copy()
    sums.folder.mkdir(exist_ok=True)
    shutil.copytree(sums.folder, whole)

    def prepare() -> None:
        shutil.rmtree(sums.folder)
        shutil.copytree(whole, sums.folder)
        left.unlink(missing_ok=True)

    def operate() -> None:
        left.write_bytes(sums.answer(stage, "adam", request, plan))

    last = 0
    for step in killed_at_every_step(prepare, operate):
        again = sums.answer(stage, "adam", request, plan)
        assert not left.exists() or left.read_bytes() == again
        assert not list((sums.folder / "adam").glob(".*.tmp"))
        kept = None if total is None else total.copy()
        done = sums.until(None, plan, coordinator=Coordinator.restore(sums.agreement, plan, state, kept))
        assert done.total is not None
        assert np.array_equal(done.total, plain_sum(sums.vectors(), done.members))
        last = step
    assert last > 3


@pytest.mark.slow
def test_server_and_sites_that_are_killed_together(tmp_path: Path) -> None:
    """One process runs them all; killed before any write of any of them, it continues to the right sum."""
    sums, place = Sums(tmp_path / "sites", 3, 3), tmp_path / "server"
    plan, record = sums.plan(), CoordinatorRecord(place)
    refused = list[tuple[str, str]]()

    def exchange(stage: Stage, requests: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
        for name, request in requests.items():
            yield name, sums.answer(stage, name, request, plan)

    def prepare() -> None:
        for folder in (sums.folder, place):
            shutil.rmtree(folder, ignore_errors=True)

    def operate() -> None:
        run_sum(record, sums.agreement, plan, exchange)

    steps = 0
    for _ in killed_at_every_step(prepare, operate):
        total, members = run_sum(
            record, sums.agreement, plan, exchange, lambda site, reason: refused.append((site, reason))
        )
        assert members == tuple(sorted(sums.names))
        assert np.array_equal(total, plain_sum(sums.vectors(), members))
        steps += 1
    assert refused == []
    assert steps > 10
    record.remove(plan)
    assert not list(place.glob("secure-sum-*"))


def test_of_two_lists_one_is_signed(tmp_path: Path) -> None:
    """Killed on the way to one signature, the site is asked for another list; both never leave."""
    sums = Sums(tmp_path / "sites", 4, 3)
    plan, left, whole = sums.plan(), tmp_path / "left", tmp_path / "whole"
    request = sums.until(Stage.CONSENT, plan).requests()["adam"]
    message = decode_message(request, Stage.CONSENT, reply=False)
    other = b"".join(encode_message(replace(message, members=message.members[:-1])))
    shutil.copytree(sums.folder, whole)
    sign = partial(sums.answer, Stage.CONSENT, "adam")

    def prepare() -> None:
        shutil.rmtree(sums.folder)
        shutil.copytree(whole, sums.folder)
        left.unlink(missing_ok=True)

    refusals, signatures = 0, 0
    for _ in killed_at_every_step(prepare, lambda: left.write_bytes(sign(request, plan))):
        try:
            sign(other, plan)
        except FedfrError as error:
            assert "is not answered twice" in str(error)  # noqa: PT017 - both outcomes are right
            sign(request, plan)
            refusals += 1
        else:
            assert not left.exists()
            signatures += 1
            with pytest.raises(FedfrError, match="is not answered twice"):
                sign(request, plan)
    assert (refusals > 0, signatures > 0) == (True, True)
