"""Public faces with cached features, computed once per model and shared by the processes of a run."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fedfr.faces import FaceSet
from fedfr.federation.feature_store import FeatureStore
from fedfr.models import embedding_space
from fedfr.training.features import Compute, extract_features
from fedfr.training.stored_features import StoredFeatures, to_half
from fedfr.training.training_set import TrainingSet

__all__ = ["PublicFaces"]

# The last bits of a feature depend on its batch, so every face is always computed in the same batch.
BATCH = 64


class PublicFaces:
    """Public face set with its features under the newest generic model.

    Features are cached by everything they depend on – the model's weights, the settings of inference, the images of a
    chunk of ``chunk`` faces – so nothing unchanged is computed again. With a folder ``shared`` they are stored there,
    memory-mapped by every process that uses the folder; otherwise in memory. ``half`` stores directions in float16;
    exact features are then computed again on request, bit-identical. ``flipped`` stores the features of the mirror
    images in place of those of the images.

    ``seconds`` is the processor time in which all features of the newest model were computed, by this process or others
    (None if it is not known), ``spent`` that of this object for all models.
    """

    def __init__(
        self,
        faces: FaceSet,
        shared: Path | None = None,
        *,
        half: bool = False,
        chunk: int = 4096,
        flipped: bool = False,
    ) -> None:
        self.faces = faces
        self._folder = shared
        self._flipped = flipped
        self._store = None if shared is None else FeatureStore(shared)
        self._half = half
        self._chunks = range(0, len(faces), -(-chunk // BATCH) * BATCH)
        self._model = ""
        self._named: tuple[nn.Module, Compute, list[int], str] | None = None
        self._parts: Sequence[torch.Tensor] = ()
        self.seconds: float | None = 0.0
        self.spent = 0.0

    @cached_property
    def mirrored(self) -> PublicFaces:
        """The same faces, with the features of their mirror images."""
        return PublicFaces(self.faces, self._folder, half=self._half, chunk=self._chunks.step, flipped=True)

    def features(self, backbone: nn.Module, compute: Compute, *, own: bool = False) -> StoredFeatures:
        """Return features (|D_g|, D) under ``backbone``; those of a client's ``own`` model are not shared.

        With its own BatchNorm a client has a model of its own, and clients would only replace each other's features in
        the shared folder. With half precision, ``backbone`` must stay unchanged while the features are used.
        """

        def made(chunk: int) -> torch.Tensor:
            start, started = self._chunks[chunk], time.process_time()
            found = self._extract(start, start + self._chunks.step, backbone, compute)
            found = to_half(found) if self._half else found
            self.spent += time.process_time() - started
            return found

        model = self._name(backbone, compute)
        if self._model != model:
            self._model, self._parts = "", ()  # Freed before the new ones are computed.
            before = self.spent
            if own or self._store is None:
                self._parts = [made(chunk) for chunk in range(len(self._chunks))]
                self.seconds = self.spent - before
            else:
                self._parts = self._store.fetch(model, self._images, made)
                self.seconds = self._store.seconds(model, self._images)
            self._model = model
        if not self._half:
            return StoredFeatures(self._parts)
        return StoredFeatures(self._parts, lambda wanted: self._exact(wanted, backbone, compute))

    @cached_property
    def _images(self) -> list[str]:
        """Key of the images of each chunk."""
        digests = self.faces.digests()
        parts = [digests[start : start + self._chunks.step] for start in self._chunks]
        return [hashlib.sha256(part.rows.tobytes()).hexdigest()[:32] for part in parts]

    def _name(self, backbone: nn.Module, compute: Compute) -> str:
        """Return the key of this backbone; recomputed only after a write to it, because it reads every weight."""
        state = backbone.state_dict()
        # PyTorch counts the writes to every tensor. A reference keeps the backbone's id from being reused.
        seen = (backbone, compute, [value._version for value in state.values()])
        if self._named is None or self._named[0] is not backbone or self._named[1:3] != seen[1:]:
            self._named = (*seen, self._key(state, compute))
        return self._named[3]

    def _key(self, weights: Mapping[str, torch.Tensor], compute: Compute) -> str:
        """Return a key of everything, except the images, that the bits of a feature depend on."""
        how = [
            embedding_space(weights),
            compute.preprocessing.to_metadata(),
            compute.bf16,
            # Only the type: the devices of the workers are of one kind and share features.
            compute.device.type,
            torch.get_num_threads(),
            torch.__version__,
            self._half,
            BATCH,
            *(["flipped"] if self._flipped else []),
        ]
        return hashlib.sha256(json.dumps(how, sort_keys=True).encode()).hexdigest()[:32]

    def _extract(self, start: int, end: int, backbone: nn.Module, compute: Compute) -> torch.Tensor:
        training_set = TrainingSet([(self.faces, np.arange(start, min(end, len(self.faces))), 0)])
        return extract_features(backbone, training_set, compute, mirrored=self._flipped, batch_size=BATCH)

    def _exact(self, wanted: torch.Tensor, backbone: nn.Module, compute: Compute) -> torch.Tensor:
        """Return float32 features of ascending indices, each computed with the rest of its batch."""
        rows = [torch.empty(0)]
        counts = torch.bincount(wanted // BATCH).tolist()
        for batch, inside in enumerate(wanted.split(counts)):
            if len(inside):
                start = batch * BATCH
                rows.append(self._extract(start, start + BATCH, backbone, compute)[inside - start])
        return torch.cat(rows[1:] or rows)
