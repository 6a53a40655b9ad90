"""The backbones of one process: made once, then loaded with one client's weights after another."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from torch import nn

from fedfr.federation.messages import Broadcast
from fedfr.federation.method import batchnorm_entries, batchnorm_statistics
from fedfr.models import build_backbone, check_entries, load_entries
from fedfr.training.features import Compute

__all__ = ["Networks"]


class _Kept:
    """A backbone with lists of its tensors: gathering them layer by layer takes longer than loading a small one."""

    def __init__(self, backbone: nn.Module) -> None:
        self.module = backbone
        self.entries: Mapping[str, torch.Tensor] = backbone.state_dict()
        self._layers = tuple(backbone.modules())
        self._parameters = tuple(backbone.parameters())

    def load(self, weights: Mapping[str, torch.Tensor]) -> None:
        load_entries(self.entries, weights, type(self.module).__name__)

    def lent(self) -> nn.Module:
        """The backbone in evaluation mode, all of it trainable, no gradients: whatever its last user left."""
        for layer in self._layers:
            layer.training = False
        for parameter in self._parameters:
            parameter.requires_grad_(True)
            parameter.grad = None
        return self.module


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
        :class:`fedfr.core.errors.FedfrError` when the weights do not fit.
        """
        if own or self._loaded() is not broadcast:
            self._loaded = _nothing
            self._generic.load({**broadcast.weights, **(own or {})})
            if not own:
                # A weak reference: a broadcast of an earlier round must not stay in memory.
                self._loaded = weakref.ref(broadcast)
        return self._generic.lent()

    def check(self, broadcast: Broadcast) -> None:
        """Raises :class:`fedfr.core.errors.FedfrError` when the weights do not fit; nothing is loaded."""
        if self._loaded() is not broadcast:
            check_entries(self._generic.entries, broadcast.weights, type(self._generic.module).__name__)

    def working(self, weights: Mapping[str, torch.Tensor]) -> nn.Module:
        """The backbone to train, or to look at once, with ``weights``; raises as :meth:`generic`.

        It comes in evaluation mode, with every parameter trainable and without gradients, whoever had it before.
        """
        self._working.load(weights)
        return self._working.lent()

    def entries(self, network: nn.Module) -> Mapping[str, torch.Tensor]:
        """The ``state_dict()`` of one of the two, without gathering it again: the network's tensors themselves."""
        return (self._generic if network is self._generic.module else self._working).entries

    @cached_property
    def batchnorm(self) -> frozenset[str]:
        """Entries of every BatchNorm layer."""
        return batchnorm_entries(self._generic.module)

    @cached_property
    def statistics(self) -> frozenset[str]:
        """Those of them that are no parameters."""
        return batchnorm_statistics(self._generic.module)

    @cached_property
    def _generic(self) -> _Kept:
        return self._made()

    @cached_property
    def _working(self) -> _Kept:
        return self._made()

    def _made(self) -> _Kept:
        return _Kept(self._compute.place(build_backbone(self._backbone, 0)))


def _nothing() -> None:
    """No broadcast is loaded."""
