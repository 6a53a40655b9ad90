"""FedAvg: local training and weighted averaging (McMahan et al., AISTATS 2017)."""

from __future__ import annotations

from fedfr.federation.method import Method

__all__ = ["FedAvg"]


class FedAvg(Method):
    """FedAvg on private faces; the personal model is the local backbone before averaging."""
