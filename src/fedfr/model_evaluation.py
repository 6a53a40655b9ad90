"""Evaluating what lies on disk: a run with all its models, or one model on a folder of faces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from fedfr.config import EvaluationConfig
from fedfr.errors import FedfrError
from fedfr.evaluation import GENERIC_PROTOCOLS, PROTOCOLS
from fedfr.experiment import Experiment
from fedfr.faces import FaceSet, import_faces
from fedfr.models import BACKBONES, build_backbone, load_model, load_weights
from fedfr.reporting.progress import Progress
from fedfr.rows import ALL_CLIENTS, Row, rows_from
from fedfr.training.features import Compute, extract_features
from fedfr.training.pool import FacePool

__all__ = ["evaluate", "evaluate_model"]


def evaluate(
    target: str | Path,
    *,
    faces: str | Path | None = None,
    protocols: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> list[Row]:
    """Tidy rows of a run's newest models, or of one model (a file) on ``faces``; ``protocols`` restricts which.

    Raises :class:`FedfrError` for ``faces`` with a run, and as :meth:`Experiment.evaluate` and :func:`evaluate_model`.
    """
    target = Path(target)
    if target.is_file():
        return evaluate_model(target, None if faces is None else Path(faces), protocols)
    experiment = Experiment.open(target)
    if faces is not None:
        raise FedfrError(
            f"--faces is for a single model, {target} is a run with faces of its own; "
            f"leave it out or give {target / 'generic.safetensors'}"
        )
    return experiment.evaluate(protocols, progress)


def evaluate_model(model: Path, faces: Path | None, protocols: Sequence[str] | None = None) -> list[Row]:
    """Generic protocols of a generic model on every identity of ``faces``: a saved set, folder of crops, or train.rec.

    Whoever calls answers for the identities being unseen. Raises :class:`FedfrError` for a personalised protocol, which
    needs a run, and for a personalised model, whose features are only comparable within its own client.
    """
    if faces is None:
        raise FedfrError(f"--faces is missing; {model} is a model, give the folder of faces to evaluate it on")
    wanted = protocols or GENERIC_PROTOCOLS
    for name in wanted:
        if PROTOCOLS.entry(name).name not in GENERIC_PROTOCOLS:
            raise FedfrError(f"{name} needs a run's split and people; give the run's folder instead of {model}")
    tensors, contract = load_model(model)
    if contract.role == "personalized":
        raise FedfrError(f"{model} is one client's personalised model; evaluate it through its run's folder")
    backbone = build_backbone(contract.backbone, 0)
    load_weights(backbone, {name: value for name, value in tensors.items() if name in backbone.state_dict()})
    loaded = FaceSet.load(faces) if (faces / "faces.json").is_file() else import_faces(faces)
    compute = Compute(BACKBONES[contract.backbone].preprocessing, torch.device("cpu"))
    features = extract_features(backbone, FacePool([(loaded, None, 0)]), compute).numpy()
    rows: list[Row] = []
    for name in wanted:
        rows += rows_from(
            PROTOCOLS[name](features=features, labels=loaded.labels, config=EvaluationConfig()),
            method=contract.role,
            seed=0,
            round_number=0,
            client=ALL_CLIENTS,
            model=contract.role,
            protocol=name,
        )
    return rows
