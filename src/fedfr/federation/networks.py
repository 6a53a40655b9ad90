"""Reusable backbones of one process, loaded with the weights of one client after another."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from torch import nn

from fedfr.federation.messages import Broadcast
from fedfr.models import build_backbone, check_entries, load_entries
from fedfr.training.batchnorm import batchnorm_entries, batchnorm_statistics
from fedfr.training.features import Compute

__all__ = ["Networks"]


class _ReusableBackbone:
    """A backbone with its tensors listed once: collecting them layer by layer costs more than loading a small one."""

    def __init__(self, backbone: nn.Module) -> None:
        self.module = backbone
        self.entries: Mapping[str, torch.Tensor] = backbone.state_dict()
        self._layers = tuple(backbone.modules())
        self._parameters = tuple(backbone.parameters())

    def load(self, weights: Mapping[str, torch.Tensor]) -> None:
        load_entries(self.entries, weights, type(self.module).__name__)

    def reset(self) -> nn.Module:
        """Return the backbone in evaluation mode, with every parameter trainable and without gradients."""
        for layer in self._layers:
            layer.training = False
        for parameter in self._parameters:
            parameter.requires_grad_(True)
            parameter.grad = None
        return self.module


class Networks:
    """Two backbones that clients use in turn, because building one draws random weights only to overwrite them.

    A network is valid until the next call for it; copy what must last longer.
    """

    def __init__(self, backbone: str, compute: Compute) -> None:
        self._backbone = backbone
        self._compute = compute
        self._loaded: Callable[[], Broadcast | None] = _no_broadcast

    def generic(self, broadcast: Broadcast, own: Mapping[str, torch.Tensor] | None = None) -> nn.Module:
        """Return the generic backbone in evaluation mode with the weights of ``broadcast``, overridden by ``own``.

        The same broadcast is not loaded twice, so the network must not be changed. Raises
        :class:`fedfr.core.errors.FedfrError` when the weights do not fit.
        """
        if own or self._loaded() is not broadcast:
            self._loaded = _no_broadcast
            self._generic.load({**broadcast.weights, **(own or {})})
            if not own:
                # A weak reference, so that a broadcast of an earlier round does not stay in memory.
                self._loaded = weakref.ref(broadcast)
        return self._generic.reset()

    def check(self, broadcast: Broadcast) -> None:
        """Raise :class:`fedfr.core.errors.FedfrError` when the weights do not fit; nothing is loaded."""
        if self._loaded() is not broadcast:
            check_entries(self._generic.entries, broadcast.weights, type(self._generic.module).__name__)

    def working(self, weights: Mapping[str, torch.Tensor]) -> nn.Module:
        """Return the backbone for training, loaded with ``weights``; raises as :meth:`generic` does.

        It is in evaluation mode, with every parameter trainable and without gradients.
        """
        self._working.load(weights)
        return self._working.reset()

    def entries(self, network: nn.Module) -> Mapping[str, torch.Tensor]:
        """Return the ``state_dict()`` of one of the two networks without collecting it again (no copies)."""
        return (self._generic if network is self._generic.module else self._working).entries

    @cached_property
    def batchnorm(self) -> frozenset[str]:
        """Names of the entries of all BatchNorm layers."""
        return batchnorm_entries(self._generic.module)

    @cached_property
    def statistics(self) -> frozenset[str]:
        """Names of the BatchNorm entries that are not parameters."""
        return batchnorm_statistics(self._generic.module)

    @cached_property
    def _generic(self) -> _ReusableBackbone:
        return self._build()

    @cached_property
    def _working(self) -> _ReusableBackbone:
        return self._build()

    def _build(self) -> _ReusableBackbone:
        return _ReusableBackbone(self._compute.place(build_backbone(self._backbone, 0)))


def _no_broadcast() -> None:
    """Return None: no broadcast is loaded."""
