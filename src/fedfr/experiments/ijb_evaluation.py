"""Templates of IJB-B or IJB-C for one model, in bounded memory and resumable."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedfr.core.errors import FedfrError
from fedfr.core.settings import Settings
from fedfr.evaluation.ijb import TemplateSums
from fedfr.evaluation.protocols.ijb import IJB_LISTS
from fedfr.experiments.devices import open_device
from fedfr.faces import FaceSet, FacesWarning
from fedfr.faces.readers.ijb import IjbFolder, IjbImages
from fedfr.reporting.progress import Progress
from fedfr.training.feature_blocks import FeatureBlocks, passing_blocks
from fedfr.training.features import Compute, extract_features, mirror_summed_features
from fedfr.training.training_set import TrainingSet

__all__ = ["IjbSettings", "check_ijb", "ijb_templates"]


class IjbSettings(Settings):
    """Settings of templates, by default as in InsightFace's scripts, and the device for feature extraction.

    ``flip`` adds the feature of the mirror image, ``norm`` keeps the length of an image's feature (``use_norm_score``),
    ``faceness`` weights it by the detector's score.
    """

    flip: bool = True
    norm: bool = True
    faceness: bool = True
    device: str = "cpu"


def check_ijb(ijb: IjbFolder, protocols: Sequence[str]) -> str:
    """Read everything that ``protocols`` need, before features are extracted; returns the title of the set.

    The title of a set whose counts differ from the published ones has the suffix ``(part)``, with a
    :class:`FacesWarning` about the differences. Raises :class:`FedfrError` for anything missing or wrong.
    """
    lists = dict.fromkeys(IJB_LISTS[name] for name in protocols)
    ijb.require(*lists)
    for name in lists:
        getattr(ijb, name)
    differences = ijb.differences()
    if not differences:
        return ijb.kind.title
    warnings.warn(
        f"{ijb.path} is not the whole {ijb.kind.title}: {', '.join(differences)}; its metrics cannot be compared "
        "with published ones",
        FacesWarning,
        stacklevel=2,
    )
    return f"{ijb.kind.title}(part)"


def ijb_templates(
    images: IjbImages,
    network: nn.Module,
    compute: Compute,
    settings: IjbSettings,
    model: Path,
    folder: Path | None,
    progress: Progress,
) -> NDArray[np.float64]:
    """Return features (T, D) of all templates, of length one, computed by ``network`` from the file ``model``.

    Features of images are kept in ``folder`` if given. Raises :class:`FedfrError` for a device that is missing or not
    supported by the network, an unreadable image, and features that are not finite.
    """
    compute = replace(compute, device=open_device(settings.device, "device"))
    if compute.device.type != "cpu" and next(network.parameters(), None) is None:
        raise FedfrError(f"device = {settings.device!r}, but {model} runs on the CPU only; omit the setting")
    network = compute.place(network)

    extract = mirror_summed_features if settings.flip else extract_features

    def make(first: int, stop: int) -> NDArray[np.float32]:
        faces = FaceSet(images.pixels(first, stop), np.zeros(stop - first, np.int64), ["unknown"])
        training_set = TrainingSet([(faces, None, 0)])
        return np.asarray(extract(network, training_set, compute).numpy(), np.float32)

    about = {
        "model": _digest(model),
        "preprocessing": compute.preprocessing.to_metadata(),
        "flip": settings.flip,
        "images": images.digest(),
    }
    sums, done = TemplateSums.of_images(images, norm=settings.norm, faceness=settings.faceness), 0
    kept = None if folder is None else FeatureBlocks(folder, len(images), about)
    for features in passing_blocks(len(images), make) if kept is None else kept.blocks(make):
        sums.add(features)
        done += len(features)
        progress.update("features", done, len(images), unit="images")
    return sums.features()


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file, which works for weights and graphs of any kind."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
