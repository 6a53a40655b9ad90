"""Differences of the comparison methods from FedAvg."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from tests.support.same import equal
from tests.support.tiny_experiment import BACKBONE

from fedfr.core.errors import FedfrError
from fedfr.experiments.client_factory import ClientFactory
from fedfr.federation.messages import Broadcast
from fedfr.federation.method import GenericModel
from fedfr.losses import spreadout_loss
from fedfr.methods import METHODS
from fedfr.methods.fedface import FedFace
from fedfr.methods.fedper import FedPer
from fedfr.methods.fedrep import FedRep
from fedfr.methods.lg_fedavg import LGFedAvg
from fedfr.models import DFC, build_backbone
from fedfr.training.features import extract_features
from fedfr.training.objective import Batch, BranchMarginSoftmax, Distillation, MarginSoftmax, Network
from fedfr.training.training_set import TrainingSet

State = Mapping[str, torch.Tensor]


def distance(left: State, right: State) -> float:
    """‖left − right‖ over the parameters, without the much larger statistics of BatchNorm."""
    parameters = dict(build_backbone(BACKBONE, 0).named_parameters())
    return float(sum((left[name].double() - right[name]).square().sum() for name in parameters) ** 0.5)


def changed(run: Any, client: str, name: str) -> bool:
    return not torch.equal(run.state(client).backbone[name], run.start.weights[name])


@pytest.mark.parametrize("name", [name for name in METHODS.names if METHODS[name]({}).rounds(1)])
def test_private_prototypes_are_sent_only_by_methods_that_declare_it(run: Any, name: str) -> None:
    found, told = run(f"method.name={name}"), METHODS[name].privacy
    assert bool(told) == METHODS[name].reveals_identities == (name == "fedface")
    for message in (*found.ups, *(broadcast for _, broadcast in found.downs)):
        assert message.identities is None or name == "fedface"


def test_fedprox_without_its_penalty_is_fedavg_to_the_bit(run: Any) -> None:
    assert equal(run("method.name=fedprox", "method.mu=0").generic, run("method.name=fedavg").generic)


@pytest.mark.slow
def test_fedprox_stays_closer_to_the_rounds_model_with_larger_mu(run: Any) -> None:
    few = ("local.epochs=4", "federation.rounds=1")
    runs = [run("method.name=fedprox", f"method.mu={mu}", *few) for mu in (0, 5, 50)]
    strays = [distance(each.state("client-01").backbone, each.start.weights) for each in runs]
    assert strays[0] > strays[1] > strays[2]
    assert strays[2] < 0.9 * strays[0]


def test_moon_is_the_contrastive_part_of_fedfr_to_the_bit(run: Any) -> None:
    alone = run("method.name=fedfr", "method.hard_negatives.enabled=false", "method.dfc.enabled=false")
    moon = run("method.name=moon")
    assert equal(moon.generic, alone.generic)
    assert not equal(moon.generic, run("method.name=fedavg").generic)


@pytest.mark.slow
def test_ablations_are_switches_of_fedfr_to_the_bit(run: Any) -> None:
    off = {part: f"method.{part}.enabled=false" for part in ("hard_negatives", "contrastive", "dfc")}
    for name, without in {
        "fedfr-hn": ("contrastive", "dfc"),
        "fedfr-hn-con": ("dfc",),
        "fedfr-hn-dfc": ("contrastive",),
        "fedfr-con-dfc": ("hard_negatives",),
    }.items():
        switched = run("method.name=fedfr", *(off[part] for part in without))
        assert equal(run(f"method.name={name}").generic, switched.generic)


def test_fedface_returns_the_spread_out_prototypes(run: Any) -> None:
    fedface = run("method.name=fedface", "method.margin=-0.5")
    first, second = ([broadcast.round for _, broadcast in fedface.downs].index(number) for number in (1, 2))
    sent = {update.client: update.identities for update in fedface.ups if update.round == 1}
    together = torch.nn.functional.normalize(torch.cat([sent[client] for client in sorted(sent)]))
    assert fedface.downs[first][1].identities is None
    back = {client: broadcast.identities for client, broadcast in fedface.downs[second:]}
    assert [len(back[client]) for client in sorted(back)] == [len(sent[client]) for client in sorted(sent)]
    apart = torch.cat([back[client] for client in sorted(back)])
    assert float(spreadout_loss(apart, -0.5)) < float(spreadout_loss(together, -0.5))
    # The backbones are averaged as ever, and the first round's are FedAvg's.
    ours, theirs = ([u for u in found.ups if u.round == 1] for found in (fedface, run("method.name=fedavg")))
    for left, right in zip(ours, theirs, strict=True):
        assert all(torch.equal(left.weights[name], value) for name, value in right.weights.items())


def test_fedface_takes_steps_of_gradient_descent() -> None:
    """One step by hand, two clients with one identity each: φ − η·∇ with ∇ of 2·(max(0, cos − m))²."""
    one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.8, 0.6]])
    method = FedFace({"steps": 1, "learning_rate": 0.25, "margin": 0.3})
    average = GenericModel({}, torch.zeros(0, 2), {"identities/a": 3 * one, "identities/b": other})
    kept = method.server_step(average, average).server_state
    # d cos / d φ_a = φ_b − cos·φ_a at unit length; the ordered pairs count twice: 2 · 2 · (0.8 − 0.3).
    assert torch.allclose(kept["identities/a"], one - 0.25 * 2.0 * (other - 0.8 * one), atol=1e-6)
    assert torch.allclose(kept["identities/b"], other - 0.25 * 2.0 * (one - 0.8 * other), atol=1e-6)


def test_fedface_does_not_depend_on_the_order_in_the_journal() -> None:
    generator = torch.Generator().manual_seed(0)
    kept = {f"identities/{name}": torch.randn(5, 64, generator=generator) for name in "abcd"}
    method, rows = FedFace({"margin": -0.9}), torch.zeros(0, 64)
    first, second = (
        method.server_step(GenericModel({}, rows), GenericModel({}, rows, dict(order))).server_state
        for order in (kept.items(), reversed(kept.items()))
    )
    assert all(torch.equal(first[name], second[name]) for name in kept)


def test_partial_sharing_in_both_directions() -> None:
    entries = build_backbone(BACKBONE, 0).state_dict()
    body, head = FedPer({}).shares(entries), LGFedAvg({}).shares(entries)
    assert head == {"fc.weight", *(name for name in entries if name.startswith("features."))}
    assert body == set(entries) - head
    assert "pool.0.weight" not in FedPer({"last_layers": 2}).shares(entries)
    with pytest.raises(FedfrError, match="whole backbone"):
        FedPer({"last_layers": 500}).shares(entries)


@pytest.mark.parametrize(("name", "own"), [("fedper", "fc.weight"), ("lg-fedavg", "stages.0.0.weight")])
def test_unshared_entries_continue_from_the_clients_own(run: Any, name: str, own: str) -> None:
    found, clients = run(f"method.name={name}"), ("client-01", "client-02")
    assert all(own not in update.weights for update in found.ups)
    assert torch.equal(found.generic.weights[own], found.start.weights[own])
    mine, other = (found.state(client).backbone[own] for client in clients)
    assert not torch.equal(mine, other)
    once = run(f"method.name={name}", "federation.rounds=1")
    left = {client: once.state(client).backbone[own] for client in clients}
    # A small step away from the client's own part of the round before, a larger one from the other client's.
    assert torch.linalg.norm(mine - left["client-01"]) < torch.linalg.norm(mine - left["client-02"])


def test_fedrep_trains_head_and_body_in_turn(run: Any) -> None:
    body = run("method.name=fedrep")
    assert changed(body, "client-01", "stages.0.0.weight")
    assert not changed(body, "client-01", "fc.weight")
    both = run("method.name=fedrep", "local.epochs=2", "federation.rounds=1")
    assert changed(both, "client-01", "stages.0.0.weight")
    assert changed(both, "client-01", "fc.weight")
    # Prototypes are the head's: they learn with it alone.
    entries = build_backbone(BACKBONE, 0).state_dict()
    head = {f"backbone.{name}" for name in entries} - {f"backbone.{name}" for name in FedRep({}).shares(entries)}
    assert head


def test_ditto_equals_fedavg_and_trains_a_second_model(run: Any) -> None:
    ditto = run("method.name=ditto")
    assert equal(ditto.generic, run("method.name=fedavg").generic)
    state = ditto.state("client-01")
    assert not torch.equal(state.personal_backbone["fc.weight"], state.backbone["fc.weight"])
    found = ditto.method_run.personal_module("client-01")
    assert found is not None
    assert torch.equal(found[1].backbone.state_dict()["fc.weight"], state.personal_backbone["fc.weight"])


@pytest.mark.slow
def test_ditto_stays_closer_to_the_shared_model_with_larger_lambda(run: Any) -> None:
    few = ("local.epochs=4", "federation.rounds=1")
    runs = [run("method.name=ditto", f"method.lam={lam}", *few) for lam in (0, 5, 50)]
    strays = [distance(each.state("client-01").personal_backbone, each.start.weights) for each in runs]
    assert strays[0] > strays[1] > strays[2]
    assert strays[2] < 0.9 * strays[0]


@pytest.mark.parametrize("name", ["finetune", "distill"])
def test_tuning_follows_fedavg_and_shares_nothing(run: Any, name: str) -> None:
    tuned, fedavg = run(f"method.name={name}"), run("method.name=fedavg")
    assert equal(tuned.generic, fedavg.generic)
    last = [update for update in tuned.ups if update.round == 3]
    assert [update.client for update in last] == ["client-01", "client-02"]
    assert all(not update.weights and update.prototypes is None for update in last)
    state = tuned.state("client-01")
    assert state.round == 3
    assert distance(state.backbone, fedavg.generic.weights) > 0


def test_every_client_tunes_at_any_participation(run: Any) -> None:
    found = run("method.name=finetune", "federation.participation=0.5")
    assert [len([u for u in found.ups if u.round == number]) for number in (1, 2, 3)] == [1, 1, 2]


def test_tuning_continues_from_the_clients_own_copy(run: Any) -> None:
    once, twice = (run("method.name=finetune", f"method.tuning_rounds={count}") for count in (1, 2))
    assert equal(once.generic, twice.generic)
    own, theirs = twice.state("client-01").backbone, once.state("client-01").backbone
    assert distance(own, theirs) < distance(own, once.state("client-02").backbone)


def test_distillation_by_hand() -> None:
    """Two classes, cosines 1 and 0 against 0 and 1, scale 4, K = 2: logits (2, 0) and (0, 2)."""
    eye = torch.eye(2)
    network, term = Network(torch.nn.Identity(), eye), Distillation(eye, temperature=2.0, scale=4.0)
    batch = Batch(eye[1:], torch.tensor([1]), global_features=eye[:1])
    teacher = torch.tensor([2.0, 0.0]).softmax(0)
    expected = 4 * (teacher * (teacher / teacher.flip(0)).log()).sum()
    assert float(term.value(batch, network).detach()) == pytest.approx(float(expected), rel=1e-5)
    agreed = Batch(eye[:1], torch.tensor([0]), global_features=eye[:1])
    assert float(term.value(agreed, network).detach()) == pytest.approx(0, abs=1e-7)


def test_the_teacher_affects_tuning_only(run: Any) -> None:
    found = run("method.name=distill")
    told = ["loss/distillation" in update.metrics for update in found.ups]
    assert told == [update.round == 3 for update in found.ups]
    assert distance(found.state("client-01").backbone, run("method.name=finetune").state("client-01").backbone) > 0


def test_the_branch_with_cosface_by_hand() -> None:
    """Margin loss of the private faces over the branches; public faces count only in the mean."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 8, generator=generator)
    dfc = DFC(2, 8)
    network = Network(torch.nn.Identity(), dfc.branches.weight, torch.randn(1, 8, generator=generator), dfc)
    found = BranchMarginSoftmax().value(Batch(features, torch.tensor([0, 1, 2])), network)
    alone = MarginSoftmax().value(Batch(features[:2], torch.tensor([0, 1])), Network(network.backbone, network.private))
    assert float(found.detach()) == pytest.approx(float(alone.detach()) * 2 / 3, rel=1e-5)
    only_public = BranchMarginSoftmax().value(Batch(features[2:], torch.tensor([2])), network)
    assert float(only_public.detach()) == 0


def test_the_branch_replaces_one_vs_all(run: Any) -> None:
    terms = {name for name in run("method.name=branch-cosface").ups[0].metrics if name.startswith("loss/")}
    assert terms == {"loss/margin_softmax", "loss/branch_softmax", "loss/contrastive", "loss/total"}


@pytest.mark.parametrize("policy", ["average", "local"])
def test_the_teacher_is_constant_during_tuning(run: Any, policy: str) -> None:
    """In the second tuning round prototypes and BatchNorm of the teacher are still those before tuning."""
    settings = ("method.name=distill", "local.learning_rate=0.05", f"federation.batchnorm={policy}")
    once, twice = (run(*settings, f"method.tuning_rounds={count}") for count in (1, 2))
    before, tuned = (
        once.method_run.store("client-01").at_or_before(2),
        twice.method_run.store("client-01").at_or_before(3),
    )
    assert before is not None
    assert tuned is not None
    assert not torch.equal(tuned.prototypes, before.prototypes)
    assert torch.equal(twice.state("client-01").personal["teacher/prototypes"], before.prototypes)

    components, folder = twice.experiment.components, twice.method_run.folder
    factory = ClientFactory(
        components.config, "distill", components.faces_folder, folder / "split.json", folder / "clients"
    )
    client = factory("client-01")
    broadcast = Broadcast(4, twice.generic.weights, twice.generic.prototypes)
    context = client._context(broadcast, tuned, client._generic(broadcast, tuned))
    terms = client.method.objective(context).terms
    (teacher,) = [term.prototypes for term in terms if isinstance(term, Distillation)]
    assert torch.equal(teacher, before.prototypes)

    training_set = TrainingSet([(client.private, None, 0)])
    known = extract_features(context.models.generic, training_set, context.settings.compute)
    frozen, _ = client.method.frozen_features(context, training_set, lambda: known)
    assert frozen is not None
    backbone = build_backbone(BACKBONE, 0)
    own = {name: before.backbone[name] for name in context.local_entries}
    assert bool(own) == (policy == "local")
    backbone.load_state_dict({**twice.generic.weights, **own})
    expected = extract_features(context.settings.compute.place(backbone), training_set, context.settings.compute)
    used = frozen.both[0].isfinite().all(1)
    assert 0 < int(used.sum()) < len(used)
    torch.testing.assert_close(frozen.both[0][used], expected[used], rtol=1e-4, atol=1e-5)
