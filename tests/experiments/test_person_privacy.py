"""Runs with differential privacy for a person: refused where it means nothing, and otherwise charged and noised."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.support.tiny_experiment import bits, tiny_config

from fedfr.core.errors import FedfrError
from fedfr.experiments.experiment import Experiment
from fedfr.privacy.person_dp import open_ledger, plan

PRIVATE = ("privacy.dp=site", "privacy.people=3", "privacy.clip=0.001", "method.name=fedavg", "federation.rounds=2")

SUM = ("privacy.dp=sum", "federation.secure=sum", "split.settings.clients=3")


@pytest.fixture
def any_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few people need noise that leaves nothing; here it is what is tested."""
    monkeypatch.setattr(plan, "LARGEST_NOISE_RATIO", 1e9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((), r"privacy.dp = site: 6 persons, \d+ values and ε = 8 in 2 rounds need noise of [\d.]+ times the largest"),
        (("privacy.people=null",), "privacy.dp = site needs privacy.people, the largest number of persons at a client"),
        (("privacy.epsilon=20",), "privacy.dp = site: ε = 20 means little"),
        (("federation.updates=int8",), "privacy.dp = site: federation.updates = 'int8' keeps what it rounds off"),
        (
            ("federation.secure=sum",),
            "privacy.dp = site is for updates that are sent by themselves; .* set privacy.dp=sum",
        ),
        (("privacy.dp=sum",), "privacy.dp = sum shares the noise inside a secure sum; set federation.secure=sum"),
        (
            (*SUM, "privacy.colluding=2", "federation.secure_threshold=2"),
            "privacy.dp = sum: a threshold of 2 among 3 sites",
        ),
        ((*SUM, "privacy.colluding=3"), "privacy.dp = sum: 3 of 3 sites collude with the server"),
        (SUM, r"privacy.dp = sum: 9 persons, \d+ values and ε = 8 in 2 rounds need noise of [\d.]+ times"),
        (("method.name=fedface",), "privacy.dp = site: this method sends more than the change of a generic model"),
        (("method.name=local",), "privacy.dp = site: the clients of local send nothing; choose a federated method"),
    ],
)
def test_meaningless_runs_are_refused_before_they_begin(
    settings: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(FedfrError, match=message):
        Experiment.create(tiny_config(tmp_path, *PRIVATE, *settings), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("any_noise")
def test_more_people_than_agreed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FedfrError, match=r"client-\d+ has 3 persons, privacy.people is 2; give a larger number"):
        Experiment.create(tiny_config(tmp_path, *PRIVATE, "privacy.people=2"), tmp_path / "run")


@pytest.mark.usefixtures("any_noise")
def test_a_run_is_charged_noised_and_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Experiment.create(tiny_config(tmp_path, *PRIVATE, "baselines=[]"), tmp_path / "run")
    rows = run.run()
    printed = capsys.readouterr().err
    assert "privacy: guarantee  ε = 8.000 at δ = 1e-05 after 2 rounds" in printed
    assert rows
    ledgers = sorted(path.parent for path in (tmp_path / "run").rglob("ledger.json"))
    assert [ledger.parent.name for ledger in ledgers] == ["person-ledgers"] * 2
    for folder in ledgers:
        with open_ledger(folder, epsilon=8.0, delta=1e-5) as ledger:
            assert [each[:2] for each in ledger.releases] == [("fedavg", 1), ("fedavg", 2)]
            assert 7.99 < ledger.spent <= 8
    events = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    updates = [event for event in events if event["event"] == "update"]
    assert len(updates) == 4
    assert all(event["count"] == 3 and "images/private" not in event and "loss/total" not in event for event in updates)
    before = bits(tmp_path / "run")
    assert Experiment.open(tmp_path / "run").run(False) == rows
    assert bits(tmp_path / "run") == before
    # Every round was accepted: its seed is gone, and with it again the budget would be exceeded.
    assert not list((tmp_path / "run").rglob("seeds/*"))
    with pytest.raises(FedfrError, match="differential privacy and cannot return to an earlier round"):
        run.rewind(1)
    # A journal set back by hand.
    run.method_runs()[0].journal.rewind(1)
    (tmp_path / "run" / "evaluation" / "fedavg.json").unlink()
    with pytest.raises(FedfrError, match="the privacy budget of its persons is spent"):
        Experiment.open(tmp_path / "run").run(False)


@pytest.mark.usefixtures("any_noise")
def test_an_interrupted_round_has_the_same_noise_again(tmp_path: Path) -> None:
    run = Experiment.create(tiny_config(tmp_path, *PRIVATE, "baselines=[]"), tmp_path / "run")
    start = run.pretrain(False)
    first = run.method_runs()[0].run(start).weights
    assert len([*(tmp_path / "run").rglob("seeds/*")]) == 2
    # As if the server had been killed before it stored the last round.
    run.method_runs()[0].journal.rewind(1)
    again = Experiment.open(tmp_path / "run").method_runs()[0].run(start).weights
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.usefixtures("any_noise")
def test_noise_is_secret_and_not_of_the_runs_seed(tmp_path: Path) -> None:
    """Two runs with the same settings and starting model have different generic models."""
    models = []
    for name in "ab":
        settings = (*PRIVATE, "baselines=[]", "federation.rounds=1")
        run = Experiment.create(tiny_config(tmp_path, *settings), tmp_path / name)
        start = run.pretrain(False)
        models.append((start.weights, run.method_runs()[0].run(start).weights))
    same = [
        {name: torch.equal(first[name], second[name]) for name in first} for first, second in zip(*models, strict=True)
    ]
    assert all(same[0].values())
    assert not all(same[1].values())
