"""DFC head of a client."""

from __future__ import annotations

import pytest
import torch

from fedfr.core.errors import FedfrError
from fedfr.models import DFC, TransformKind

U = torch.randn(6, 32, generator=torch.Generator().manual_seed(0))


def test_linear_transform_starts_as_the_identity() -> None:
    assert torch.equal(DFC(4, 32).transform_features(U), U)


def test_bottleneck_starts_near_the_identity() -> None:
    torch.manual_seed(0)
    moved = DFC(4, 32, transform="bottleneck").transform_features(U) - U
    assert 0 < moved.norm() < 0.02 * U.norm()


@pytest.mark.parametrize("transform", ["linear", "bottleneck"])
def test_every_parameter_of_the_transform_is_trained(transform: TransformKind) -> None:
    head = DFC(4, 32, transform=transform)
    head(U).square().sum().backward()
    for name, parameter in head.transform.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_entries() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in DFC(4, 32).state_dict().items()}
    assert shapes == {
        "transform.weight": (32, 32),
        "transform.bias": (32,),
        "branches.weight": (4, 32),
        "branches.bias": (4,),
    }


def test_bottleneck_of_512_is_as_in_the_paper() -> None:
    shapes = {tuple(tensor.shape) for name, tensor in DFC(2, 512, "bottleneck").transform.named_parameters()}
    assert shapes == {(128, 512), (128,), (128, 128), (512, 512), (512,)}


def test_branches_start_as_a_copy_of_the_prototypes() -> None:
    prototypes = torch.randn(4, 32, generator=torch.Generator().manual_seed(1))
    head = DFC(4, 32)
    head.initialize_branches(prototypes)
    prototypes_before = prototypes.clone()
    prototypes.zero_()
    assert torch.equal(head.branches.weight, prototypes_before)
    assert head.branches.bias.abs().max() == 0
    assert head.branches.weight.requires_grad


def test_prototypes_of_another_client_are_refused() -> None:
    with pytest.raises(FedfrError, match=r"\(5, 32\).*\(4, 32\)"):
        DFC(4, 32).initialize_branches(torch.zeros(5, 32))


def test_unknown_transform_is_refused() -> None:
    with pytest.raises(FedfrError, match="'cubic'; allowed are 'linear' and 'bottleneck'"):
        DFC(4, 32, transform="cubic")  # type: ignore[arg-type]
