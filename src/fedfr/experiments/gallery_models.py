"""Choice of the model of a gallery (a file, or a generic or personalized model of a run), and a run's strangers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fedfr.core.errors import FedfrError
from fedfr.experiments.experiment import Experiment
from fedfr.faces import FaceSet, load_faces
from fedfr.faces.array_columns import concatenate_indices
from fedfr.federation.private_store import PERSONAL_MODEL

__all__ = ["chosen_model", "chosen_strangers", "model_of_run", "strangers_of_run", "trained_on"]

# Folders between a run and a client's model.
_DEPTH = 4


def chosen_model(model: Path | None, run: Path | None, method: str | None = None, client: str | None = None) -> Path:
    """Return the file of ``model``, or of a model of ``run``; raises :class:`FedfrError` unless one is given."""
    if (model is None) == (run is None):
        raise FedfrError("give either a model file with --model or the folder of a run with --run")
    if run is not None:
        return model_of_run(run, method, client)
    assert model is not None
    if method is not None or client is not None:
        option = "--method" if method is not None else "--client"
        raise FedfrError(f"{option} chooses among the models of a run, {model} is a single model; leave it out")
    return model


def model_of_run(run: Path, method: str | None = None, client: str | None = None) -> Path:
    """Return the file of a finished run's generic model, or of the personalized model of ``client``.

    ``method`` is one of the run's methods, by default its main one. Raises :class:`FedfrError` if there is no such
    model.
    """
    experiment = Experiment.open(run)
    runs = {found.name: found for found in experiment.method_runs()}
    name = method or experiment.config.method.name
    if name not in runs:
        raise FedfrError(f"{run} did not run {name!r}; it ran {', '.join(runs)}")
    if client is None:
        file, kept = runs[name].folder / "generic.safetensors", runs[name].method.generic_model is not None
        what = "generic model; name a client with --client"
    else:
        if client not in runs[name].participants:
            raise FedfrError(f"{run} has no client {client!r}; it has {', '.join(runs[name].participants)}")
        file, kept = (
            runs[name].folder / "clients" / client / PERSONAL_MODEL,
            runs[name].method.personal_model is not None,
        )
        what = "personalized models; leave out --client"
    if not kept:
        raise FedfrError(f"the method {name} has no {what}")
    if not file.is_file():
        raise FedfrError(f"{run} has no {file.relative_to(run)} yet; finish it with `fedfr resume {run}`")
    return file


def strangers_of_run(run: Path | None) -> FaceSet | None:
    """Return the strangers of a run's split, None without a run and if the split has none."""
    if run is None:
        return None
    components = Experiment.open(run).components
    return components.stranger_faces if len(components.split.strangers) else None


def trained_on(model: Path | None, run: Path | None, given: Sequence[Path] = ()) -> list[FaceSet]:
    """Return the faces on which a model was trained: the ``given`` sets, and what its run trains on.

    The run is ``run``, or the one in whose folder ``model`` is; of it these are all images of the people of the public
    part and of the clients' training parts. Raises :class:`FedfrError` if ``run`` cannot be read; for the run of a
    ``model`` it warns.
    """
    found = [load_faces(path) for path in given]
    place = run or (None if model is None else _run_of(model))
    if place is None:
        return found
    try:
        components = Experiment.open(place).components
        faces, split = components.faces, components.split
    except FedfrError as error:
        if run is not None:
            raise
        warnings.warn(f"strangers are not compared with the people of {place}: {error}", UserWarning, stacklevel=2)
        return found
    rows = concatenate_indices([split.public, *(client.train for client in split.clients.values())])
    known = np.flatnonzero(np.isin(faces.labels, np.unique(faces.labels[rows])))
    return [*found, faces.subset(known)]


def _run_of(model: Path) -> Path | None:
    """Return the folder of the run that holds the file of a model, if there is one."""
    folders = list(model.resolve().parents)[:_DEPTH]
    return next((folder for folder in folders if (folder / "config.yaml").is_file()), None)


def chosen_strangers(given: Path | None, run: Path | None) -> FaceSet | Path:
    """Return the strangers that are given, or else those of a run; raises :class:`FedfrError` without any."""
    found = given or strangers_of_run(run)
    if found is None:
        raise FedfrError(
            "no strangers are given; name a folder of people nobody trained on with --strangers: without them no "
            "threshold can be promised"
        )
    return found
