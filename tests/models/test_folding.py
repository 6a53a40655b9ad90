"""Convolutions with the BatchNorm behind them taken in, against the two run one after the other."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from fedfr.models import build_backbone
from fedfr.models.backbones.folding import FoldingSequential, convolve

CASES = {
    "plain": (nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)),
    "bias": (nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8)),
    "depthwise": (nn.Conv2d(6, 6, 3, groups=6, bias=False), nn.BatchNorm2d(6, eps=0.1)),
    "not affine": (nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8, affine=False)),
    "no statistics": (nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8, track_running_stats=False)),
    "circular": (nn.Conv2d(3, 8, 3, padding=2, padding_mode="circular"), nn.BatchNorm2d(8)),
}


def drawn(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """Return a copy of ``norm`` with statistics and parameters that change something."""
    norm = copy.deepcopy(norm)
    for value in norm.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 2)
    return norm


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_equals_the_two_run_one_after_the_other(case: str, training: bool) -> None:
    torch.manual_seed(1)
    convolution, norm = CASES[case][0], drawn(CASES[case][1]).train(training)
    after = copy.deepcopy(norm)
    x = torch.randn(4, convolution.in_channels, 9, 9)
    results = []
    for layer, forward in ((norm, lambda: convolve(convolution, norm, x)), (after, lambda: after(convolution(x)))):
        convolution.zero_grad()
        out = forward()
        out.square().mean().backward()
        gradients = [*convolution.parameters(), *layer.parameters()]
        results.append([out, *(value.grad for value in gradients), *layer.state_dict().values()])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert sum(value.grad is not None for value in norm.parameters()) == (2 if norm.affine else 0)


@pytest.mark.parametrize("name", ["mobilefacenet", "slimface", "iresnet18"])
def test_backbones_normalize_in_no_pass_of_its_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With fixed statistics, only a BatchNorm that is before a convolution; hooks are called all the same."""
    backbone, runs = build_backbone(name, 0).eval(), list[object]()
    norms = [layer for layer in backbone.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in norms:
        layer.load_state_dict(drawn(layer).state_dict())
    forward = nn.BatchNorm2d.forward

    def counted(layer: nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
        runs.append(layer)
        return forward(layer, x)

    monkeypatch.setattr(nn.BatchNorm2d, "forward", counted)
    images, called = torch.randn(2, 3, 112, 112), list[object]()
    with torch.no_grad():
        folded = backbone(images)
        assert len(runs) == (9 if name == "iresnet18" else 0)
        for layer in norms:
            layer.register_forward_hook(lambda layer, given, out: called.append(layer))
        plain = backbone(images)
    assert called == runs[-len(norms) :] != []
    torch.testing.assert_close(folded, plain, rtol=1e-4, atol=1e-5 * float(plain.abs().max()))


def test_a_sequence_has_the_entries_and_results_of_pytorchs() -> None:
    layers = [nn.Conv2d(3, 4, 1), drawn(nn.BatchNorm2d(4)), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)]
    folding, plain = FoldingSequential(*layers).eval(), nn.Sequential(*layers).eval()
    assert list(folding.state_dict()) == list(plain.state_dict())
    x = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(folding(x), plain(x))
