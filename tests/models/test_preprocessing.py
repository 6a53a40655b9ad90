"""Preprocessing of uint8 crops to network input."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fedfr.core.errors import FedfrError
from fedfr.models import Preprocessing

IMAGES = torch.randint(0, 256, (3, 112, 112, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
NARROW = Preprocessing(std=128.0, columns=(8, 104))


def test_scales_to_minus_one_and_one() -> None:
    ends = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 112, 112, 3)
    values = Preprocessing().apply(ends)
    assert values.shape == (2, 3, 112, 112)
    assert values[0].unique().tolist() == [-1.0]
    assert values[1].unique().tolist() == [1.0]


def test_colours_in_the_order_that_is_wanted() -> None:
    rgb, bgr = Preprocessing().apply(IMAGES), Preprocessing(colour="BGR").apply(IMAGES)
    assert torch.equal(bgr, rgb.flip(1))
    assert bgr.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"colour": "GBR"}, "colour is 'GBR'; allowed are RGB and BGR"),
        ({"std": 0.0}, "mean is 127.5, std is 0.0; allowed are finite grey levels, std above 0"),
        ({"std": -1.0}, "std is -1.0"),
        ({"mean": float("nan")}, "mean is nan"),
    ],
)
def test_invalid_input_is_refused(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(FedfrError, match=expected):
        Preprocessing(**change)
    with pytest.raises(FedfrError, match=expected):
        Preprocessing.from_metadata(NARROW.to_metadata() | {"mean": 127.5, **change})


def test_moves_colours_first_in_channels_last_layout() -> None:
    values = Preprocessing().apply(IMAGES)
    torch.testing.assert_close(values, (IMAGES.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5, rtol=0, atol=1e-6)
    assert values.is_contiguous(memory_format=torch.channels_last)


def test_mirrors_the_flagged_images_before_cutting_columns() -> None:
    off_centre = Preprocessing(columns=(0, 96))
    flip = torch.tensor([True, False, True])
    values = off_centre.apply(IMAGES, flip)
    torch.testing.assert_close(values[0], off_centre.apply(IMAGES.flip(2))[0])
    torch.testing.assert_close(values[1], off_centre.apply(IMAGES)[1])


def test_images_are_not_changed() -> None:
    before = IMAGES.clone()
    NARROW.apply(IMAGES, torch.tensor([True, True, True]))
    assert torch.equal(IMAGES, before)


def test_cuts_the_middle_columns() -> None:
    values = NARROW.apply(IMAGES)
    assert values.shape == (3, 3, 112, 96)
    assert values.is_contiguous(memory_format=torch.channels_last)
    expected = (IMAGES[:, :, 8:104].permute(0, 3, 1, 2).float() - 127.5) / 128
    torch.testing.assert_close(values, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    values = Preprocessing().apply(IMAGES, dtype=dtype)
    assert values.dtype == dtype
    assert values.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(values.float(), Preprocessing().apply(IMAGES), rtol=0.01, atol=0.01)


def test_no_images_give_no_values() -> None:
    assert Preprocessing().apply(IMAGES[:0]).shape == (0, 3, 112, 112)


@pytest.mark.parametrize(
    "wrong", [IMAGES.float(), IMAGES[0], IMAGES[:, :100], IMAGES.permute(0, 3, 1, 2), IMAGES[..., :1]]
)
def test_refuses_other_input(wrong: torch.Tensor) -> None:
    with pytest.raises(FedfrError, match=r"allowed is torch\.uint8 of shape \(N, 112, 112, 3\)"):
        Preprocessing().apply(wrong)


def test_metadata_round_trip() -> None:
    assert Preprocessing.from_metadata(NARROW.to_metadata()) == NARROW


@pytest.mark.parametrize(
    "change", [{"size": None}, {"size": [112]}, {"std": "wide"}, {"gamma": 2.2}, {"mean": "127.5"}]
)
def test_broken_metadata_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(FedfrError, match="preprocessing"):
        Preprocessing.from_metadata(NARROW.to_metadata() | change)


def test_missing_metadata_is_refused() -> None:
    with pytest.raises(FedfrError, match="columns"):
        Preprocessing.from_metadata({"template": "arcface-112"})
