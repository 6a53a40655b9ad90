"""Secure sums with clients that drop out or send too much, and what of a client passes to the server."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from tests.support.private_values import raw, windows_in
from tests.support.secure_sums import STAGES, RunSums
from tests.support.tiny_experiment import tiny_config

from fedfr.config.schema import ExperimentConfig
from fedfr.core.errors import FedfrError
from fedfr.engines.local import Tap
from fedfr.engines.local_secure_sum import LocalSumEngine
from fedfr.engines.sum_terms import UpdateTerms
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.method_run import local_engine
from fedfr.federation import withholding_client
from fedfr.federation.messages import Broadcast, Update, decode_update, tensors_by_name
from fedfr.privacy.secure_sum import RoundPlan, coordinator, site
from fedfr.privacy.secure_sum.fixed_point import Vector
from fedfr.privacy.secure_sum.stage_messages import Stage

SUM = ("federation.secure=sum", "federation.largest_count=200")


def config_of(folder: Path, *more: str) -> ExperimentConfig:
    folder.mkdir(exist_ok=True)
    return tiny_config(folder, "split.settings.clients=3", *more)


def check_lost_and_resumed(experiment: Experiment, tap: Tap, reason: str) -> None:
    """Round 1 is lost, also if the server is killed before it has stored that, and the next has a result."""
    start, run = experiment.pretrain(), experiment.method_runs()[0]

    for change in (tap, lambda *message: None):
        run.journal.rewind(0)
        finished = False

        def both(direction: str, client: str, data: bytes, change: Tap = change) -> None:
            nonlocal finished
            change(direction, client, data)
            if finished and b"unmask" not in data[:400]:
                raise KeyboardInterrupt  # In round 2, before a client has answered.
            finished |= b"unmask" in data[:400]

        with pytest.raises(KeyboardInterrupt):
            run.run(start, engine=partial(local_engine, tap=both))
        lost = run.journal.records()[1]
        assert re.match(reason, lost["lost"])
        assert (lost["clients"], lost["totals"]["images"]) == ([], 0)
    Experiment.open(experiment.folder).run()
    records = run.journal.records()
    assert ("lost" in records[2], records[2]["totals"]["clients"]) == (False, 4)
    before, after = (run.journal.read(number).generic for number in (1, 2))
    assert all(torch.equal(value, start.weights[name]) for name, value in before.weights.items())
    assert not torch.equal(before.prototypes, after.prototypes)


FOUR = ("split.settings.clients=4", "split.settings.identities_per_client=2", "federation.secure_threshold=3")


def test_a_sum_is_that_of_its_members_whenever_a_client_drops_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of four drops out, in each round at another stage; once it has sent its vector, it is in the sum."""
    settings = (*SUM, *FOUR, f"federation.rounds={len(STAGES)}")
    experiment = Experiment.create(config_of(tmp_path / "sum", *settings), tmp_path / "sum" / "run")
    found, answer = RunSums.recorded(monkeypatch), LocalSumEngine._answer

    def drops_out(
        self: LocalSumEngine, client: str, stage: Stage, request: bytes, plan: RoundPlan, broadcast: Broadcast
    ) -> bytes:
        if client == "client-04" and stage is STAGES[plan.round - 1]:
            raise FedfrError("it has left")
        return answer(self, client, stage, request, plan, broadcast)

    monkeypatch.setattr(LocalSumEngine, "_answer", drops_out)
    run = experiment.method_runs()[0]
    run.run(experiment.pretrain())
    records = run.journal.records()[1:]
    assert [len(record["clients"]) for record in records] == [3, 3, 3, 4, 4]
    assert found.equal_plain_sums(records) == [True] * 5


def test_a_finished_sum_below_the_quorum_is_lost(tmp_path: Path) -> None:
    settings = (*SUM, *FOUR, "federation.quorum=1.0", "federation.keep_rounds=3")
    experiment = Experiment.create(config_of(tmp_path / "sum", *settings), tmp_path / "sum" / "run")
    run = experiment.method_runs()[0]
    key = run.folder / "clients" / run.participants[-1] / "secure-sum" / "identity.key"

    def tap(direction: str, client: str, data: bytes) -> None:
        if b"share request" in data[:400]:
            key.chmod(0o644)  # The client refuses to use it, and drops out.
        elif b"unmask request" in data[:400]:
            key.chmod(0o600)

    check_lost_and_resumed(experiment, tap, "round 1: 3 of 4 clients delivered, the quorum is 4; its secure sum is not")


def test_a_finished_sum_that_one_client_makes_too_large_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (*SUM, *FOUR, "federation.largest_change=2", "federation.keep_rounds=3")
    experiment = Experiment.create(config_of(tmp_path / "sum", *settings), tmp_path / "sum" / "run")
    honest = UpdateTerms.vector

    def vector(self: UpdateTerms, broadcast: Broadcast, update: Update) -> Vector:
        if (broadcast.round, update.client) == (1, "client-01"):
            update = replace(update, weights={name: value + 10**6 for name, value in update.weights.items()})
        return honest(self, broadcast, update)

    monkeypatch.setattr(UpdateTerms, "vector", vector)
    reason = "round 1: 0 of 4 clients delivered, .* First reason: update of client-01 for round 1 refused: its weights"
    check_lost_and_resumed(experiment, lambda *message: None, reason)


def leaks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what of clients passes in a round: tensors, parts of vectors that are not masked, exact counts."""
    experiment = Experiment.create(config_of(folder, *SUM, "federation.rounds=1"), folder / "run")
    start, seen = experiment.pretrain(), list[tuple[str, str, bytes]]()
    updates, vectors = dict[str, Update](), dict[str, Vector]()
    run, stored = experiment.method_runs()[0], UpdateTerms.vector

    def vector(self: UpdateTerms, broadcast: Broadcast, update: Update) -> Vector:
        updates[update.client], vectors[update.client] = update, stored(self, broadcast, update)
        return vectors[update.client].copy()

    monkeypatch.setattr(UpdateTerms, "vector", vector)
    run.run(start, engine=partial(local_engine, tap=lambda *message: seen.append(message)))
    assert len([direction for direction, _, _ in seen if direction == "up"]) == 3 * 6
    assert not list(run.folder.rglob("secure-sum/update*"))
    found = []
    for client in run.participants:
        tensors = [raw(value) for value in tensors_by_name(updates[client]).values() if value.numel() > 3]
        assert len(tensors) > 3
        found += [f"tensors of {client}"] * any(value in data for value in tensors for _, _, data in seen)
        found += [f"vector of {client}"] * (windows_in(vectors[client], (data for _, _, data in seen)) > 0)
        ready = next(decode_update(data) for direction, name, data in seen if (direction, name) == ("up", client))
        found += [f"count of {client}"] * (ready.count != 1)
    record = run.journal.records()[1]
    # The server knows the sum, and reports the mean for each.
    assert sum(int(vector[0]) for vector in vectors.values()) == record["totals"]["images"]
    assert max(each["count"] for each in record["clients"]) - min(each["count"] for each in record["clients"]) <= 1
    return found


def test_the_server_sees_no_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No part of a client's vector is in any message, nor its number of images."""
    assert leaks(tmp_path, monkeypatch) == []


def no_masks(patch: pytest.MonkeyPatch) -> None:
    for module in (site, coordinator):
        patch.setattr(module, "add_streams", lambda vector, streams: None)


def exact_counts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(withholding_client, "replace", lambda update, count, **empty: replace(update, **empty))


def whole_updates(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(withholding_client, "replace", lambda update, **empty: update)


@pytest.mark.parametrize(
    ("mutant", "what"), [(no_masks, ["vector"]), (exact_counts, ["count"]), (whole_updates, ["tensors", "count"])]
)
def test_planted_leaks_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mutant: Callable[[pytest.MonkeyPatch], None], what: list[str]
) -> None:
    """Each gives the right model, which alone does not show it."""
    mutant(monkeypatch)
    assert leaks(tmp_path, monkeypatch) == [f"{each} of client-{number:02d}" for number in (1, 2, 3) for each in what]
