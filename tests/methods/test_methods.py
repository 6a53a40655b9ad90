"""Distinguishing behaviour of each method on one tiny experiment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.methods.conftest import Finished
from tests.support.same import equal

from fedfr.config.schema import validate
from fedfr.core.errors import FedfrError
from fedfr.core.registry import Entry
from fedfr.federation.method import GenericModel, Method
from fedfr.methods import METHODS
from fedfr.methods.fedfr import FedFR, FedFRSettings

OFF = [f"method.{part}.enabled=false" for part in ("hard_negatives", "contrastive", "dfc")]


def test_fedfr_without_its_parts_is_fedavg_to_the_bit(run: Any) -> None:
    bare, fedavg = run("method.name=fedfr", *OFF), run("method.name=fedavg")
    assert not equal(fedavg.generic, fedavg.start)
    assert equal(bare.generic, fedavg.generic)
    for client in ("client-01", "client-02"):
        left, right = bare.state(client), fedavg.state(client)
        assert torch.equal(left.prototypes, right.prototypes)
        assert all(torch.equal(left.backbone[name], value) for name, value in right.backbone.items())
        assert left.dfc == right.dfc == {}


@pytest.mark.parametrize("part", ["hard_negatives", "contrastive", "dfc"])
def test_each_part_alone_changes_the_result(run: Any, part: str) -> None:
    others = [setting for setting in OFF if part not in setting]
    assert not equal(run("method.name=fedfr", *others).generic, run("method.name=fedavg").generic)


def test_fedfr_reports_every_term_and_keeps_what_is_private(run: Any) -> None:
    fedfr = run("method.name=fedfr")
    terms = {name for name in fedfr.ups[0].metrics if name.startswith("loss/")}
    assert terms == {"loss/margin_softmax", "loss/one_vs_all", "loss/contrastive", "loss/total"}
    for update in fedfr.ups:
        metrics = update.metrics
        total = metrics["loss/margin_softmax"] + 10 * metrics["loss/one_vs_all"] + 5 * metrics["loss/contrastive"]
        assert metrics["loss/total"] == pytest.approx(total, rel=1e-5)
        assert update.prototypes is not None
        assert update.prototypes.shape == fedfr.start.prototypes.shape
    assert set(fedfr.state("client-01").dfc) == {
        "branches.weight",
        "branches.bias",
        "transform.weight",
        "transform.bias",
    }


def test_at_the_first_participation_the_contrastive_term_is_constant(run: Any) -> None:
    """u_p = u_g gives ln 2 and no gradient; from the second round on it varies."""
    first, second = ([update for update in run("method.name=fedfr").ups if update.round == number] for number in (1, 2))
    assert all(update.metrics["loss/contrastive"] == pytest.approx(math.log(2), abs=1e-6) for update in first)
    assert all(abs(update.metrics["loss/contrastive"] - math.log(2)) > 1e-4 for update in second)


@pytest.mark.slow
def test_the_released_codes_untrained_previous_network(run: Any) -> None:
    released = run("method.name=fedfr", "method.contrastive.first_previous=random")
    first = [update for update in released.ups if update.round == 1]
    assert all(abs(update.metrics["loss/contrastive"] - math.log(2)) > 1e-2 for update in first)


def test_reweighting_changes_the_result(run: Any) -> None:
    weighted = run("method.name=fedfr", "method.reweight_negatives=true")
    assert not equal(weighted.generic, run("method.name=fedfr").generic)


def test_bottleneck_transform(run: Any) -> None:
    bottleneck = run("method.name=fedfr", "method.dfc.transform=bottleneck")
    found = bottleneck.method_run.personal_module("client-01")
    assert found is not None
    assert found[0] == 2
    images = torch.randn(2, 3, 112, 112)
    assert found[1](images).shape == (2, 512)
    assert not torch.allclose(found[1](images), found[1].backbone(images), atol=1e-3)


def test_detached_dfc_does_not_train_the_backbone(run: Any) -> None:
    others = [setting for setting in OFF if "dfc" not in setting]
    detached = run("method.name=fedfr", *others, "method.dfc.detach=true")
    assert equal(detached.generic, run("method.name=fedavg").generic)
    assert detached.state("client-01").dfc


def test_fedavg_uses_no_public_faces_and_prototypes(run: Any) -> None:
    fedavg = run("method.name=fedavg")
    assert all(update.prototypes is None and update.count == 9 for update in fedavg.ups)
    assert torch.equal(fedavg.generic.prototypes, fedavg.start.prototypes)


def test_local_shares_nothing_and_continues_from_its_own_model(run: Any) -> None:
    local = run("method.name=local")
    assert len(local.ups) == 4
    assert all(update.weights == {} and update.prototypes is None for update in local.ups)
    assert equal(local.generic, local.start)
    states = [local.state(client).backbone["fc.weight"] for client in ("client-01", "client-02")]
    assert not torch.equal(states[0], states[1])
    # Two rounds of one epoch from its own backbone move further than the first round alone.
    once = torch.linalg.norm(
        local.method_run.store("client-01")._read(1).backbone["fc.weight"] - local.start.weights["fc.weight"]
    )
    assert torch.linalg.norm(states[0] - local.start.weights["fc.weight"]) > once


def test_centralized_is_one_participant_with_everything(run: Any) -> None:
    pooled = run("method.name=centralized")
    assert [update.client for update in pooled.ups] == ["pooled", "pooled"]
    public = len(pooled.experiment.components.split.public)
    train = sum(len(client.train) for client in pooled.experiment.components.split.clients.values())
    assert [update.count for update in pooled.ups] == [public + train] * 2
    assert all(torch.equal(pooled.generic.weights[name], value) for name, value in pooled.ups[-1].weights.items())


def test_pretrained_runs_no_round(run: Any) -> None:
    pretrained = run("method.name=pretrained")
    assert pretrained.ups == []
    assert equal(pretrained.generic, pretrained.start)
    assert pretrained.method_run.journal.rounds() == [0]


def test_a_client_that_is_not_sampled_keeps_its_state(run: Any) -> None:
    partial = run("method.name=fedfr", "federation.participation=0.5", "federation.rounds=3")
    took_part: dict[str, list[int]] = {}
    for update in partial.ups:
        took_part.setdefault(update.client, []).append(update.round)
    assert [len([u for u in partial.ups if u.round == number]) for number in (1, 2, 3)] == [1, 1, 1]
    for client, rounds in took_part.items():
        assert partial.method_run.store(client).rounds() == rounds[-2:]
    drawn = [event["client"] for event in partial.events() if event["event"] == "update"]
    assert drawn == [update.client for update in partial.ups]


@pytest.mark.parametrize("name", METHODS.names)
def test_an_unknown_setting_names_itself(name: str) -> None:
    with pytest.raises(FedfrError, match=r"method: unknown setting 'colour'; known here: .*prototypes"):
        METHODS[name]({"colour": 1}, "method")


def test_settings_out_of_range() -> None:
    with pytest.raises(FedfrError, match=r"dfc\.positive_weight = 1: give a number above 0 and below 1"):
        validate(FedFRSettings, {"dfc": {"positive_weight": 1}}, "method")
    assert FedFR({"hard_negatives": {"enabled": False}}).uses_public_prototypes is False


@pytest.mark.parametrize("name", METHODS.names)
def test_every_method_is_documented_and_tested(name: str) -> None:
    """Every method has its line in the documentation and its place in these tests."""
    root = Path(__file__).resolve().parents[2]
    assert f"| `{name}` |" in (root / "docs" / "methods.md").read_text(encoding="utf-8")
    tests = [path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py")]
    assert any(f"method.name={name}" in text or f'"{name}"' in text for text in tests)


class Toy(Method):
    """Shares one layer, and its server moves twice as far as the average."""

    def shares(self, entries: Mapping[str, torch.Tensor]) -> frozenset[str]:
        return frozenset({"fc.weight"})

    def server_step(self, generic: GenericModel, average: GenericModel) -> GenericModel:
        doubled = 2 * average.weights["fc.weight"] - generic.weights["fc.weight"]
        return GenericModel({**average.weights, "fc.weight": doubled}, average.prototypes, average.server_state)


def test_a_new_method_is_a_class_and_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS._entries, "toy", Entry("toy", Toy, "a toy"))
    toy = Finished(tmp_path, "method.name=toy", "federation.rounds=1")
    assert all(update.weights.keys() == {"fc.weight"} for update in toy.ups)
    counts = torch.tensor([float(update.count) for update in toy.ups], dtype=torch.float64)
    layers = torch.stack([update.weights["fc.weight"].double() for update in toy.ups])
    mean = torch.tensordot(counts / counts.sum(), layers, dims=1)
    expected = 2 * mean - toy.start.weights["fc.weight"]
    assert torch.allclose(toy.generic.weights["fc.weight"].double(), expected, atol=1e-6)
    assert torch.equal(toy.generic.weights["stages.0.0.weight"], toy.start.weights["stages.0.0.weight"])
