"""Export of a run's models or a single model in the layouts of other programs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedfr.core.errors import FedfrError
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.from_config import generic_contract
from fedfr.experiments.method_run import MethodRun
from fedfr.faces import Split, importer_for, load_faces, open_folder
from fedfr.faces.storage import is_face_set
from fedfr.models import LAYOUTS, ModelParts, ModelSource, load_model
from fedfr.models.layouts import CLIENTS
from fedfr.models.model_parts import PERSONALIZED

__all__ = ["ExportedFiles", "export_model"]

INT8 = "onnx-int8"
_CALIBRATION_IMAGES = 256


@dataclass(frozen=True)
class ExportedFiles:
    """The written files, and those among them that are private to a client."""

    files: tuple[Path, ...]
    private: tuple[Path, ...]


def export_model(
    target: str | Path,
    destination: str | Path,
    layout: str,
    *,
    method: str | None = None,
    clients: bool = True,
    calibration: str | Path | None = None,
) -> ExportedFiles:
    """Write a run's newest models, or one model (a file), to ``destination`` in a ``layout``.

    ``method`` is one of the run's methods, by default its main one. ``clients`` includes the clients' private parts
    (personal backbones, DFC modules, private prototypes) if the layout supports them; the caller is responsible for
    where they go. ``calibration`` are aligned faces, in any format that can be imported, with which 8-bit integers are
    calibrated. Raises :class:`FedfrError` if there is no such model or the destination is not empty, without leaving
    files there.
    """
    target, destination, write = Path(target), Path(destination), LAYOUTS[layout]
    if calibration is not None and layout != INT8:
        raise FedfrError(f"--calibration is for the layout {INT8}, not {layout}; leave it out")
    crops = None if calibration is None else _calibration_crops(Path(calibration))
    if not target.is_file():
        source = _of_run(Experiment.open(target), method, clients)
        files = write(replace(source, calibration=crops), destination)
        own = [file for file in files if file.is_relative_to(destination / CLIENTS)]
        return ExportedFiles(tuple(files), tuple(own))
    if method is not None:
        raise FedfrError(f"--method chooses among a run's methods, {target} is a single model; leave it out")
    if target.suffix != ".safetensors":
        raise FedfrError(
            f"{target} is not a model of fedfr; convert it with `fedfr models import {target} NEW.safetensors`"
        )
    tensors, contract = load_model(target)
    try:
        parts = ModelParts.of_model(tensors, contract)
    except FedfrError as error:
        raise FedfrError(f"model {target}: {error}") from error
    files = write(ModelSource(str(target), parts, contract.role, contract, crops), destination)
    return ExportedFiles(tuple(files), tuple(files) if contract.role == PERSONALIZED else ())


def _of_run(run: Experiment, method: str | None, clients: bool) -> ModelSource:
    method_runs = {method_run.name: method_run for method_run in run.method_runs()}
    name = method or run.config.method.name
    if name not in method_runs:
        raise FedfrError(f"{run.folder} did not run {name!r}; it ran {', '.join(method_runs)}")
    method_run = method_runs[name]
    entry = method_run.journal.latest()
    if entry is None:
        raise FedfrError(f"{run.folder} has no finished round yet; continue with `fedfr resume {run.folder}`")
    kept = method_run.method.generic_model is not None
    generic = ModelParts(entry.generic.weights, entry.generic.prototypes) if kept else None
    readers: dict[str, Callable[[], ModelParts | None]] = {}
    if clients and method_run.method.personal_model is not None:
        split = Split.load(run.folder / "split.json")
        readers = {client: partial(_private_parts, method_run, client, entry.round) for client in split.clients}
    contract = None if generic is None else generic_contract(run.config, generic.space("generic"))
    return ModelSource(str(run.folder), generic, contract=contract, clients=readers)


def _calibration_crops(path: Path) -> NDArray[np.uint8]:
    """Return images of as many people as possible, evenly spread over the set."""
    faces = open_folder(path) if not is_face_set(path) and importer_for(path) == "folder" else load_faces(path)
    count = min(len(faces), _CALIBRATION_IMAGES)
    return faces.images(np.linspace(0, len(faces) - 1, count).astype(int))


def _private_parts(method_run: MethodRun, client: str, round_number: int) -> ModelParts | None:
    state = method_run.store(client).at_or_before(round_number)
    if state is None:
        return None
    dfc = method_run.method.personal_modules(state)
    return ModelParts(
        state.personal_backbone or state.backbone,
        state.personal.get("prototypes", state.prototypes),
        {} if dfc is None else dfc.state_dict(),
    )
