"""A privacy audit repeats the last round to the bit, and leaves out what nobody sees, with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.support.tiny_experiment import bits, tiny_config

from fedfr.core.errors import FedfrError
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.privacy_audit import audit_run, stored_audit
from fedfr.experiments.report import write_report
from fedfr.experiments.round_replay import check_repeated, replay_last_round
from fedfr.privacy.audit.canaries import largest_epsilon
from fedfr.privacy.person_dp import plan
from fedfr.results.audit_rows import AuditRow

THREE = ("split.settings.clients=3", "split.settings.identities_per_client=2", "split.settings.public_identities=4")


FEW = ("federation.largest_count=1000",)


def finished(folder: Path, *settings: str) -> Path:
    Experiment.create(tiny_config(folder, *THREE, *settings), folder / "run").run(False)
    return folder / "run"


def row_of(rows: list[AuditRow], inference: str, observer: str) -> AuditRow:
    (row,) = [row for row in rows if (row.inference, row.observer) == (inference, observer)]
    return row


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("plain"))


def test_an_audit_is_stored_and_in_the_report_and_the_run_is_unchanged(plain: Path) -> None:
    before = bits(plain)
    rows = audit_run(plain, canaries=8)
    assert bits(plain) == before
    assert stored_audit(plain) == rows
    assert not list(plain.glob(".privacy-audit*"))
    measured = [row for row in rows if not row.left_out]
    assert {row.inference for row in measured} >= {"enrolment", "membership"}
    assert {row.observer for row in measured} >= {"each update", "sum only", "another site", "final model", "gallery"}
    for row in measured:
        assert row.positive_control is None or row.positive_control > 0.9, row
        assert row.shuffled == pytest.approx(0.5, abs=0.1), row
    assert row_of(rows, "inversion", "each update").auc is not None
    assert row_of(rows, "canaries", "sum only").epsilon_most == pytest.approx(largest_epsilon(8))
    assert row_of(rows, "prototypes", "unstripped model").auc == pytest.approx(1.0)
    stripped = row_of(rows, "prototypes", "personalized model")
    assert stripped.left_out == "branches and private prototypes are stripped from the file"
    # Templates name their people; a stripped model has none.
    assert row_of(rows, "membership", "gallery").auc == pytest.approx(1.0)
    assert row_of(rows, "enrolment", "final model").left_out == "the file holds no change of public prototypes"
    page = write_report(plain).read_text()
    assert "<h2>Privacy audit</h2>" in page
    assert "gallery" in page


def test_a_round_is_repeated_to_the_bit_and_anything_else_is_refused(plain: Path, tmp_path: Path) -> None:
    run = Experiment.open(plain).method_runs()[0]
    replay = replay_last_round(run, tmp_path / "again")
    check_repeated(run, replay)
    updates = [*replay.updates.values()]
    weighted = torch.stack([update.count * update.weights["fc.weight"].double() for update in updates]).sum(0)
    mean = (weighted / sum(update.count for update in updates)).float()
    assert torch.allclose(mean, replay.after.weights["fc.weight"], atol=1e-6)
    stored = replay.after.weights["fc.weight"]
    stored.view(-1)[0] = torch.nextafter(stored.view(-1)[0], torch.tensor(torch.inf))
    with pytest.raises(FedfrError, match=r"gives another model when it is repeated \(1 tensors, such as fc.weight\)"):
        check_repeated(run, replay)


def test_kept_prototypes_and_secure_sums_leave_less_to_see(tmp_path: Path) -> None:
    kept = audit_run(finished(tmp_path, "federation.prototypes=keep", "federation.secure=sum", *FEW), canaries=0)
    assert row_of(kept, "membership", "each update").left_out == "the server receives masked vectors and their sum"
    reason = "federation.prototypes = keep: public prototypes are not sent"
    assert row_of(kept, "mined", "sum only").left_out == row_of(kept, "enrolment", "another site").left_out == reason
    assert row_of(kept, "membership", "sum only").auc is not None
    assert row_of(kept, "canaries", "sum only").left_out == "none were asked for"


def test_noise_of_persons_is_drawn_anew_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "LARGEST_NOISE_RATIO", 1e9)
    shared = ("privacy.dp=sum", "federation.secure=sum", "privacy.people=2", *THREE, *FEW)
    private = (*shared, "method.name=fedavg", "federation.rounds=1")
    run = Experiment.create(tiny_config(tmp_path, *private), tmp_path / "run")
    run.run(False)
    (method_run, *_), before = run.method_runs(), bits(tmp_path / "run")
    replay = replay_last_round(method_run, tmp_path / "again")
    check_repeated(method_run, replay)
    assert bits(tmp_path / "run") == before
    weight, stored = replay.after.weights["fc.weight"], method_run.journal.read(1).generic.weights["fc.weight"]
    assert not torch.equal(weight, stored)
    weight += 0.05 * (weight - stored)
    with pytest.raises(FedfrError, match="gives another model when it is repeated"):
        check_repeated(method_run, replay)


def test_runs_that_cannot_be_audited_are_refused_in_one_line(plain: Path, tmp_path: Path) -> None:
    run = Experiment.create(tiny_config(tmp_path, *THREE), tmp_path / "begun")
    with pytest.raises(FedfrError, match="begun is not finished; continue with `fedfr resume"):
        audit_run(run.folder)
    local = finished(tmp_path, "method.name=local", "federation.rounds=1")
    with pytest.raises(FedfrError, match="the clients of local send nothing, so nobody sees anything of a round"):
        audit_run(local)
    (plain / "privacy-audit.json").write_text(json.dumps([{"inference": "mined"}]))
    with pytest.raises(FedfrError, match=r"audit.json is damaged: entry observer is missing or invalid; repeat"):
        stored_audit(plain)
    (plain / "rounds" / "0001" / "generic.safetensors").unlink()
    with pytest.raises(FedfrError, match=r"keeps no model of round 1, .* with federation.keep_rounds of at least 2"):
        audit_run(plain)
    # A run that returns to an earlier round is another one.
    Experiment.open(plain).rewind(0)
    assert stored_audit(plain) == []
