"""Inversion of a gradient: the image is sought that gives a fully connected layer the input that its gradient shows.

The gradient of the layer's weights is the sum over images of (derivative of its output) ⊗ (its input). For one image it
has rank one, and its only right singular vector is the input, up to length and sign. For the change of a round, the
first singular vector is the best that this gives.
"""

from __future__ import annotations

import torch
from torch import nn

from fedfr.losses import cosface_logits

__all__ = ["LayerInversion", "last_linear", "pixel_patterns"]

_STEPS, _RATE, _VARIATION = 400, 0.05, 0.1
_SIDE = 16
_BATCH = 32


def last_linear(network: nn.Module) -> str | None:
    """Return the name of the last fully connected layer, None without one."""
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return names[-1] if names else None


def pixel_patterns(images: torch.Tensor) -> torch.Tensor:
    """Return the coarse grey patterns (n, 256) of preprocessed images (n, 3, H, W)."""
    return nn.functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), _SIDE).flatten(1)


class LayerInversion:
    """Inversion of gradients of the layer ``name`` of a network with the weights before the round.

    ``typical``: preprocessed images of other people (n, 3, H, W). The layer's input is given the sign with which it
    resembles that of one of them most, and the search starts from their mean.
    """

    def __init__(self, network: nn.Module, name: str, typical: torch.Tensor) -> None:
        self._network = network
        layer = network.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        self._layer = layer
        self._start = typical.mean(0, keepdim=True)
        with torch.no_grad():
            inputs = torch.cat([self._input(part) for part in typical.split(_BATCH)])
        self._typical = nn.functional.normalize(inputs)

    def _input(self, images: torch.Tensor) -> torch.Tensor:
        """Return the layer's inputs (n, values) for preprocessed images."""
        seen: list[torch.Tensor] = []
        hook = self._layer.register_forward_pre_hook(lambda layer, given: seen.append(given[0]))
        try:
            self._network(images)
        finally:
            hook.remove()
        return seen[0].flatten(1)

    def gradient(self, image: torch.Tensor, prototypes: torch.Tensor, label: int) -> torch.Tensor:
        """Return the gradient of the layer's weights in one step with one preprocessed image (1, 3, H, W)."""
        wanted = torch.tensor([label], device=image.device)
        loss = nn.functional.cross_entropy(cosface_logits(self._network(image), prototypes, wanted), wanted)
        (found,) = torch.autograd.grad(loss, [self._layer.weight])
        return found

    def invert(self, change: torch.Tensor) -> torch.Tensor:
        """Return the preprocessed image (1, 3, H, W) that a change of the layer's weights shows best."""
        shown = torch.linalg.svd(change, full_matrices=False).Vh[0]
        similar = self._typical @ shown
        if -similar.min() > similar.max():
            shown = -shown
        image = self._start.clone().requires_grad_()
        optimizer = torch.optim.Adam([image], lr=_RATE)
        for _ in range(_STEPS):
            rough = image.diff(dim=2).abs().mean() + image.diff(dim=3).abs().mean()
            near = nn.functional.cosine_similarity(self._input(image)[0], shown, dim=0)
            (image.grad,) = torch.autograd.grad(1 - near + _VARIATION * rough, [image])
            optimizer.step()
            with torch.no_grad():
                image.clamp_(-1, 1)
        return image.detach()
