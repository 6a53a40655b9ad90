"""Comparison of models to the bit."""

from __future__ import annotations

import torch

from fedfr.federation.method import GenericModel


def equal(left: GenericModel, right: GenericModel) -> bool:
    return all(torch.equal(left.weights[name], value) for name, value in right.weights.items()) and torch.equal(
        left.prototypes, right.prototypes
    )
