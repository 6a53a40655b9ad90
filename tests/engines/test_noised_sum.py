"""Runs whose clients share the noise of differential privacy inside a secure sum."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.tiny_experiment import tiny_config

from fedfr.core.errors import FedfrError
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.method_run import local_engine
from fedfr.experiments.person_privacy import LEDGERS, person_plan
from fedfr.federation.messages import Update, decode_reply, encode
from fedfr.federation.withholding_client import withheld_update
from fedfr.privacy.person_dp import (
    NoisedLayout,
    mean_change,
    open_ledger,
    plan,
    trained_names,
    vector_in,
)

SHARED_NOISE = (
    *("privacy.dp=sum", "federation.secure=sum", "privacy.people=3", "privacy.clip=0.001", "method.name=fedavg"),
    *("split.settings.clients=3", "baselines=[]"),
)


@pytest.fixture(autouse=True)
def any_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few people need noise that leaves nothing; here it is what is tested."""
    monkeypatch.setattr(plan, "LARGEST_NOISE_RATIO", 1e9)


def weights(run: Experiment, number: int) -> dict[str, torch.Tensor]:
    return dict(run.method_runs()[0].journal.read(number).generic.weights)


def releases(run: Experiment) -> list[list[tuple[str, int]]]:
    found = []
    for folder in sorted((run.folder / LEDGERS).iterdir()):
        with open_ledger(folder, epsilon=8.0, delta=1e-5) as ledger:
            found.append([each[:2] for each in ledger.releases])
    return found


class Sent:
    """What clients sent, and their vectors before they were masked; ``stop``: number of the message that interrupts."""

    def __init__(self, run: Experiment, stop: int = 0) -> None:
        self.up: list[bytes] = []
        self.vectors: dict[str, np.ndarray] = {}
        self._run = run
        self._stop = stop

    def __call__(self, direction: str, client: str, data: bytes) -> None:
        if direction != "up":
            return
        self.up.append(data)
        if b"mask reply" in data[:400]:
            self.vectors[client] = vector_in(withheld_update(self._run.folder / "clients" / client))
        if len(self.up) == self._stop:
            raise KeyboardInterrupt


def leaks(up: list[bytes]) -> list[str]:
    """Return what the replies to the broadcasts, which are not stages of the sum, hold beside round and client."""
    found = []
    for data in up:
        if b" reply" in data[:400]:
            continue
        reply = decode_reply(data)
        assert isinstance(reply, Update)
        if data != encode(Update(reply.round, reply.client, {}, None, 1)):
            found.append(f"{reply.client}: {sorted(reply.weights)} {reply.metrics} {reply.count} {reply.prototypes}")
    return found


def test_the_model_is_moved_by_the_sum_and_the_round_is_repeated_to_the_same_bits(tmp_path: Path) -> None:
    """Interrupted after the charge, resumed, and repeated by a server that lost its model: one charge, one sum."""
    run = Experiment.create(tiny_config(tmp_path, *SHARED_NOISE, "federation.rounds=1"), tmp_path / "run")
    start, (method_run,) = run.pretrain(False), run.method_runs()
    # Three replies to the broadcast, nine of the first stages, and one masked vector.
    interrupted = Sent(run, stop=3 + 3 + 3 + 1)
    with pytest.raises(KeyboardInterrupt):
        method_run.run(start, engine=partial(local_engine, tap=interrupted))
    assert releases(run) == [[("fedavg", 1)]] * 3
    sent = Sent(run)
    first = method_run.run(start, engine=partial(local_engine, tap=sent)).weights
    assert leaks(sent.up) == []
    (before, vector), *_ = interrupted.vectors.items()
    assert np.array_equal(sent.vectors[before], vector)
    made = person_plan(run.config, method_run.method, 3)
    assert made.mechanism.honest == 2
    total = np.stack([*sent.vectors.values()]).sum(0, dtype=np.uint32)
    change = mean_change(total, made.mechanism, 9)
    names = trained_names(run.components.new_backbone())
    moved = np.concatenate([(first[name].double() - start.weights[name].double()).reshape(-1) for name in names])
    assert np.allclose(moved, change, atol=1e-6)
    assert moved.std() == pytest.approx(change.std(), rel=1e-3)
    assert all(torch.equal(first[name], value) for name, value in start.weights.items() if name not in names)
    # No single vector, which has a share of the noise only, is in what was sent.
    assert not any(vector[:8].tobytes() in data for vector in sent.vectors.values() for data in sent.up)
    method_run.journal.rewind(0)
    again = Experiment.open(tmp_path / "run").method_runs()[0].run(start).weights
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert releases(run) == [[("fedavg", 1)]] * 3
    # Under another agreement the noise of the other sites is the same, so that a second sum would not be protected.
    keys = {path: path.read_bytes() for path in run.folder.rglob("secure-sum/identity.key")}
    method_run.journal.rewind(0)
    for path in keys:
        path.unlink()
    with pytest.raises(FedfrError, match="it has already sent another sum for this round"):
        method_run.run(start)
    for path, key in keys.items():
        path.write_bytes(key)
    run.run(False)
    assert not list((run.folder / LEDGERS).rglob("*.seed"))
    assert all(torch.equal(first[name], value) for name, value in weights(run, 1).items())


def test_clients_that_are_drawn_have_steps_with_which_a_sum_of_all_fits(tmp_path: Path) -> None:
    """So many people that the finest steps for the three of a round would be too fine for four."""
    settings = ("split.settings.clients=4", "federation.participation=0.75", "privacy.people=300")
    more = ("split.settings.identities_per_client=2", "federation.rounds=1")
    run = Experiment.create(tiny_config(tmp_path, *SHARED_NOISE, *settings, *more), tmp_path / "run")
    start, (method_run,) = run.pretrain(False), run.method_runs()
    made = person_plan(run.config, method_run.method, 4)
    with pytest.raises(FedfrError, match="a sum over 1200 persons at 4 sites can reach"):
        NoisedLayout(replace(made.mechanism, steps=int(1.01 * made.mechanism.steps)), 4, made.people_at_site)
    # Noise and signal are those of the three in a sum.
    assert (made.settings.sites, made.settings.people, made.people_at_site) == (3, 900, 300)
    method_run.run(start)
    record = method_run.journal.records()[1]
    assert ("lost" not in record, record["totals"]["clients"]) == (True, 3)


def test_noised_sums_are_not_clipped_a_second_time(tmp_path: Path) -> None:
    clipped = ("federation.aggregation=norm-clipped", "federation.clip_norm=1")
    with pytest.raises(FedfrError, match=r"norm-clipped, but privacy.dp = sum clips the change of each person already"):
        Experiment.create(tiny_config(tmp_path, *SHARED_NOISE, *clipped), tmp_path / "run")
