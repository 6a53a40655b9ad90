"""All registered backbones: shape, determinism, gradients, complete registration."""

from __future__ import annotations

import pytest
import torch

from fedfr.core.errors import FedfrError
from fedfr.models import BACKBONES, build_backbone

SMALL = ("mobilefacenet", "mobilefacenet-112x96", "slimface", "slimface-small")


@pytest.mark.parametrize("name", BACKBONES.names)
def test_feature_has_the_registered_length(name: str) -> None:
    spec = BACKBONES[name]
    first, end = spec.preprocessing.columns
    # Neither drawn nor zeroed: shapes do not depend on the weights.
    with torch.device("meta"):
        module = spec.factory().eval()
    with torch.no_grad():
        features = module.to_empty(device="cpu")(torch.zeros(1, 3, spec.preprocessing.size[0], end - first))
    assert features.shape == (1, spec.embedding_dim)


@pytest.mark.parametrize("name", BACKBONES.names)
def test_entry_is_described(name: str) -> None:
    entry = BACKBONES.entry(name)
    assert entry.description
    assert entry.paper or name.startswith("slimface")


@pytest.mark.parametrize("name", SMALL)
def test_initialization_depends_on_the_seed_alone(name: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build_backbone(name, seed=7).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = build_backbone(name, seed=7).state_dict(), build_backbone(name, seed=8).state_dict()
    assert all(torch.equal(tensor, again[entry]) for entry, tensor in first.items())
    assert any(not torch.equal(tensor, other[entry]) for entry, tensor in first.items())


@pytest.mark.parametrize("name", [*SMALL, "iresnet18"])
def test_a_training_step_reaches_every_parameter(name: str) -> None:
    spec = BACKBONES[name]
    module = build_backbone(name, seed=0).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 112, 112, 3), dtype=torch.uint8, generator=generator)
    target = torch.randn(4, spec.embedding_dim, generator=generator)
    (module(spec.preprocessing.apply(images)) * target).sum().backward()
    for entry, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, entry
            assert parameter.grad.isfinite().all(), entry


@pytest.mark.parametrize("name", [*SMALL, "iresnet18", "sphereface20"])
def test_feature_of_an_image_does_not_depend_on_its_batch(name: str) -> None:
    spec = BACKBONES[name]
    module = build_backbone(name, seed=0).eval()
    images = torch.randint(0, 256, (3, 112, 112, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = module(spec.preprocessing.apply(images))
        alone = module(spec.preprocessing.apply(images[1:2]))
    torch.testing.assert_close(together[1:2], alone, rtol=1e-3, atol=1e-4 * float(together.abs().max()))
    assert together.isfinite().all()


@pytest.mark.parametrize("name", [*SMALL, "iresnet18"])
def test_bfloat16_autocast_stays_near_single_precision(name: str) -> None:
    spec = BACKBONES[name]
    module = build_backbone(name, seed=0).eval()
    images = torch.randint(0, 256, (2, 112, 112, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    inputs = spec.preprocessing.apply(images)
    with torch.no_grad():
        expected = module(inputs)
        with torch.autocast("cpu", torch.bfloat16):
            features = module(inputs)
    cosine = torch.nn.functional.cosine_similarity(features.float(), expected)
    assert cosine.min() > 0.99


def test_arcface_feature_scale_is_not_trained() -> None:
    frozen = [name for name, p in build_backbone("iresnet18", 0).named_parameters() if not p.requires_grad]
    assert frozen == ["features.weight"]


def test_unknown_backbone_suggests_the_nearest() -> None:
    with pytest.raises(FedfrError, match="did you mean 'iresnet50'"):
        build_backbone("iresnet_50", seed=0)
