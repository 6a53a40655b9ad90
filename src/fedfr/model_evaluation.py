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
from fedfr.evaluation import GENERIC_PROTOCOLS, PROTOCOLS, SET_PROTOCOLS
from fedfr.experiment import Experiment
from fedfr.faces import import_faces, load_faces, read_verification_set, verification_sets
from fedfr.models import UNSTATED, Stated, open_model
from fedfr.reporting.progress import Progress, Silent
from fedfr.rows import ALL_CLIENTS, Row, rows_from
from fedfr.training.features import Compute, extract_features
from fedfr.training.pool import FacePool

__all__ = ["evaluate", "evaluate_model"]


def evaluate(
    target: str | Path,
    *,
    faces: str | Path | None = None,
    protocols: Sequence[str] | None = None,
    stated: Stated = UNSTATED,
    progress: Progress | None = None,
) -> list[Row]:
    """Tidy rows of a run's newest models, or of one model (a file) on ``faces``; ``protocols`` restricts which.

    ``stated``: what is known of the input of a model from elsewhere, whose file does not tell it.
    Raises :class:`FedfrError` for ``faces`` with a run, and as :meth:`Experiment.evaluate` and :func:`evaluate_model`.
    """
    target = Path(target)
    if target.is_file():
        return evaluate_model(target, None if faces is None else Path(faces), protocols, stated, progress)
    experiment = Experiment.open(target)
    if faces is not None:
        raise FedfrError(
            f"--faces is for a single model, {target} is a run with faces of its own; "
            f"leave it out or give {target / 'generic.safetensors'}"
        )
    if stated.names:
        options = ", ".join(f"--{name}" for name in stated.names)
        raise FedfrError(f"{options} is for a single model from elsewhere, {target} is a run; leave it out")
    for name in protocols or ():
        if name in SET_PROTOCOLS:
            raise FedfrError(
                f"{name} is for one model and a .bin of pairs; give {target / 'generic.safetensors'} and --faces"
            )
    return experiment.evaluate(protocols, progress)


def evaluate_model(
    model: Path,
    faces: Path | None,
    protocols: Sequence[str] | None = None,
    stated: Stated = UNSTATED,
    progress: Progress | None = None,
) -> list[Row]:
    """A generic model on ``faces``: ours, or a state dict or an ONNX graph published elsewhere.

    The input of one from elsewhere is assumed where it is not ``stated``; ``progress`` is told what.
    On every identity of a saved set, a folder of crops or a ``train.rec`` the generic protocols; on a verification set
    (``lfw.bin``, or a folder of such files) its pairs, each set as a protocol of its own. Whoever calls answers for the
    identities being unseen. Raises :class:`FedfrError` for a personalised protocol, which needs a run, and for a
    personalised model, whose features are only comparable within its own client.
    """
    if faces is None:
        raise FedfrError(f"--faces is missing; {model} is a model, give the folder of faces to evaluate it on")
    sets = verification_sets(faces)
    allowed = SET_PROTOCOLS if sets else GENERIC_PROTOCOLS
    wanted = protocols or allowed
    for name in wanted:
        if PROTOCOLS.entry(name).name in (*GENERIC_PROTOCOLS, *SET_PROTOCOLS):
            if name not in allowed:
                raise FedfrError(f"{name} does not fit {faces}; allowed there: {', '.join(allowed)}")
        else:
            raise FedfrError(f"{name} needs a run's split and people; give the run's folder instead of {model}")
    for path in sets:
        # Before the features of the first, which take minutes: a damaged set takes no result of another with it.
        read_verification_set(path)
    shown = progress or Silent()
    backbone, role, compute = _opened(model, stated, shown)
    if sets:
        return [row for path in sets for row in _on_pairs(path, backbone, role, compute, shown)]
    loaded = load_faces(faces) if is_face_set(str(faces)) else import_faces(faces)
    features = extract_features(backbone, FacePool([(loaded, None, 0)]), compute).numpy()
    return [row for name in wanted for row in _rows(name, name, role, {"features": features, "labels": loaded.labels})]


def _opened(model: Path, stated: Stated, shown: Progress) -> tuple[nn.Module, str, Compute]:
    """The network in a model of this project or of somebody else, what it is, and how it is run."""
    opened = open_model(model, stated)
    if opened.assumed:
        shown.note(opened.assumed)
    compute = Compute(opened.preprocessing, torch.device("cpu"))
    return compute.place(opened.network), opened.role, compute


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
