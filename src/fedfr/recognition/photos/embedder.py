"""Photo to features: detection, alignment, quality gate and network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.core.short_repr import Brief
from fedfr.faces.alignment.detection import Face, open_detector
from fedfr.faces.alignment.photographs.aligners import Aligner, YunetAligner
from fedfr.faces.alignment.photographs.outcome import FoundFaces
from fedfr.faces.alignment.template import align
from fedfr.faces.pixels import IMAGE_SHAPE
from fedfr.models.network_files import network_space, network_suffix, save_network
from fedfr.models.opened_model import OpenedModel, open_model
from fedfr.models.user_preprocessing import NO_USER_PREPROCESSING, UserPreprocessing
from fedfr.recognition.decision import reasons_to_json
from fedfr.recognition.photos.photo import Photo, read_photo
from fedfr.recognition.photos.quality import GATES, Quality, measure_quality
from fedfr.recognition.photos.rotation import quarter_turns
from fedfr.training.features import Compute

__all__ = ["MOST_FACES", "Embedder", "FaceObservation"]

MOST_FACES = 50
"""Number of faces in a photo that are looked at: one photo must not occupy the network for minutes."""
_BATCH = 16  # with the mirror images 32 at a time, the fastest on CPUs
_PURPOSE = "unit feature; mean of the image and its mirror image"


@dataclass(frozen=True, repr=False)
class FaceObservation(Brief):
    """A face in a photo: its aligned ``crop`` (112, 112, 3), uint8 RGB, its quality, and why it is not good enough.

    ``box`` (x, y, width, height) and ``points`` (5, 2) are in pixels of the photo, and None if the photo is an aligned
    crop. ``reasons`` are keys of :data:`~fedfr.recognition.REASONS`, empty for a face that passes the gate.
    """

    crop: NDArray[np.uint8] = field(compare=False)
    quality: Quality
    reasons: tuple[str, ...] = ()
    box: tuple[float, float, float, float] | None = None
    points: tuple[tuple[float, float], ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, without the crop."""
        return {
            "box": None if self.box is None else [round(value, 2) for value in self.box],
            "points": None if self.points is None else [[round(x, 2), round(y, 2)] for x, y in self.points],
            "quality": self.quality.to_json(),
            "reasons": reasons_to_json(self.reasons),
        }


class Embedder:
    """Finds the faces in photos, judges their quality, and computes their features; safe for concurrent threads.

    ``space`` identifies the features' space: weights of the network or ONNX graph, preprocessing, and that a feature is
    the mean of the image's and its mirror image's. ``dim`` is the length of a feature, ``model_role`` generic or
    personalized, ``gate`` the name of the quality gate. ``model_notice`` says which preprocessing is assumed for a
    model without a contract, and is empty otherwise.

    >>> import numpy as np
    >>> from fedfr.models import OpenedModel, Preprocessing, build_backbone
    >>> from fedfr.recognition import Embedder
    >>> model = OpenedModel(build_backbone("slimface-small", seed=0), Preprocessing(), "generic")
    >>> embedder = Embedder(model)
    >>> embedder.features(np.zeros((2, 112, 112, 3), np.uint8)).shape
    (2, 128)
    """

    def __init__(self, model: OpenedModel, aligner: Aligner | None = None, quality: str = "standard") -> None:
        self._gate = GATES[quality]
        self.gate = quality
        self._model, self._aligner = model, aligner
        self._compute = Compute(model.preprocessing, torch.device("cpu"))
        self._network = self._compute.place(model.network).eval().requires_grad_(False)
        self.model_role, self.model_notice = model.role, model.assumed
        self.space = network_space(model, _PURPOSE)
        self.dim = self.features(np.full((1, *IMAGE_SHAPE), 127, np.uint8)).shape[1]

    @classmethod
    def open(
        cls,
        model: Path,
        detector: Path | None = None,
        *,
        quality: str = "standard",
        threads: int | None = None,
        user_preprocessing: UserPreprocessing = NO_USER_PREPROCESSING,
        detector_sha256: str | None = None,
    ) -> Embedder:
        """Open a model file and a YuNet detector; without a detector, only aligned crops are accepted.

        ``threads`` sets the number of threads that PyTorch and OpenCV use in this process. ``user_preprocessing`` is
        for weights without a contract; ``detector_sha256`` confirms a detector that is not a known one. Raises
        :class:`FedfrError` if a file is missing, damaged or of another kind, and for an unknown quality gate.
        """
        if threads is not None:
            if threads < 1:
                raise FedfrError(f"threads is {threads}; allowed is 1 or more")
            torch.set_num_threads(threads)
            cv2.setNumThreads(threads)
        aligner = None if detector is None else YunetAligner(open_detector(Path(detector), detector_sha256))
        return cls(open_model(model, user_preprocessing), aligner, quality)

    @property
    def backbone(self) -> str:
        """Name of the model's backbone."""
        return self._model.backbone

    @property
    def detects(self) -> bool:
        """Whether there is a detector."""
        return self._aligner is not None

    def look(self, photo: Photo, *, aligned: bool = False, alone: bool = True) -> list[FaceObservation]:
        """Return the faces in a photo, the main one first; empty if there are none.

        The main face is the largest one near the middle; of others, the largest are returned, altogether at most
        :data:`MOST_FACES`. Faces of which the detector is not sure are left out, unless
        there are no others: then the best is returned with the reason ``low-score``. With ``alone``, a face beside
        another of at least a quarter of its size has the reason ``several-faces``. With ``aligned``, the photo is an
        aligned crop (112, 112, 3). Raises :class:`~fedfr.recognition.RejectedPhoto` if the photo cannot be read, and
        :class:`FedfrError` without a detector unless ``aligned``.
        """
        image = read_photo(photo, aligned=aligned)
        if aligned:
            quality = measure_quality(image)
            return [FaceObservation(image, quality, self._gate.reasons(quality))]
        faces = self._find(image)
        if not faces:
            return []
        found = FoundFaces.choose(faces, image.shape, self._gate.limits)
        others = sorted((face for face in found.confident if face is not found.main), key=lambda face: -face.area)
        others = others[: MOST_FACES - 1]
        return [self._observe(face, image, found, alone) for face in (found.main, *others)]

    def _find(self, image: NDArray[np.uint8]) -> Sequence[Face]:
        if self._aligner is None:
            raise FedfrError(
                "there is no detector, so only aligned 112x112 crops are accepted; open it with a detector"
            )
        return self._aligner.faces("", image)

    def _observe(self, face: Face, image: NDArray[np.uint8], found: FoundFaces, alone: bool) -> FaceObservation:
        crop = align(image, face.points)
        turned = quarter_turns(image, face, self._find)
        quality = measure_quality(crop, face, image.shape, turned)
        reason = found.reason(face, self._gate.limits)
        first = () if not reason or (reason == "several-faces" and not alone) else (reason,)
        points = tuple((float(x), float(y)) for x, y in face.points)
        return FaceObservation(crop, quality, (*first, *self._gate.reasons(quality)), face.box, points)

    def features(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return unit features (N, D) of aligned crops (N, 112, 112, 3), uint8 RGB.

        A feature is the mean of the network's output for the image and for its mirror image. Raises
        :class:`FedfrError` for crops of another shape, and if the network returns NaN or zero.
        """
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != IMAGE_SHAPE:
            raise FedfrError(f"crops are {crops.dtype} {crops.shape}; allowed are uint8 (N, 112, 112, 3)")
        if not len(crops):
            return np.empty((0, self.dim), np.float32)
        parts = [self._unit(crops[start : start + _BATCH]) for start in range(0, len(crops), _BATCH)]
        return np.concatenate(parts)

    def _unit(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        images = torch.from_numpy(np.ascontiguousarray(crops))
        with torch.inference_mode():
            flip = torch.arange(2 * len(images)) >= len(images)
            both = self._compute.features(self._network, torch.cat([images, images]), flip)
            mean = both.view(2, len(images), -1).mean(dim=0)
            lengths = mean.norm(dim=1, keepdim=True)
            if not bool((torch.isfinite(lengths) & (lengths > 0)).all()):
                raise FedfrError("the model returns NaN, infinity or zero for a face; use another model")
            unit: NDArray[np.float32] = (mean / lengths).numpy()
        return unit

    def save_model(self, folder: Path) -> Path:
        """Write the network, without prototypes and branches, to ``folder``/<space>.safetensors or .onnx.

        Opened again, the file has the same space. The file that is there already is kept. Returns its path.
        """
        path = folder / f"{self.space.removeprefix('sha256:')}{network_suffix(self._model)}"
        if not path.exists():
            save_network(self._model, path)
        return path
