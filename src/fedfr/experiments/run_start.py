"""Start of a run: its folder, the check of everything it needs, and the record of what it runs on."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from fedfr.config.loading import absolute_paths, first_difference
from fedfr.config.schema import ExperimentConfig, load_config
from fedfr.core.client_ids import POOLED
from fedfr.core.code_identity import source_digest, version_of
from fedfr.core.errors import FedfrError
from fedfr.core.files import empty_folder, make_folder, read_json, write_atomically, write_json
from fedfr.core.named_objects import why_local
from fedfr.core.operating_system import machine
from fedfr.evaluation import PROTOCOLS
from fedfr.experiments.aggregation_check import check_aggregation
from fedfr.experiments.components import RunComponents
from fedfr.experiments.face_sources import FACE_SETS
from fedfr.experiments.from_config import local_training, make_method
from fedfr.experiments.objective_check import check_objective
from fedfr.experiments.person_privacy import check_person_privacy
from fedfr.experiments.registration import check_portable, foreign_names
from fedfr.experiments.run_sets import SETS, record_sets
from fedfr.experiments.scoring import cohort_images
from fedfr.faces.storage import is_face_set
from fedfr.federation.method import Method
from fedfr.models import BACKBONES
from fedfr.training.classification import check_loss

__all__ = [
    "begin_run",
    "new_run_folder",
    "note_changed_code",
    "note_machine",
    "refuse_other_settings",
    "refuse_used_folder",
    "starting_inputs",
]

CONFIG, ENVIRONMENT = "config.yaml", "environment.json"


def new_run_folder(method: str) -> Path:
    """Create the next of ``runs/<method>-1``, ``runs/<method>-2``, … in the working directory, and return it."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[_.]", "-", re.split(r"[:.]", method)[-1]).lower()
    for number in count(1):
        folder = Path("runs") / f"{name}-{number}"
        make_folder(folder.parent)
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError


def refuse_used_folder(folder: Path) -> None:
    """Raise :class:`FedfrError` if a new run cannot begin in ``folder``, because it is not empty."""
    if (folder / CONFIG).exists():
        raise FedfrError(
            f"{folder} already holds a run; continue it with `fedfr resume {folder}` or choose another folder"
        )
    if folder.is_dir() and _is_unfinished_start(folder):
        raise FedfrError(
            f"{folder} holds an incomplete start of a run (imported faces, no config.yaml); remove the folder and "
            "repeat the command"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FedfrError(f"{folder} exists and is not an empty folder; choose another folder for the run")


def _is_unfinished_start(folder: Path) -> bool:
    """Whether a folder holds nothing but what :func:`begin_run` writes before the configuration."""
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    return bool(names) and names <= {"faces", FACE_SETS, "split.json", SETS, ENVIRONMENT}


def begin_run(components: RunComponents, *, shared_faces: Path | None = None, reserved: bool = False) -> None:
    """Open and check everything in the configuration, then write the run's folder, which must be new or empty.

    After an exception the folder is as before; a ``reserved`` one is removed.
    """
    config, folder = components.config, components.folder
    refuse_used_folder(folder)
    existed = folder.exists()
    try:
        if shared_faces is not None and not is_face_set(config.faces.path):
            make_folder(folder)
            make_folder(shared_faces)
            (folder / "faces").symlink_to(os.path.relpath(shared_faces, folder))
        _check(components)
        write_json(folder / ENVIRONMENT, _environment(config))
        # It may be read back from another working directory.
        resolved = absolute_paths(config.model_dump(mode="json"), Path.cwd())
        text = yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True)
        write_atomically(folder / CONFIG, text.encode())
    except BaseException:
        # A corrected command must find the folder unchanged.
        empty_folder(folder, remove=reserved or not existed)
        raise


def _check(components: RunComponents) -> None:
    config = components.config
    if config.runtime.workers > 1:
        check_portable(config)
    for name in config.evaluation.protocols:
        _ = PROTOCOLS[name]
    cohort_images(components)
    dim, pretrain = BACKBONES[config.model.backbone].embedding_dim, config.pretrain
    check_loss(pretrain.loss, pretrain.scale, pretrain.margin, dim)
    methods = {name: make_method(config, name) for name in (config.method.name, *config.baselines)}
    for name, method in methods.items():
        local = local_training(config, name)
        check_loss(local.loss, local.scale, local.margin, dim, logits=method.uses_logits)
        if method.starts_untrained and config.model.start == "scratch":
            raise FedfrError(
                f"{name} evaluates the checkpoint that model.start names, but model.start = scratch; give a "
                f"checkpoint, or leave {name} out"
            )
    check_aggregation(config.federation, methods, components.split)
    check_person_privacy(config, methods[config.method.name], components.faces, components.split)
    compute, backbone = components.compute, components.initial_backbone()
    for name, method in methods.items():
        check_objective(name, method, local_training(config, name), config, compute, backbone)
    if config.federation.secure == "sum":
        _check_secure_sum(components, methods)
    if not len(components.split.public):
        _check_without_public(config, methods)
    record_sets(components)


def _check_secure_sum(components: RunComponents, methods: Mapping[str, Method]) -> None:
    """Raise :class:`FedfrError` for a method of the run that cannot use secure sums, or if a package is missing."""
    from fedfr.experiments.secure_sums import check_secure_sum

    for name, method in methods.items():
        participants = [*method.participants(components.split)]
        if participants != [POOLED] and method.rounds(components.config.federation.rounds):
            check_secure_sum(components.config, name, method, len(participants))


def _check_without_public(config: ExperimentConfig, methods: Mapping[str, Method]) -> None:
    """Raise :class:`FedfrError` if a run without public images would need them."""
    needing = [name for name, method in methods.items() if method.needs_public_faces]
    if needing:
        why = f"{' and '.join(needing)} {'trains' if len(needing) == 1 else 'train'} on"
    elif config.pretrain.epochs or config.model.start == "scratch":
        why = "the starting model is trained on"
    else:
        return
    raise FedfrError(
        f"the split has no public images, which {why}; give public faces, let the recipe leave some identities public, "
        "or use a method without them, model.start and pretrain.epochs=0"
    )


def refuse_other_settings(folder: Path, config: ExperimentConfig) -> None:
    """Raise :class:`FedfrError` naming the first setting in which the run in ``folder`` differs."""
    present = load_config(folder / CONFIG)
    difference = first_difference(_effective_settings(present), _effective_settings(config))
    if difference is not None:
        name, there, wanted = difference
        raise FedfrError(
            f"{folder} was begun with {name} = {there!r}, not {wanted!r}; continue it with `fedfr resume {folder}` "
            "or choose another folder"
        )


def _effective_settings(config: ExperimentConfig) -> dict[str, Any]:
    """Return every setting that can change results, including defaults of the method."""
    tree = absolute_paths(
        config.model_dump(mode="json", exclude={"preset": True, "runtime": {"workers"}, "deployment": True}), Path.cwd()
    )
    settings = make_method(config, config.method.name).settings
    return {**tree, "method": {**tree["method"], **settings.model_dump(mode="json")}}


def starting_inputs(components: RunComponents) -> tuple[Any, ...]:
    """Return what the starting model depends on: public faces, seed, model, pre-training, and how it is computed."""
    config, split = components.config, components.split
    runtime = config.runtime.model_dump(exclude={"workers", "public_features"})
    return split.faces_fingerprint, split.public, config.seed, config.model, config.pretrain, runtime


def note_changed_code(components: RunComponents, note: Callable[[str], None]) -> None:
    """Report and record code of other packages that differs from what the run was computed with so far."""
    path = components.folder / ENVIRONMENT
    if not path.exists():
        return
    environment = read_json(path)
    before, present = environment.get("code", {}), _code(components.config)
    changed = [name for name, terms in present.items() if before.get(name, terms) != terms]
    if not changed:
        return
    for name in changed:
        old, new = (f"{each['version']}, SHA-256 {each['sha256'][:12]}…" for each in (before[name], present[name]))
        note(
            f"{name} has changed since this run began ({old}; now {new}): the rest of the run is computed with the "
            "present source; restore the former one for the results of an uninterrupted run"
        )
    former = {"until": _now(), "code": {name: before[name] for name in changed}}
    write_json(path, {**environment, "code": present, "earlier_code": [*environment.get("earlier_code", []), former]})


def note_machine(components: RunComponents, *, clients_elsewhere: bool) -> None:
    """Record the machine that continues the run, and that clients have machines of their own."""
    path = components.folder / ENVIRONMENT
    if path.exists():
        environment = read_json(path)
        before = environment.get("machines", ["not recorded"])
        now = [machine(), *(["machines of the clients"] if clients_elsewhere else [])]
        if not {*now} <= {*before}:
            write_json(path, {**environment, "machines": list(dict.fromkeys([*before, *now]))})


def _code(config: ExperimentConfig) -> dict[str, dict[str, str]]:
    """Return version and SHA-256 of the source of every package of which the configuration names an object."""
    names = [name for name in foreign_names(config) if not why_local(name)]
    return {name: {"version": version_of(name), "sha256": source_digest(name)} for name in names}


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _environment(config: ExperimentConfig) -> Mapping[str, Any]:
    packages, code = ("fedfr", "torch", "numpy", "safetensors", "opencv-python-headless"), _code(config)
    return {
        "started": _now(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "machines": [machine()],
        "versions": {name: _version(name) for name in packages},
        **({"code": code} if code else {}),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
