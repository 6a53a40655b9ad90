"""Extraction of face features with a fixed network, and the precision and device that networks run with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from fedfr.core.memory import keep_freed_memory
from fedfr.models.preprocessing import Preprocessing
from fedfr.training.training_set import DeviceFaces, TrainingSet

__all__ = [
    "Compute",
    "FrozenFeatures",
    "extract_features",
    "freeze",
    "keep_modes",
    "mean_features",
    "mirror_summed_features",
]

OnImages = Callable[[int, int], None]
"""Progress callback: number of images done, number of all images."""

# Batch size by "device is a CPU": there the feature maps of more than 32 images do not fit the cache (up to 2× slower).
_BATCH = {True: 32, False: 256}
_MOST_PROGRAMS = 1 << 20


@dataclass(frozen=True)
class Compute:
    """How networks are run: input preprocessing, device, bfloat16 autocast, compiled training.

    ``bf16`` runs convolutions in bfloat16. ``compile`` fuses the operations between convolutions in training
    (torch.compile); it needs a C++ compiler and changes results in their last bits.
    """

    preprocessing: Preprocessing
    device: torch.device
    bf16: bool = False
    compile: bool = False

    def place(self, module: nn.Module) -> nn.Module:
        """Move ``module`` to the device, convolutions in channels_last layout, the fastest on CPUs and GPUs."""
        placed: nn.Module = nn.utils.convert_conv2d_weight_memory_format(module.to(self.device), torch.channels_last)
        return placed

    def trained(self, backbone: nn.Module, batch_size: int) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the forward function for training steps: ``backbone``, compiled if ``compile`` is set.

        Only full batches run compiled. PyTorch compiles a program for each batch size up to a limit, so the results of
        a client with fewer images would depend on which clients its process has trained before.
        """
        if not self.compile:
            return backbone
        _raise_compile_limits()
        compiled = torch.compile(backbone, dynamic=False)

        def forward(images: torch.Tensor) -> torch.Tensor:
            features: torch.Tensor = (compiled if len(images) == batch_size else backbone)(images)
            return features

        return forward

    def autocast(self) -> torch.autocast:
        """Return the autocast context for the backbone; losses are always computed in float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def features(
        self,
        backbone: Callable[[torch.Tensor], torch.Tensor],
        images: torch.Tensor,
        flip: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return float32 features (n, D) of uint8 images (n, 112, 112, 3), mirrored where ``flip`` (n,) is true."""
        inputs = self.preprocessing.apply(images, flip)
        with self.autocast():
            features: torch.Tensor = backbone(inputs)
        return features.float()


def _raise_compile_limits() -> None:
    """Let torch.compile make a program for every batch size, method and BatchNorm policy of this process."""
    import torch._dynamo

    limits = torch._dynamo.config
    for name in ("recompile_limit", "accumulated_recompile_limit", "cache_size_limit", "accumulated_cache_size_limit"):
        # The last two are the names in earlier versions of PyTorch.
        if hasattr(limits, name):
            setattr(limits, name, _MOST_PROGRAMS)


@contextmanager
def keep_modes(module: nn.Module) -> Iterator[None]:
    """Context manager: restore the training mode of every layer on exit, also after an exception."""
    modes = [(layer, layer.training) for layer in module.modules()]
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


def extract_features(
    backbone: nn.Module,
    training_set: TrainingSet,
    compute: Compute,
    *,
    mirrored: bool = False,
    batch_size: int | None = None,
    on_images: OnImages | None = None,
    only: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the features (n, D) of every image of ``training_set`` in evaluation mode, float32 on the CPU.

    ``mirrored`` flips all images horizontally. ``on_images`` is called after every batch with the number of images done
    and the number of all images. ``only``: indices of the images, int64 (n,), at least one; None for all. The training
    modes of all layers are restored.
    """
    keep_freed_memory()
    size = batch_size or _BATCH[compute.device.type == "cpu"]
    faces = DeviceFaces(training_set, compute.device, resident=False)
    wanted = torch.arange(len(training_set)) if only is None else only
    parts, done = [], 0
    with keep_modes(backbone), torch.inference_mode():
        backbone.eval()
        for indices in wanted.split(size):
            flip = torch.ones(len(indices), dtype=torch.bool, device=compute.device) if mirrored else None
            parts.append(compute.features(backbone, faces.images(indices, indices), flip))
            done += len(indices)
            if on_images is not None:
                on_images(done, len(wanted))
        features = torch.cat(parts).cpu()
    # Cloned outside inference mode so that autograd may save it for a backward pass.
    return features.clone()


def mirror_summed_features(
    backbone: nn.Module, training_set: TrainingSet, compute: Compute, *, on_images: OnImages | None = None
) -> torch.Tensor:
    """Return for every image the sum (n, D) of its feature and that of its mirror image, as InsightFace's tools do.

    ``on_images`` as in :func:`extract_features`; the mirror images count as images.
    """

    def half(mirrored: bool) -> torch.Tensor:
        before = len(training_set) if mirrored else 0
        report = None if on_images is None else lambda done, total: on_images(before + done, 2 * total)
        return extract_features(backbone, training_set, compute, mirrored=mirrored, on_images=report)

    return half(False) + half(True)


def mean_features(features: torch.Tensor, labels: torch.Tensor, count: int) -> torch.Tensor:
    """Return the mean feature (count, D) of every identity 0…count−1; each must occur in ``labels`` (n,)."""
    sums = torch.zeros(count, features.shape[1]).index_add_(0, labels, features)
    return sums / torch.bincount(labels, minlength=count)[:, None]


@dataclass(frozen=True)
class FrozenFeatures:
    """Features (2, n, D) of training images and their mirror images under a network that is fixed in a round.

    The only augmentation is a horizontal flip, so these are all features that the contrastive term needs. Those of
    images and flips that the round does not use may be NaN.
    """

    both: torch.Tensor

    def of(self, indices: torch.Tensor, flip: torch.Tensor) -> torch.Tensor:
        """Return the features (b, D) of the images ``indices``, of the mirror image where ``flip`` (b,) is true."""
        return self.both[flip.long(), indices]


def freeze(
    backbone: nn.Module,
    training_set: TrainingSet,
    compute: Compute,
    used: torch.Tensor,
    *,
    upright: torch.Tensor | None = None,
) -> FrozenFeatures:
    """Compute the :class:`FrozenFeatures` of the images and flips of ``training_set`` that are ``used``, bool (2, n).

    ``upright`` are the unflipped features (n, D) of all images, if known.
    """
    found = {} if upright is None else {0: upright}
    for flipped in range(len(found), 2):
        only = used[flipped].nonzero().flatten()
        if len(only):
            some = extract_features(backbone, training_set, compute, mirrored=bool(flipped), only=only)
            found[flipped] = some.new_full((used.shape[1], some.shape[1]), torch.nan).index_copy(0, only, some)
    # Where no image is flipped, or none is not, both are what is known.
    known = next(iter(found.values()))
    return FrozenFeatures(torch.stack([found.get(flipped, known) for flipped in (0, 1)]).to(compute.device))
