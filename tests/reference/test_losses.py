"""Losses and gradients compared with the original implementation, relative error below 1e-4."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fedfr.losses import (
    arcface_logits,
    contrastive_loss,
    cosface_logits,
    one_vs_all_logits,
    one_vs_all_loss,
    spreadout_loss,
)

TOLERANCE = 1e-4

Numbers = dict[str, NDArray[np.generic]]


def load(path: Path) -> Numbers:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def leaf(numbers: Numbers, name: str) -> Tensor:
    return torch.from_numpy(numbers[name]).requires_grad_()


def assert_close(value: Tensor | None, expected: NDArray[np.generic]) -> None:
    assert value is not None
    wanted = torch.from_numpy(np.asarray(expected, dtype=np.float64))
    assert value.shape == wanted.shape
    error = (value.detach().double() - wanted).norm() / wanted.norm()
    assert error < TOLERANCE


@pytest.mark.parametrize(("name", "logits_of"), [("cosface", cosface_logits), ("arcface", arcface_logits)])
def test_margin(reference_dir: Path, name: str, logits_of: Callable[..., Tensor]) -> None:
    numbers = load(reference_dir / f"margin_{name}.npz")
    features, prototypes = leaf(numbers, "features"), leaf(numbers, "prototypes")
    labels = torch.from_numpy(numbers["labels"])
    logits = logits_of(features, prototypes, labels, scale=float(numbers["scale"]), margin=float(numbers["margin"]))
    loss = functional.cross_entropy(logits, labels)
    loss.backward()
    assert_close(logits, numbers["logits"])
    assert_close(loss, numbers["loss"])
    assert_close(features.grad, numbers["grad_features"])
    assert_close(prototypes.grad, numbers["grad_prototypes"])


def test_one_vs_all(reference_dir: Path) -> None:
    numbers = load(reference_dir / "dfc.npz")
    names = ("features", "transform_weight", "transform_bias", "branch_weight", "branch_bias")
    features, weight, bias, branch_weight, branch_bias = leaves = [leaf(numbers, name) for name in names]
    labels = torch.from_numpy(numbers["labels"])
    assert branch_weight.shape[0] == numbers["num_private"]
    transformed = functional.linear(features, weight, bias)
    scale, margin, power = float(numbers["r"]), float(numbers["m"]), int(numbers["t"])
    logits, positives = one_vs_all_logits(
        transformed, branch_weight, branch_bias, labels, scale=scale, margin=margin, power=power
    )
    loss = one_vs_all_loss(
        transformed,
        branch_weight,
        branch_bias,
        labels,
        scale=scale,
        margin=margin,
        power=power,
        positive_weight=float(numbers["lambda_"]),
    )
    loss.backward()
    assert_close(logits, numbers["logits"])
    assert np.array_equal(positives.numpy(), numbers["positives"])
    assert_close(loss, numbers["loss"])
    for name, tensor in zip(names, leaves, strict=True):
        assert_close(tensor.grad, numbers[f"grad_{name}"])


def test_contrastive(reference_dir: Path) -> None:
    numbers = load(reference_dir / "contrastive.npz")
    features = leaf(numbers, "features")
    near, far = torch.from_numpy(numbers["global_features"]), torch.from_numpy(numbers["previous_features"])
    loss = contrastive_loss(features, near, far, temperature=float(numbers["temperature"]))
    loss.backward()
    assert_close(loss, numbers["loss"])
    assert_close(features.grad, numbers["grad_features"])


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_spreadout(reference_dir: Path, reduction: str) -> None:
    numbers = load(reference_dir / "spreadout.npz")
    prototypes = leaf(numbers, "prototypes")
    loss = spreadout_loss(prototypes, margin=float(numbers["margin"]), reduction=reduction)  # type: ignore[arg-type]
    loss.backward()
    assert_close(loss, numbers[f"loss_{reduction}"])
    assert_close(prototypes.grad, numbers[f"grad_{reduction}"])
