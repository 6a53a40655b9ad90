"""Federated methods, one file each, and the registry that names them."""

from __future__ import annotations

from fedfr.federation.method import Method
from fedfr.methods.centralized import Centralized
from fedfr.methods.fedavg import FedAvg
from fedfr.methods.fedfr import FedFR
from fedfr.methods.local import Local
from fedfr.methods.pretrained import Pretrained
from fedfr.registry import Entry, Registry

__all__ = ["METHODS", "Centralized", "FedAvg", "FedFR", "Local", "Pretrained"]

METHODS: Registry[type[Method]] = Registry(
    "method",
    (
        Entry("pretrained", Pretrained, "the starting model, trained on public faces only"),
        Entry("local", Local, "every client trains alone on its own faces; nothing is shared"),
        Entry("centralized", Centralized, "everything pooled in one place: the bound that privacy forbids"),
        Entry("fedavg", FedAvg, "averaging of models trained on private faces", "McMahan et al., AISTATS 2017"),
        Entry(
            "fedfr",
            FedFR,
            "hard negatives, contrastive regularisation and decoupled feature customisation",
            "Liu et al., AAAI 2022, arXiv 2112.12496",
        ),
    ),
)
