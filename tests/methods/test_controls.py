"""Controls of the comparison: methods that differ from another one in a single point, to the bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.support.same import equal
from torch.nn.functional import cosine_similarity

from fedfr.core.errors import FedfrError
from fedfr.methods import METHODS
from fedfr.training.objective import Batch, Contrastive, Network

SOME = "method.hard_negatives.threshold=0.6"
"""Threshold above which a part of the public faces is found in the first round."""


def counts(found: Any, part: str) -> list[tuple[int, str, float]]:
    return [(update.round, update.client, update.metrics[f"images/{part}"]) for update in found.ups]


def losses(found: Any, number: int) -> set[str]:
    return {name for update in found.ups if update.round == number for name in update.metrics if "loss/" in name}


@pytest.mark.parametrize("name", ["finetune-fedfr", "distill-fedfr"])
def test_tuning_follows_fedfr_without_dfc_on_private_faces_alone(run: Any, name: str) -> None:
    tuned, base = run(f"method.name={name}"), run("method.name=fedfr-hn-con")
    assert equal(tuned.generic, base.generic)
    assert not torch.equal(tuned.generic.prototypes, tuned.start.prototypes)
    last = [update for update in tuned.ups if update.round == 3]
    assert [update.client for update in last] == ["client-01", "client-02"]
    assert all(not update.weights and update.prototypes is None and update.count == 9 for update in last)
    distilled = {"loss/distillation"} if name == "distill-fedfr" else set()
    assert losses(tuned, 3) == {"loss/margin_softmax", "loss/total"} | distilled
    assert losses(tuned, 2) == losses(base, 2) == {"loss/margin_softmax", "loss/contrastive", "loss/total"}
    before = base.state("client-01")
    after = tuned.state("client-01")
    assert after.round == 3
    assert not torch.equal(after.backbone["fc.weight"], before.backbone["fc.weight"])
    assert tuned.method_run.method.personal_modules(after) is None


def test_random_public_faces_are_as_many_as_hard_negatives_in_the_first_round(run: Any) -> None:
    drawn, searched = run("method.name=fedavg-public", SOME), run("method.name=fedfr-hn", SOME)
    first = [each for each in counts(drawn, "hard_negatives") if each[0] == 1]
    assert first == [each for each in counts(searched, "hard_negatives") if each[0] == 1]
    assert [count for _, _, count in first] == [10, 5]
    assert not equal(drawn.generic, searched.generic)
    assert losses(drawn, 1) == losses(searched, 1)
    assert all(update.prototypes is not None for update in drawn.ups)


def test_all_public_faces_drawn_are_all_public_faces_found(run: Any) -> None:
    every = "method.hard_negatives.threshold=-1"
    drawn, searched = run("method.name=fedavg-public", every), run("method.name=fedfr-hn", every)
    assert equal(drawn.generic, searched.generic)
    assert {count for *_, count in counts(drawn, "hard_negatives")} == {len(drawn.experiment.components.split.public)}


def test_random_public_faces_differ_between_clients_and_rounds_and_follow_the_seed(run: Any) -> None:
    found = run("method.name=fedavg-public", SOME)
    make_client, drawn = found.client_factory(), {}
    for name, broadcast in found.downs[:2]:
        client = make_client(name)
        context = client._context(broadcast, None, client._generic(broadcast, None))
        for number in (1, 2):
            chosen = client.method.public_faces(replace(context, round=number))
            assert torch.equal(chosen, client.method.public_faces(replace(context, round=number)))
            assert torch.equal(chosen, chosen.unique())
            drawn[name, number] = tuple(chosen.tolist())
    assert len(set(drawn.values())) == len(drawn) == 4
    assert [len(drawn[name, 1]) for name in ("client-01", "client-02")] == [10, 5]


def test_centralized_without_public_faces(run: Any) -> None:
    pooled = run("method.name=centralized-private")
    assert [update.client for update in pooled.ups] == ["pooled", "pooled"]
    train = sum(len(client.train) for client in pooled.experiment.components.split.clients.values())
    assert [update.count for update in pooled.ups] == [train] * 2
    assert torch.equal(pooled.generic.prototypes, pooled.start.prototypes)
    assert not equal(pooled.generic, run("method.name=centralized").generic)
    assert METHODS["centralized-private"].generic_model == "centralized-private"


def test_moon_with_a_projection_head_is_a_setting_of_moon(run: Any) -> None:
    head = run("method.name=moon-projection")
    assert equal(head.generic, run("method.name=moon", "method.projection.dim=256").generic)
    assert not equal(head.generic, run("method.name=moon").generic)
    assert all(update.weights.keys() == head.start.weights.keys() for update in head.ups)
    kept = head.state("client-01").personal
    assert {name: tuple(value.shape) for name, value in kept.items()} == {
        "projection/0.weight": (512, 512),
        "projection/0.bias": (512,),
        "projection/2.weight": (256, 512),
        "projection/2.bias": (256,),
    }
    small = run("method.name=moon-projection", "method.projection.hidden=5", "method.projection.dim=3")
    assert small.state("client-01").personal["projection/2.weight"].shape == (3, 5)


def test_the_projection_head_starts_alike_everywhere_is_trained_and_goes_on(run: Any) -> None:
    found = run("method.name=moon-projection")
    make_client = found.client_factory()
    starts, others = list[torch.Tensor](), list[torch.Tensor]()
    for client_id, broadcast in found.downs[2:]:
        client = make_client(client_id)
        for state, heads in ((None, starts), (found.state(client_id), others)):
            context = client._context(broadcast, state, client._generic(broadcast, state))
            heads.append(client.method.projection(context).state_dict()["2.weight"])
    assert torch.equal(*starts)
    assert not torch.equal(*others)
    saved = [found.state(client_id).personal["projection/2.weight"] for client_id, _ in found.downs[2:]]
    assert all(map(torch.equal, others, saved))
    assert not torch.equal(starts[0], others[0])


def test_the_contrastive_term_sees_projected_features() -> None:
    generator = torch.Generator().manual_seed(0)
    features, of_global, of_previous = (torch.randn(4, 8, generator=generator) for _ in range(3))
    head = torch.nn.Linear(8, 3)
    network = Network(torch.nn.Identity(), torch.zeros(2, 8), projection=head)
    batch = Batch(features, torch.zeros(4, dtype=torch.int64), head(of_global).detach(), head(of_previous).detach())
    left, right = (cosine_similarity(head(features), head(other)) / 0.5 for other in (of_global, of_previous))
    expected = -(left.exp() / (left.exp() + right.exp())).log().mean()
    assert float(Contrastive().value(batch, network).detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"x": 1}, "method: unknown setting 'projection.x'; known here: hidden, dim"),
        ({"dim": 0}, "method: projection.dim = 0: give a whole number of at least 1"),
        (5, "method: projection = 5: give settings by name or null"),
    ],
)
def test_settings_that_may_be_null_are_refused_by_name(given: Any, message: str) -> None:
    with pytest.raises(FedfrError) as refused:
        METHODS["moon"]({"projection": given})
    assert str(refused.value) == message
