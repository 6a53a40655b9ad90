"""Evaluating what lies on disk: a run with all its models, or one model on a folder of faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fedfr.assembly import is_face_set
from fedfr.config import EvaluationConfig
from fedfr.errors import FedfrError
from fedfr.evaluation import GENERIC_PROTOCOLS, IJB_PROTOCOLS, PROTOCOLS, SET_PROTOCOLS
from fedfr.evaluation.protocols.ijb import IJB_LISTS
from fedfr.experiment import Experiment
from fedfr.faces import import_faces, load_faces, read_verification_set, verification_sets
from fedfr.faces.ijb import ORIGIN, find_ijb
from fedfr.ijb_evaluation import IjbSettings, check_ijb, ijb_templates
from fedfr.models import BACKBONES, build_backbone, load_foreign, load_model, load_weights, recognise_backbone
from fedfr.reporting.progress import Progress, Silent
from fedfr.rows import ALL_CLIENTS, Row, rows_from
from fedfr.settings import validate
from fedfr.training.features import Compute, extract_features
from fedfr.training.pool import FacePool

__all__ = ["evaluate", "evaluate_model"]


def evaluate(
    target: str | Path,
    *,
    faces: str | Path | None = None,
    protocols: Sequence[str] | None = None,
    progress: Progress | None = None,
    features: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Tidy rows of a run's newest models, or of one model (a file) on ``faces``; ``protocols`` restricts which.

    ``features`` is a folder to keep features in and ``settings`` those of :class:`IjbSettings`, for IJB alone. Raises
    :class:`FedfrError` for ``faces`` with a run, and as :meth:`Experiment.evaluate` and :func:`evaluate_model`.
    """
    target = Path(target)
    if target.is_file():
        place = None if faces is None else Path(faces)
        kept = None if features is None else Path(features)
        return evaluate_model(target, place, protocols, progress, kept, settings)
    experiment = Experiment.open(target)
    if faces is not None:
        raise FedfrError(
            f"--faces is for a single model, {target} is a run with faces of its own; "
            f"leave it out or give {target / 'generic.safetensors'}"
        )
    for name in protocols or ():
        if name in (*SET_PROTOCOLS, *IJB_PROTOCOLS):
            raise FedfrError(
                f"{name} is for one model and published faces; give {target / 'generic.safetensors'} and --faces"
            )
    _only_ijb(features, settings, target)
    return experiment.evaluate(protocols, progress)


def evaluate_model(
    model: Path,
    faces: Path | None,
    protocols: Sequence[str] | None = None,
    progress: Progress | None = None,
    features: Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[Row]:
    """A generic model, ours or published elsewhere, on ``faces``.

    On every identity of a saved set, a folder of crops or a ``train.rec`` the generic protocols; on a verification set
    (``lfw.bin``, or a folder of such files) its pairs, each set as a protocol of its own; on IJB-B or IJB-C theirs,
    where ``features`` keeps what images became and ``settings`` are those of :class:`IjbSettings`. Whoever calls
    answers for the identities being unseen. Raises :class:`FedfrError` for a personalised protocol, which needs a run,
    and for a personalised model, whose features are only comparable within its own client.
    """
    if faces is None:
        raise FedfrError(f"--faces is missing; {model} is a model, give the folder of faces to evaluate it on")
    sets, ijb = verification_sets(faces), find_ijb(faces)
    allowed = IJB_PROTOCOLS if ijb else SET_PROTOCOLS if sets else GENERIC_PROTOCOLS
    wanted = protocols or allowed
    for name in wanted:
        if PROTOCOLS.entry(name).name in (*GENERIC_PROTOCOLS, *SET_PROTOCOLS, *IJB_PROTOCOLS):
            if name not in allowed:
                why = f". {ORIGIN}" if name in IJB_PROTOCOLS else ""
                raise FedfrError(f"{name} does not fit {faces}; allowed there: {', '.join(allowed)}{why}")
        else:
            raise FedfrError(f"{name} needs a run's split and people; give the run's folder instead of {model}")
    if ijb is not None:
        chosen, title = validate(IjbSettings, settings or {}, "--set"), check_ijb(ijb, wanted)
        backbone, role, compute = _opened(model)
        templates = ijb_templates(ijb.images, backbone, compute, chosen, features, progress or Silent())
        given = {name: {"templates": templates, "lists": getattr(ijb, IJB_LISTS[name])} for name in wanted}
        return [row for name in wanted for row in _rows(name, f"{name} {title}", role, given[name])]
    _only_ijb(features, settings, faces)
    backbone, role, compute = _opened(model)
    if sets:
        return [row for path in sets for row in _on_pairs(path, backbone, role, compute, progress or Silent())]
    loaded = load_faces(faces) if is_face_set(str(faces)) else import_faces(faces)
    found = extract_features(backbone, FacePool([(loaded, None, 0)]), compute).numpy()
    return [row for name in wanted for row in _rows(name, name, role, {"features": found, "labels": loaded.labels})]


def _only_ijb(features: str | Path | None, settings: Mapping[str, Any] | None, given: Path) -> None:
    if features is not None or settings:
        raise FedfrError(f"--features and --set are for IJB-B and IJB-C, {given} is neither; leave them out")


def _opened(model: Path) -> tuple[nn.Module, str, Compute]:
    """The backbone in a model of this project or in somebody's state dict, what it is, and how it is run."""
    if model.suffix == ".safetensors":
        tensors, contract = load_model(model)
        if contract.role == "personalized":
            raise FedfrError(f"{model} is one client's personalised model; evaluate it through its run's folder")
        name, role = contract.backbone, contract.role
    else:
        tensors = load_foreign(model)
        name, role = recognise_backbone(tensors), "generic"
    backbone = build_backbone(name, 0)
    entries = backbone.state_dict()
    load_weights(backbone, {entry: value for entry, value in tensors.items() if entry in entries})
    compute = Compute(BACKBONES[name].preprocessing, torch.device("cpu"))
    return compute.place(backbone), role, compute


def _on_pairs(path: Path, backbone: nn.Module, role: str, compute: Compute, progress: Progress) -> list[Row]:
    """InsightFace's convention: the feature of a picture is that of itself plus that of its mirror image."""
    pairs = read_verification_set(path)
    progress.note(f"{path.name}: {len(pairs.same)} pairs")
    distinct, where = pairs.distinct()
    pool = FacePool([(distinct, None, 0)])
    upright = extract_features(backbone, pool, compute)
    features = (upright + extract_features(backbone, pool, compute, mirrored=True)).numpy()[where]
    given = {"features_a": features[0::2], "features_b": features[1::2], "same": pairs.same}
    return [row for name in SET_PROTOCOLS for row in _rows(name, f"{name} {pairs.name}", role, given)]


def _rows(protocol: str, title: str, role: str, given: Mapping[str, Any]) -> list[Row]:
    return rows_from(
        PROTOCOLS[protocol](**given, config=EvaluationConfig()),
        method=role,
        seed=0,
        round_number=0,
        client=ALL_CLIENTS,
        model=role,
        protocol=title,
    )
