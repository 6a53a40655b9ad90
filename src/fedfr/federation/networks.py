"""The backbones of one process: made once, then loaded with one client's weights after another."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from torch import nn

from fedfr.federation.messages import Broadcast
from fedfr.federation.method import batchnorm_entries
from fedfr.models import build_backbone, load_weights
from fedfr.training.features import Compute

__all__ = ["Networks"]


class Networks:
    """Two backbones that clients use in turn: making one draws a million random numbers only to overwrite them.

    Whoever asks has a network to itself until the next one asks; what is to last must be copied out of it.
    """

    def __init__(self, backbone: str, compute: Compute) -> None:
        self._backbone = backbone
        self._compute = compute
        self._loaded: Callable[[], Broadcast | None] = _nothing

    def generic(self, broadcast: Broadcast, own: Mapping[str, torch.Tensor] | None = None) -> nn.Module:
        """The backbone in evaluation mode with the weights of ``broadcast``, or instead of some of them ``own``.

        The same broadcast is not loaded again, so nobody may change the network. Raises
        :class:`fedfr.errors.FedfrError` when the weights do not fit.
        """
        if own or self._loaded() is not broadcast:
            self._loaded = _nothing
            load_weights(self._generic, {**broadcast.weights, **(own or {})})
            if not own:
                # A weak reference: a broadcast of an earlier round must not stay in memory.
                self._loaded = weakref.ref(broadcast)
        return self._generic.eval()

    def working(self, weights: Mapping[str, torch.Tensor]) -> nn.Module:
        """The backbone to train, or to look at once, with ``weights`` and without gradients; raises as :meth:`generic`.

        Its mode is whatever the last user left.
        """
        self._working.zero_grad(set_to_none=True)
        load_weights(self._working, weights)
        return self._working

    @cached_property
    def batchnorm(self) -> frozenset[str]:
        """Entries of every BatchNorm layer."""
        return batchnorm_entries(self._generic)

    @cached_property
    def _generic(self) -> nn.Module:
        return self._made()

    @cached_property
    def _working(self) -> nn.Module:
        return self._made()

    def _made(self) -> nn.Module:
        return self._compute.place(build_backbone(self._backbone, 0))


def _nothing() -> None:
    """No broadcast is loaded."""
