"""FedAvg: local training on private faces, weighted averaging at the server (McMahan et al., AISTATS 2017)."""

from __future__ import annotations

from fedfr.federation.method import Method

__all__ = ["FedAvg"]


class FedAvg(Method):
    """The defaults. The public set plays no part; the personal model is the local backbone before averaging."""
