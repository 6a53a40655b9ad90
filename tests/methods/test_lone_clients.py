"""Controls without federation: FedFR at one client alone, a head on a frozen backbone, the published checkpoint."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.methods.conftest import Finished
from tests.support.same import equal
from tests.support.tiny_experiment import bits, tiny_config

from fedfr.core.errors import FedfrError
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.method_run import MethodRun
from fedfr.faces import Split
from fedfr.losses import one_vs_all_loss
from fedfr.models import DFC, load_model
from fedfr.models.model_parts import PUBLIC_PROTOTYPES
from fedfr.training.features import extract_features
from fedfr.training.training_set import TrainingSet

ALONE = [
    ("federation.rounds=3",),
    ("method.hard_negatives.threshold=0.6", "federation.batchnorm=local", "method.contrastive.first_previous=random"),
    ("federation.prototypes=keep", "method.reweight_negatives=true", "local.epochs=2"),
]


@pytest.mark.parametrize("settings", ALONE)
def test_local_fedfr_is_fedfr_in_a_federation_of_one_to_the_bit(
    run: Any, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    """Private state (prototypes, DFC, backbone) and personalized model of each client; public prototypes as well."""
    together = run("method.name=local-fedfr", *settings)
    split = Split.load(together.experiment.folder / "split.json")
    manifest = tmp_path / "alone.json"
    replace(split, clients={"client-02": split.clients["client-02"]}).save(manifest)
    alone = Finished(tmp_path, "method.name=fedfr", *settings, f"split.manifest={manifest}")
    assert equal(together.start, alone.start)
    assert equal(together.generic, together.start)
    mine, theirs = together.state("client-02"), alone.state("client-02")
    assert mine.round == theirs.round >= 2
    own = mine.tensors()
    prototypes = own.pop("personal/public/prototypes", together.start.prototypes)
    expected = theirs.tensors()
    assert own.keys() == expected.keys()
    assert [name for name, value in expected.items() if not torch.equal(own[name], value)] == []
    # The generic model of a federation of one is that client's model.
    assert torch.equal(prototypes, alone.generic.prototypes)
    assert torch.equal(prototypes, together.start.prototypes) == ("federation.prototypes=keep" in settings)
    files = [found.method_run.export_personal("client-02") for found in (together, alone)]
    (left, _), (right, _) = (load_model(path) for path in files if path is not None)
    assert [name for name, value in right.items() if not torch.equal(left[name], value)] == []
    terms = [
        {name: value for name, value in update.metrics.items() if name.startswith(("loss/", "images/"))}
        for found in (together, alone)
        for update in found.ups
        if update.client == "client-02"
    ]
    assert terms[: len(terms) // 2] == terms[len(terms) // 2 :]


def test_local_fedfr_sends_nothing(run: Any) -> None:
    found = run("method.name=local-fedfr", *ALONE[0])
    assert all(update.weights == {} and update.prototypes is None for update in found.ups)
    prototypes = [found.state(client).personal["public/prototypes"] for client in ("client-01", "client-02")]
    assert not torch.equal(*prototypes)
    assert found.method_run.method.generic_model is None


def test_a_head_on_a_frozen_backbone_leaves_the_backbone_and_trains_the_head(run: Any) -> None:
    found = run("method.name=frozen-head")
    public = len(found.experiment.components.split.public)
    assert all(update.weights == {} and update.prototypes is None for update in found.ups)
    assert {update.metrics["images/hard_negatives"] for update in found.ups} == {public}
    assert {name for update in found.ups for name in update.metrics if "loss/" in name} == {
        "loss/one_vs_all",
        "loss/total",
    }
    state = found.state("client-01")
    assert all(torch.equal(state.backbone[name], value) for name, value in found.start.weights.items())
    assert not torch.equal(state.dfc["transform.weight"], torch.eye(512))
    assert not torch.equal(state.dfc["branches.weight"], state.prototypes)
    once = found.method_run.store("client-01")._read(1)
    assert torch.equal(once.prototypes, state.prototypes)
    assert not torch.equal(once.dfc["transform.weight"], state.dfc["transform.weight"])


def test_a_step_of_the_head_by_hand(run: Any) -> None:
    """One batch of all images without flips: momentum starts at zero, so the step is −η · (gradient + decay)."""
    found = run(
        "method.name=frozen-head",
        "federation.rounds=1",
        "local.batch_size=64",
        "local.flip=false",
        "method.dfc.weight=3",
    )
    client = found.client_factory()("client-01")
    backbone = client._networks.working(found.start.weights)
    everything = [(client.private, None, 0), (client.public.faces, None, client.private.num_identities)]
    training_set = TrainingSet(everything)
    features = extract_features(backbone, training_set, client.settings.compute)
    labels = training_set.labels
    dfc, count = DFC(3, 512), len(client.private)
    means = torch.stack([features[:count][labels[:count] == person].mean(dim=0) for person in range(3)])
    dfc.initialize_branches(means)
    loss = one_vs_all_loss(dfc(features), dfc.branches.weight, dfc.branches.bias, labels)
    (3 * loss).backward()
    local, state = found.experiment.config.local, found.state("client-01")
    # decay_at 0.75 of one epoch is its end: the full rate.
    for name, value in dfc.named_parameters():
        assert value.grad is not None
        step = local.learning_rate * (value.grad + local.weight_decay * value)
        assert torch.allclose(state.dfc[name], (value - step).detach(), atol=1e-5), name
        assert not torch.allclose(state.dfc[name], value.detach(), atol=1e-6)
    (value,) = [update.metrics["loss/one_vs_all"] for update in found.ups if update.client == "client-01"]
    assert value == pytest.approx(float(loss.detach()), rel=1e-4)


def test_the_negatives_of_a_frozen_head_may_be_hard_ones(run: Any) -> None:
    hard = ("method.negatives=hard", "federation.rounds=1")
    some = run("method.name=frozen-head", *hard, "method.hard_negatives.threshold=0.6")
    assert [update.metrics["images/hard_negatives"] for update in some.ups] == [10.0, 5.0]
    every = run("method.name=frozen-head", *hard, "method.hard_negatives.threshold=-1")
    everything = run("method.name=frozen-head", "federation.rounds=1")
    assert torch.equal(
        every.state("client-01").dfc["transform.weight"], everything.state("client-01").dfc["transform.weight"]
    )


def test_features_of_flipped_images_are_those_of_the_mirror_images(run: Any) -> None:
    found = run("method.name=frozen-head")
    client, broadcast = found.client_factory()("client-01"), found.downs[0][1]
    context = client._context(broadcast, None, client._generic(broadcast, None))
    chosen = torch.tensor([1, 4, 19])
    training_set = TrainingSet([(client.private, None, 0), (client.public.faces, chosen.numpy(), 3)])
    upright = extract_features(context.models.generic, training_set, client.settings.compute)
    frozen, none = client.method.frozen_features(context, training_set, lambda: upright)
    mirrored = extract_features(context.models.generic, training_set, client.settings.compute, mirrored=True)
    assert none is None
    assert torch.equal(frozen.both[0], upright)
    assert torch.allclose(frozen.both[1], mirrored, atol=1e-5)
    assert not torch.allclose(frozen.both[1], upright, atol=1e-3)


@pytest.mark.parametrize("name", ["frozen-head", "local-fedfr", "moon-projection", "distill-fedfr"])
def test_resumed_rounds_have_the_same_bits(run: Any, tmp_path: Path, name: str) -> None:
    """Killed after the states of the last round were written, before the server had committed it."""
    found = run(f"method.name={name}")
    there = tmp_path / "run"
    shutil.copytree(found.method_run.folder, there, symlinks=True)
    finished = {path: value for path, value in bits(there).items() if "rounds" in path or "clients" in path}
    again = MethodRun(Experiment.open(there).components, name, there)
    shutil.rmtree(there / "rounds" / f"{again.journal.rounds()[-1]:04d}")
    again.run(again.components.starting_model())
    resumed = {path: value for path, value in bits(there).items() if "rounds" in path or "clients" in path}
    assert resumed == finished


def test_the_published_checkpoint_is_not_trained(run: Any, tmp_path: Path) -> None:
    checkpoint = run("method.name=fedavg").experiment.folder / "pretrained" / "generic.safetensors"
    start = f"model.start={checkpoint}"
    tuned = run("method.name=published", start)
    assert tuned.ups == []
    assert all(torch.equal(tuned.generic.weights[name], value) for name, value in weights_of(checkpoint).items())
    assert not equal(tuned.generic, tuned.start)
    assert tuned.method_run.journal.rounds() == [0]
    as_it_is = run("method.name=published", start, "pretrain.epochs=0")
    assert equal(as_it_is.generic, as_it_is.start)
    assert equal(as_it_is.generic, tuned.generic)
    with pytest.raises(
        FedfrError, match=r"published evaluates the checkpoint that model\.start names, but model\.start = "
    ):
        Experiment.create(tiny_config(tmp_path, "baselines=[published]"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    """The backbone in a model's file."""
    tensors, _ = load_model(path)
    return {name: value for name, value in tensors.items() if name != PUBLIC_PROTOTYPES}


def test_a_run_evaluates_the_published_checkpoint_beside_the_tuned_start(run: Any, tmp_path: Path) -> None:
    checkpoint = run("method.name=fedavg").experiment.folder / "pretrained" / "generic.safetensors"
    more = (f"model.start={checkpoint}", "method.name=frozen-head", "federation.rounds=1", "baselines=[published]")
    experiment = Experiment.create(tiny_config(tmp_path, *more), tmp_path / "run")
    rows = experiment.run(progress=False)
    values = {
        model: [row.value for row in rows if row.model == model and row.protocol.startswith("generic")]
        for model in ("published", "pretrained")
    }
    assert len(values["published"]) == len(values["pretrained"]) > 0
    assert {row.method for row in rows if row.model == "published"} == {"published"}
    assert Experiment.open(tmp_path / "run").finished
    assert experiment.costs()["published"] == []
