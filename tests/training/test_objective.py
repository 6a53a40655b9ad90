"""Objectives: weighted sums of terms with reported values."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fedfr.models.heads import DFC
from fedfr.training.objective import Batch, Contrastive, MarginSoftmax, Network, Objective, OneVsAll, Proximal, Term


def example() -> tuple[Batch, Network]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    dfc = DFC(3, 8)
    dfc.initialize_branches(draw(3, 8))
    network = Network(nn.Linear(8, 8), draw(3, 8), draw(4, 8), dfc)
    features = network.backbone(draw(6, 8))
    return Batch(features, torch.tensor([0, 1, 2, 3, 5, 6]), draw(6, 8), draw(6, 8)), network


def test_a_sum_of_weighted_terms() -> None:
    batch, network = example()
    reference = {name: torch.zeros_like(value) for name, value in network.backbone.named_parameters()}
    terms: list[Term] = [MarginSoftmax(), OneVsAll(weight=10), Contrastive(weight=5), Proximal(reference, weight=0.5)]
    total, values = Objective(terms)(batch, network)
    assert list(values) == ["margin_softmax", "one_vs_all", "contrastive", "proximal", "total"]
    weights = {"margin_softmax": 1, "one_vs_all": 10, "contrastive": 5, "proximal": 0.5}
    expected = sum(weight * float(values[name]) for name, weight in weights.items())
    assert float(total.detach()) == pytest.approx(expected, rel=1e-6)
    assert not any(value.requires_grad for value in values.values())
    squares = sum(float(value.detach().square().sum()) for value in network.backbone.parameters())
    assert float(values["proximal"]) == pytest.approx(0.5 * squares, rel=1e-5)


def test_public_identities_are_classes_after_the_private_ones() -> None:
    batch, network = example()
    assert network.classifier().shape == (7, 8)
    assert network.public is not None
    assert torch.equal(network.classifier()[3:], network.public)
    cosine = nn.functional.normalize(batch.features) @ nn.functional.normalize(network.classifier()).T
    logits = 30 * (cosine - 0.4 * nn.functional.one_hot(batch.labels, 7))
    expected = nn.functional.cross_entropy(logits, batch.labels)
    assert torch.allclose(MarginSoftmax().value(batch, network), expected, rtol=1e-5)


def test_detached_one_vs_all_reaches_the_module_alone() -> None:
    batch, network = example()
    OneVsAll(detach=True).value(batch, network).backward()
    assert network.dfc is not None
    assert network.dfc.branches.weight.grad is not None
    assert all(value.grad is None for value in network.backbone.parameters())


def test_errors_name_missing_inputs_of_terms() -> None:
    batch, network = example()
    with pytest.raises(ValueError, match="global and previous features"):
        Contrastive().value(Batch(batch.features, batch.labels), network)
    with pytest.raises(ValueError, match="DFC module"):
        OneVsAll().value(batch, Network(nn.Linear(8, 8), torch.ones(3, 8)))
