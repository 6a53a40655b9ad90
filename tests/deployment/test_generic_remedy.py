"""The generic model after a withdrawal: the coordinator goes back to the last round before the person, or notes it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.deployment.conftest import Federation
from tests.support.deployment_folders import OTHER, RUN, SITE, Deployment
from tests.support.tiny_experiment import tiny_config
from tests.support.withdrawals import private_state
from typer.testing import CliRunner

from fedfr.cli.main import app
from fedfr.core.errors import FedfrError
from fedfr.deployment.erasure.execution import forget_person
from fedfr.deployment.erasure.generic_remedy import WITHDRAWALS, record_withdrawal
from fedfr.deployment.erasure.receipt import Receipt
from fedfr.deployment.erasure.search import Request
from fedfr.deployment.site import Site
from fedfr.experiments.experiment import Experiment
from fedfr.federation.journal import Journal
from fedfr.federation.method import GenericModel
from fedfr.federation.private_store import PrivateStore

PATIENTS = ("patient-0", "patient-1", "patient-2")


def withdrawn(deployment: Deployment, name: str) -> Path:
    """The receipt of a person at the site; patient-2 takes part from round 3 on, the others from the beginning."""
    store = PrivateStore(Site.open(deployment.site_file).private, SITE)
    for number, people in ((1, PATIENTS[:2]), (2, PATIENTS[:2]), (3, PATIENTS), (4, PATIENTS)):
        store.save(private_state(store, number, people))
    journal = Journal(deployment.run / "rounds", 2)
    for number in range(5):
        journal.commit(number, GenericModel({"w": torch.full((2,), float(number))}, torch.zeros(1, 2)), {})
    assert (journal.rounds(), journal.kept()) == ([0, 1, 2, 3, 4], [3, 4])
    person = forget_person(deployment.site_file, Request(name), lambda gallery: None).content["person"]
    return deployment.site / "receipts" / f"{person}.json"


def test_the_run_continues_from_before_the_person(deployment: Deployment) -> None:
    path = withdrawn(deployment, "patient-0")
    folder = str(deployment.coordinator.folder)
    answer = CliRunner().invoke(app, ["server", "forget", folder, str(path)])
    assert answer.stdout == (
        f"{RUN}: the models of rounds 1 to 4 have a share of the person; the starting model is kept: "
        "--rewind continues from it\n"
    )
    answer = CliRunner().invoke(app, ["server", "forget", folder, str(path), "--rewind"])
    assert "run first is submitted; withdraw it with `fedfr server withdraw`" in str(answer.exception)
    deployment.coordinator.withdraw(RUN)
    for _ in range(2):
        # A repetition changes nothing more.
        answer = CliRunner().invoke(app, ["server", "forget", folder, str(path), "--rewind", "--json"])
        assert answer.exit_code == 0, answer.exception
        assert Journal(deployment.run / "rounds").rounds() == []
        (noted,) = json.loads((deployment.run / WITHDRAWALS).read_text())
        assert (noted["person"], noted["site"], noted["first_round"], noted["finished_rounds"]) == (
            path.stem,
            SITE,
            1,
            4,
        )
    assert "patient" not in (deployment.run / WITHDRAWALS).read_text()


def test_training_again_leaves_nothing_of_the_person_in_any_model(tmp_path: Path) -> None:
    """With both remedies, models equal to the bit those of a federation that the person never joined."""
    settings = ("federation.rounds=1", "pretrain.epochs=0", "model.backbone=slimface-small")
    made, never = (Federation(tmp_path / name, *settings) for name in ("made", "never"))
    made.run()
    person = Site.open(made.sites["client-01"] / "site.yaml").own_faces.identities[1]
    before = made.tensors()
    for each in (made, never):
        forget_person(each.sites["client-01"] / "site.yaml", Request(person, remedy="retrain"), lambda gallery: None)
    made.remote.rewind(0)
    for each in (made, never):
        each.run()
    assert made.tensors() == never.tensors()
    assert made.tensors().keys() == before.keys()
    assert made.tensors() != before


@pytest.mark.parametrize("setting", ["federation.secure=sum", "privacy.dp=site"])
def test_rounds_that_must_not_be_repeated(tmp_path: Path, setting: str) -> None:
    """The sums of a round and of its repetition with other people differ by what one of them contributed."""
    config = tiny_config(tmp_path, setting, "privacy.people=3")
    with pytest.raises(FedfrError, match="cannot return to an earlier round"):
        Experiment(config, tmp_path / "run").rewind(0)


def test_a_model_that_is_not_kept_is_noted(deployment: Deployment) -> None:
    path = withdrawn(deployment, "patient-2")
    deployment.coordinator.withdraw(RUN)
    receipt = Receipt.load(path)
    (remedy,) = record_withdrawal(deployment.coordinator, receipt, rewind=True)
    assert (remedy.before, remedy.kept, remedy.rewound) == (2, False, False)
    assert "not kept any more (federation.keep_rounds): noted. Submit a new run instead" in remedy.describe(Path("fed"))
    journal = Journal(deployment.run / "rounds", 9)
    assert journal.rounds() == [0, 1, 2, 3, 4]
    journal.rewind(3)
    assert journal.kept() == [3]
    for changed, message in (
        ({"site": OTHER}, "signed with another key"),
        ({"site": "nobody"}, "is not registered here"),
        ({"person": "person-0"}, "the receipt was changed"),
        ({"signature": {"algorithm": "SHA-256", "value": ""}}, "not signed, only hashed"),
    ):
        with pytest.raises(FedfrError, match=message):
            record_withdrawal(
                deployment.coordinator, replace(receipt, content={**receipt.content, **changed}), rewind=False
            )
