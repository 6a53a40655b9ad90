"""Export of an experiment's split: the coordinator's folder and one folder per site.

For demonstrations and tests, where one machine has all faces. Each site's folder holds its own faces and the public
ones; the coordinator's folder holds no private faces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from fedfr.config.schema import ExperimentConfig, FacesConfig, SplitConfig
from fedfr.core.files import make_folder, write_atomically
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.sum_keys import make_sum_key
from fedfr.experiments.components import RunComponents
from fedfr.experiments.method_run import MethodRun
from fedfr.experiments.secure_sums import uses_secure_sum
from fedfr.faces import ClientFaces, FaceSet, Split
from fedfr.faces.array_columns import ImageIndices, concatenate_indices
from fedfr.faces.face_sets import with_original_names

__all__ = ["export_partitions"]


def export_partitions(components: RunComponents, folder: Path, run: str) -> list[str]:
    """Write ``coordinator/`` and ``sites/<id>/`` below ``folder`` for a run's main method; return the site ids.

    ``run``: name of the run's folder at the coordinator. ``coordinator/config.yaml`` is a configuration for ``fedfr
    train`` with the faces that are not private; ``coordinator/agreement.yaml`` is the agreement that every site has as
    well. Of several face sets, a site has its own images and the public ones, and the coordinator has images of the
    public and generic sets only. Raises :class:`FedfrError` if files exist already, and for a method that needs all
    faces in one place.
    """
    split, faces = components.split, components.faces
    method_run = MethodRun(components, components.config.method.name, components.folder)
    keys = {}
    if uses_secure_sum(method_run):
        for client in split.clients:
            make_folder(folder / "sites" / client)
            keys[client] = make_sum_key(folder / "sites" / client)
    agreement = Agreement.of(method_run, keys).model_copy(update={"run": run})
    _coordinator(components, folder / "coordinator", agreement)
    for client, own in split.clients.items():
        site = folder / "sites" / client
        own_faces = with_original_names(faces.subset(own.all()))
        own_faces.save(site / "faces")
        division = ClientFaces(range(len(own.train)), range(len(own.train), len(own_faces)))
        _split_of(own_faces, "site", clients={client: division}).save(site / "split.json")
        components.public_faces.save(site / "public")
        if len(split.strangers):
            components.stranger_faces.save(site / "strangers")
        agreement.save(site / "agreement.yaml")
        runtime = {"precision": components.config.runtime.precision, "threads": components.config.runtime.threads}
        content = {
            "client": client,
            "agreement": "agreement.yaml",
            "faces": {"path": "faces", "manifest": "split.json"},
            "public": "public",
            **({"strangers": "strangers"} if len(split.strangers) else {}),
            "private": "private",
            "runtime": runtime,
        }
        if agreement.code:
            content["allow"] = list(agreement.code)
        write_atomically(site / "site.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode())
    return list(split.clients)


def _coordinator(components: RunComponents, folder: Path, agreement: Agreement) -> None:
    split = _without_private_sets(components)
    unseen = np.union1d(np.asarray(split.distractors, np.int64), split.pair_images())
    further = np.setdiff1d(unseen, np.asarray(split.generic, np.int64))
    exported = concatenate_indices([split.public, split.generic, further, split.strangers])
    open_faces = with_original_names(components.faces.subset(exported), "public")
    new_index = np.full(len(components.faces), -1, np.int64)
    new_index[exported] = np.arange(len(exported))

    def reindexed(images: Sequence[int]) -> ImageIndices:
        return ImageIndices(new_index[np.asarray(images, np.int64)])

    open_faces.save(folder / "faces")
    made = replace(
        _split_of(open_faces, "sites", clients={name: ClientFaces((), (), elsewhere=True) for name in split.clients}),
        public=reindexed(split.public),
        generic=reindexed(split.generic),
        distractors=reindexed(split.distractors),
        strangers=reindexed(split.strangers),
        pairs=tuple((int(new_index[one]), int(new_index[other])) for one, other in split.pairs),
    )
    made.describe(open_faces).save(folder / "split.json")
    agreement.save(folder / "agreement.yaml")
    config = components.config.model_copy(
        update={
            "faces": FacesConfig(path=str((folder / "faces").resolve())),
            "split": SplitConfig(recipe="sites", manifest=str((folder / "split.json").resolve())),
            "baselines": (),
            "baseline_settings": {},
        }
    )
    _save(config, folder / "config.yaml")


def _without_private_sets(components: RunComponents) -> Split:
    """Return the split without generic images and distractors of private face sets, which never leave their site."""
    split, faces = components.split, components.faces
    private = np.array([part.role == "private" for part in faces.sets], np.bool_)
    if not private.any():
        return split

    def kept(images: Sequence[int] | NDArray[np.int64]) -> ImageIndices:
        sets, _ = faces.locate(np.asarray(images, np.int64))
        return ImageIndices(np.asarray(images, np.int64)[~private[sets]])

    generic = kept(split.generic)
    inside = {*kept(split.pair_images())}
    pairs = tuple(pair for pair in split.pairs if inside.issuperset(pair))
    return replace(split, generic=generic, distractors=kept(split.distractors), pairs=pairs)


def _split_of(faces: FaceSet, name: str, clients: dict[str, ClientFaces]) -> Split:
    return Split(name, 0, faces.fingerprint(), (), clients, (), ())


def _save(config: ExperimentConfig, path: Path) -> None:
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_atomically(path, text.encode())
