"""Federated methods, one file each, and the registry that names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedfr.registry import Entry, Registry

if TYPE_CHECKING:
    from fedfr.federation.method import Method

__all__ = ["METHODS"]

METHODS: Registry[type[Method]] = Registry(
    "method",
    (
        Entry("pretrained", "fedfr.methods.pretrained:Pretrained", "the starting model, trained on public faces only"),
        Entry(
            "local",
            "fedfr.methods.local:Local",
            "every client trains alone on its own faces; nothing is shared",
        ),
        Entry(
            "centralized",
            "fedfr.methods.centralized:Centralized",
            "everything pooled in one place: the bound that privacy forbids",
        ),
        Entry(
            "fedavg",
            "fedfr.methods.fedavg:FedAvg",
            "averaging of models trained on private faces",
            "McMahan et al., AISTATS 2017",
        ),
        Entry(
            "fedfr",
            "fedfr.methods.fedfr:FedFR",
            "hard negatives, contrastive regularisation and decoupled feature customisation",
            "Liu et al., AAAI 2022, arXiv 2112.12496",
        ),
    ),
)
