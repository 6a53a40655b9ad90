"""Components of a run made from its configuration: faces, split, compute settings, starting model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import nn

from fedfr.config.schema import ExperimentConfig
from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json, write_json
from fedfr.experiments.face_sources import open_face_sets, open_source
from fedfr.experiments.from_config import generic_contract, make_compute
from fedfr.faces import FaceSet, Split, make_split
from fedfr.faces.face_sets import with_original_names
from fedfr.faces.storage import is_face_set
from fedfr.federation.method import GenericModel
from fedfr.federation.public_faces import PublicFaces
from fedfr.models import (
    BACKBONES,
    build_backbone,
    embedding_space,
    load_backbone,
    load_model,
    load_weights,
    save_model,
)
from fedfr.models.checkpoint import has_contract
from fedfr.models.model_parts import PERSONALIZED, PUBLIC_PROTOTYPES
from fedfr.training.features import Compute, mean_features
from fedfr.training.finite import is_finite
from fedfr.training.pretraining import pretrain
from fedfr.training.training_set import TrainingSet

__all__ = ["RunComponents", "open_faces"]

# Beside the starting model.
PUBLIC = "public.json"

Step = Callable[[int, int, int], None]
Epoch = Callable[[int, Mapping[str, float], float], None]
Counter = Callable[[int, int], None]


def open_faces(config: ExperimentConfig, cache: Path, on_import: Counter | None = None) -> FaceSet:
    """Return the run's faces: the saved set at ``faces.path``, faces imported once into ``cache``, or several sets."""
    faces = config.faces
    if faces.sets:
        return open_face_sets(faces, cache, on_import)
    return open_source(faces.source, faces.path, cache, on_import, "faces")


class RunComponents:
    """Components of a run in ``folder``, each made on first use and afterwards read from disk."""

    def __init__(self, config: ExperimentConfig, folder: Path, on_import: Counter | None = None) -> None:
        self.config = config
        self.folder = folder
        self._on_import = on_import

    @cached_property
    def compute(self) -> Compute:
        """Preprocessing, device and precision for networks."""
        return make_compute(self.config)

    @cached_property
    def faces(self) -> FaceSet:
        """All faces of the run, memory-mapped or decoded on access."""
        return open_faces(self.config, self.folder / "faces", self._on_import)

    @property
    def faces_folder(self) -> Path:
        """Folder of the saved faces."""
        path = self.config.faces.path
        return Path(path) if path is not None and is_face_set(path) else self.folder / "faces"

    @property
    def features_folder(self) -> Path:
        """Folder in which processes and methods of the run share the features of public faces."""
        return self.folder / "public_features"

    @cached_property
    def split(self) -> Split:
        """The split, saved as ``split.json`` and checked against the faces on every load."""
        path = self.folder / "split.json"
        if not path.exists():
            wanted = self.config.split
            made = (
                Split.load(wanted.manifest)
                if wanted.manifest is not None
                else make_split(self.faces, wanted.recipe, **wanted.settings)
            )
            made.check(self.faces)
            made.describe(self.faces).save(path)
        split = Split.load(path)
        split.check(self.faces)
        return split

    @property
    def public_faces(self) -> FaceSet:
        """Return the public faces as other machines receive them, with the names of their own set."""
        return with_original_names(self.faces.subset(self.split.public))

    @property
    def stranger_faces(self) -> FaceSet:
        """Return the strangers of the split as other machines receive them; empty if it has none."""
        return with_original_names(self.faces.subset(self.split.strangers))

    def starting_model(
        self,
        on_step: Step = lambda epoch, step, steps: None,
        on_epoch: Epoch = lambda epoch, losses, rate: None,
    ) -> GenericModel:
        """Return θ⁰ and Φ_g⁰ from ``pretrained/``, made by pre-training or from the starting checkpoint if missing."""
        path = self.folder / "pretrained" / "generic.safetensors"
        if not path.exists():
            generic = self._make_start(on_step, on_epoch)
            write_json(path.with_name(PUBLIC), self._public_identities())
            self.save_generic(path, generic, "pretrained")
        self._check_public(path.with_name(PUBLIC))
        tensors, contract = load_model(path)
        contract.require(generic_contract(self.config, contract.embedding_space))
        prototypes = tensors.pop(PUBLIC_PROTOTYPES)
        return GenericModel(tensors, prototypes)

    def _public_identities(self) -> dict[str, int | str]:
        """Return number and fingerprint of the public identities, in the order of the public prototypes."""
        names = self.faces.identities_of(self.split.public)
        return {"count": len(names), "names": hashlib.sha256(json.dumps(names).encode()).hexdigest()}

    def _check_public(self, path: Path) -> None:
        # Absent in runs of earlier versions, and if the starting model comes from another run of the same faces.
        if path.exists() and read_json(path) != (here := self._public_identities()):
            raise FedfrError(
                f"the public identities of {self.folder} differ from those its model was trained with ({here['count']} "
                "now); restore them, or begin a new run with these faces"
            )

    def save_generic(self, path: Path, generic: GenericModel, role: str) -> None:
        """Write a generic model with its preprocessing contract."""
        tensors = {**generic.weights, PUBLIC_PROTOTYPES: generic.prototypes}
        save_model(path, tensors, generic_contract(self.config, embedding_space(generic.weights), role))

    def new_backbone(self) -> nn.Module:
        """Return the configured backbone with seeded initial weights, on the run's device."""
        return self.compute.place(build_backbone(self.config.model.backbone, self.config.seed))

    def _make_start(self, on_step: Step, on_epoch: Epoch) -> GenericModel:
        config = self.config
        if config.pretrain.epochs == 0:
            return self.untrained_model()
        public = self.faces.subset(self.split.public)
        backbone = self.initial_backbone()
        prototypes = pretrain(
            backbone,
            TrainingSet([(public, None, 0)]),
            public.num_identities,
            config.pretrain,
            self.compute,
            seed=config.seed,
            checkpoint=self.folder / "pretrained" / "state.safetensors",
            prototypes=partial(self._mean_prototypes, backbone) if config.pretrain.prototypes == "mean" else None,
            on_step=on_step,
            on_epoch=on_epoch,
        )
        return _generic_model(backbone, prototypes)

    def untrained_model(self) -> GenericModel:
        """Return the model before pre-training: the checkpoint ``model.start`` as it is, or initial weights.

        A published backbone has no prototypes of our public identities; their mean features are used. Raises
        :class:`FedfrError` if the features of public faces are not finite.
        """
        backbone = self.initial_backbone()
        return _generic_model(backbone, self._mean_prototypes(backbone))

    def _mean_prototypes(self, backbone: nn.Module) -> torch.Tensor:
        """Return the mean feature (K_g, D) of every public identity, of which there may be none."""
        public = self.faces.subset(self.split.public)
        if not len(public):
            return torch.zeros(0, BACKBONES[self.config.model.backbone].embedding_dim)
        seen = PublicFaces(public, self.features_folder).features(backbone, self.compute)
        labels = TrainingSet([(public, None, 0)]).labels
        means = mean_features(seen[torch.arange(len(public))], labels, public.num_identities)
        if not is_finite([means]):
            raise FedfrError(
                f"model.start = {self.config.model.start} gives NaN or infinity for public faces; use another "
                "checkpoint"
            )
        return means

    def initial_backbone(self) -> nn.Module:
        """Return the backbone before pre-training: initial weights, or the checkpoint ``model.start``.

        Raises :class:`FedfrError` if the checkpoint cannot be read or holds another backbone.
        """
        backbone = self.new_backbone()
        if self.config.model.start != "scratch":
            self._load_start(backbone, Path(self.config.model.start))
        return backbone

    def _load_start(self, backbone: nn.Module, path: Path) -> None:
        if path.suffix == ".safetensors" and (not path.is_file() or has_contract(path)):
            state, contract = load_model(path)
            if contract.role == PERSONALIZED:
                raise FedfrError(f"model.start = {path} is one client's personalized model; give a generic one")
            contract.require(generic_contract(self.config, contract.embedding_space))
            state.pop(PUBLIC_PROTOTYPES, None)
        else:
            own = self.config.model.backbone
            found = load_backbone(path, None if own in BACKBONES.builtin else own)
            if found.name != self.config.model.backbone:
                raise FedfrError(
                    f"model.start = {path} holds {found.name}, model.backbone is {self.config.model.backbone}; "
                    f"set model.backbone={found.name}"
                )
            state = found.state
        load_weights(backbone, state)


def _generic_model(backbone: nn.Module, prototypes: torch.Tensor) -> GenericModel:
    return GenericModel({name: value.detach().cpu() for name, value in backbone.state_dict().items()}, prototypes)
