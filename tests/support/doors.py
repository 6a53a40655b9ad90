"""Small galleries with a random network and generated faces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tests.support.tiny_experiment import BACKBONE, tiny_faces

from fedfr.faces import FaceSet
from fedfr.models import BACKBONES, Contract, Preprocessing, embedding_space, save_model
from fedfr.models.build import build_backbone
from fedfr.recognition.recognizer import Recognizer

__all__ = ["FPIR", "STRANGERS", "Door", "make_door", "save_tiny_model"]

FPIR = 0.1
"""Rate that 40 strangers prove."""
STRANGERS = 40


@dataclass(frozen=True)
class Door:
    """A gallery's folder, its model, and faces: those of people to enrol, and of strangers."""

    folder: Path
    model: Path
    faces: FaceSet
    strangers: FaceSet

    def photos(self, person: int, start: int = 0, stop: int | None = None) -> list[NDArray[np.uint8]]:
        """Aligned crops of a person."""
        rows = self.faces.indices_of(person)[start:stop]
        return list(self.faces.images(rows))

    def open(self) -> Recognizer:
        """Open the gallery."""
        return Recognizer.open(self.folder)


def save_tiny_model(path: Path, seed: int = 0, name: str = BACKBONE) -> Path:
    """Write a model with random weights."""
    backbone = build_backbone(name, seed)
    tensors = backbone.state_dict()
    save_model(path, tensors, Contract(name, BACKBONES[name].embedding_dim, Preprocessing(), embedding_space(tensors)))
    return path


def make_door(
    folder: Path,
    *,
    crops: bool = False,
    cohort: bool = False,
    backbone: str = BACKBONE,
    detector: Path | None = None,
) -> Door:
    """Create a gallery in ``folder``/door, in which nobody is enrolled."""
    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True)
    model = save_tiny_model(folder / "model.safetensors", name=backbone)
    strangers = tiny_faces(STRANGERS, 1, seed=7)
    door = Door(folder / "door", model, tiny_faces(6, 6, seed=1), strangers)
    others = tiny_faces(20, 1, seed=8) if cohort else None
    Recognizer.create(
        door.folder,
        model=model,
        detector=detector,
        strangers=strangers,
        cohort=others,
        quality="off",
        fpir=FPIR,
        crops=crops,
    ).close()
    return door
