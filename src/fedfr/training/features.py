"""Features of faces under a network that is not being trained."""

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
# Images at a time by "on a CPU": there the maps of more than 32 images leave the cache (measured: up to 2× slower).
_BATCH = {True: 32, False: 256}
_PROGRAMS = 1 << 20


@dataclass(frozen=True)
class Compute:
    """How networks are run: input preprocessing, device, whether convolutions run in bfloat16 and training is compiled.

    ``compile`` fuses what lies between the convolutions (torch.compile); it needs a C++ compiler on the machine and
    changes last bits.
    """

    preprocessing: Preprocessing
    device: torch.device
    bf16: bool = False
    compile: bool = False

    def place(self, module: nn.Module) -> nn.Module:
        """``module`` on the device, convolutions in the channels_last layout that both devices run fastest."""
        placed: nn.Module = nn.utils.convert_conv2d_weight_memory_format(module.to(self.device), torch.channels_last)
        return placed

    def trained(self, backbone: nn.Module, batch_size: int) -> Callable[[torch.Tensor], torch.Tensor]:
        """What to call in training steps in place of ``backbone``: the same parameters, compiled where asked for.

        Compiled are whole batches alone. PyTorch makes a program for each size it meets and after a few makes none any
        more, so that the bits of a client with fewer images would depend on whom its process has served before.
        """
        if not self.compile:
            return backbone
        _make_every_program()
        compiled = torch.compile(backbone, dynamic=False)

        def forward(images: torch.Tensor) -> torch.Tensor:
            features: torch.Tensor = (compiled if len(images) == batch_size else backbone)(images)
            return features

        return forward

    def autocast(self) -> torch.autocast:
        """Context in which the backbone runs; losses are always computed in float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def features(
        self,
        backbone: Callable[[torch.Tensor], torch.Tensor],
        images: torch.Tensor,
        flip: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Float32 features (n, D) of uint8 images (n, 112, 112, 3), mirrored where ``flip`` (n,) says so."""
        inputs = self.preprocessing.apply(images, flip)
        with self.autocast():
            features: torch.Tensor = backbone(inputs)
        return features.float()


def _make_every_program() -> None:
    """However many programs have been made: one for each size of batches, method and policy of BatchNorm."""
    import torch._dynamo

    limits = torch._dynamo.config
    for name in ("recompile_limit", "accumulated_recompile_limit", "cache_size_limit", "accumulated_cache_size_limit"):
        # The latter two are what earlier versions of PyTorch call them.
        if hasattr(limits, name):
            setattr(limits, name, _PROGRAMS)


@contextmanager
def keep_modes(module: nn.Module) -> Iterator[None]:
    """Put the training mode of every layer back as it was, whatever happens in between."""
    modes = [(layer, layer.training) for layer in module.modules()]
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


def extract_features(
    backbone: nn.Module,
    pool: TrainingSet,
    compute: Compute,
    *,
    mirrored: bool = False,
    batch_size: int | None = None,
    on_images: OnImages | None = None,
) -> torch.Tensor:
    """Features (n, D), float32 on the CPU, of every face in evaluation mode; the modes of all layers are put back.

    ``on_images`` is told after every batch how many images of how many are done.
    """
    keep_freed_memory()
    size = batch_size or _BATCH[compute.device.type == "cpu"]
    faces = DeviceFaces(pool, compute.device, resident=False)
    parts, done = [], 0
    with keep_modes(backbone), torch.inference_mode():
        backbone.eval()
        for indices in torch.arange(len(pool)).split(size):
            flip = torch.ones(len(indices), dtype=torch.bool, device=compute.device) if mirrored else None
            parts.append(compute.features(backbone, faces.images(indices, indices), flip))
            done += len(indices)
            if on_images is not None:
                on_images(done, len(pool))
        features = torch.cat(parts).cpu()
    # Cloned outside inference mode so that autograd may save it for a backward pass.
    return features.clone()


def mirror_summed_features(
    backbone: nn.Module, pool: TrainingSet, compute: Compute, *, on_images: OnImages | None = None
) -> torch.Tensor:
    """Sum (n, D) of the features of every face and of its mirror image, as InsightFace's tools make them.

    ``on_images`` as in :func:`extract_features`, which counts the mirror images, too.
    """

    def half(mirrored: bool) -> torch.Tensor:
        before = len(pool) if mirrored else 0
        told = None if on_images is None else lambda done, total: on_images(before + done, 2 * total)
        return extract_features(backbone, pool, compute, mirrored=mirrored, on_images=told)

    return half(False) + half(True)


def mean_features(features: torch.Tensor, labels: torch.Tensor, count: int) -> torch.Tensor:
    """Mean feature (count, D) of every identity 0…count−1, each of which ``labels`` (n,) names at least once."""
    sums = torch.zeros(count, features.shape[1]).index_add_(0, labels, features)
    return sums / torch.bincount(labels, minlength=count)[:, None]


@dataclass(frozen=True)
class FrozenFeatures:
    """Features of a pool under a network that stays as it is during a round, for both flips: (2, n, D).

    The only augmentation is a flip, so this holds every feature the contrastive term can ask for (method, section 3).
    """

    both: torch.Tensor

    def of(self, indices: torch.Tensor, flip: torch.Tensor) -> torch.Tensor:
        """Features (b, D) of the faces, each in the mirrored version where ``flip`` is set."""
        return self.both[flip.long(), indices]


def freeze(
    backbone: nn.Module, pool: TrainingSet, compute: Compute, *, flips: bool, upright: torch.Tensor | None = None
) -> FrozenFeatures:
    """Compute :class:`FrozenFeatures` once; ``upright`` supplies the unflipped ones when they are known already."""
    plain = extract_features(backbone, pool, compute) if upright is None else upright
    mirror = extract_features(backbone, pool, compute, mirrored=True) if flips else plain
    return FrozenFeatures(torch.stack([plain, mirror]).to(compute.device))
