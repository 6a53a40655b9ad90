"""Inversion of the gradient of a layer whose input is known exactly."""

import pytest
import torch
from torch import nn

from fedfr.privacy.audit.inversion import LayerInversion, last_linear


@pytest.mark.parametrize("sign", [1, -1])
def test_image_and_its_sign_are_found_where_the_mean_of_others_points_away(sign: int) -> None:
    torch.manual_seed(3)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 16))
    image = torch.nn.functional.interpolate(torch.rand(1, 3, 2, 2) - 0.5, 8, mode="bilinear") * sign
    near, others = image + 0.05 * torch.randn(1, 3, 8, 8), -0.5 * image + 0.3 * torch.randn(8, 3, 8, 8)
    inversion = LayerInversion(network, str(last_linear(network)), torch.cat([others, near]))
    assert float(torch.cat([others, near]).mean(0).flatten() @ image.flatten()) < 0
    gradient = inversion.gradient(image, torch.randn(4, 16), 2)
    for change in (gradient, -gradient):
        found = inversion.invert(change)
        assert float(nn.functional.cosine_similarity(found.flatten(), image.flatten(), dim=0)) > 0.95
