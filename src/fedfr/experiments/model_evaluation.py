"""Evaluating what lies on disk: a run with all its models, or one model on a folder of faces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fedfr.config.schema import EvaluationConfig
from fedfr.core.errors import FedfrError
from fedfr.core.settings import validate
from fedfr.evaluation import GENERIC_PROTOCOLS, IJB_PROTOCOLS, PROTOCOLS, SET_PROTOCOLS
from fedfr.evaluation.protocols.ijb import IJB_LISTS
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.ijb_evaluation import IjbSettings, check_ijb, ijb_templates
from fedfr.faces import import_faces, load_faces, read_verification_set, verification_sets
from fedfr.faces.readers.ijb import ORIGIN, find_ijb
from fedfr.faces.storage import is_face_set
from fedfr.models import NO_USER_PREPROCESSING, UserPreprocessing, open_model
from fedfr.reporting.progress import Progress, Silent
from fedfr.results.result_rows import ALL_CLIENTS, Row, rows_from
from fedfr.training.features import Compute, extract_features, mirror_summed_features
from fedfr.training.training_set import TrainingSet

__all__ = ["evaluate", "evaluate_model"]


def evaluate(
    target: str | Path,
    *,
    faces: str | Path | None = None,
    protocols: Sequence[str] | None = None,
    stated: UserPreprocessing = NO_USER_PREPROCESSING,
    progress: Progress | None = None,
    features: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Tidy rows of a run's newest models, or of one model (a file) on ``faces``; ``protocols`` restricts which.

    ``stated``: what is known of the input of a model from elsewhere, whose file does not tell it. For IJB alone:
    ``features``, a folder to keep features in, and ``settings``, those of :class:`IjbSettings`.
    Raises :class:`FedfrError` for ``faces`` with a run, and as :meth:`Experiment.evaluate` and :func:`evaluate_model`.
    """
    target = Path(target)
    if target.is_file():
        place, kept = (None if path is None else Path(path) for path in (faces, features))
        return evaluate_model(target, place, protocols, stated, progress, kept, settings)
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
        if name in (*SET_PROTOCOLS, *IJB_PROTOCOLS):
            raise FedfrError(
                f"{name} is for one model and a published set, a .bin of pairs or IJB; "
                f"give {target / 'generic.safetensors'} and --faces"
            )
    _refuse_ijb_options(features, settings, target)
    return experiment.evaluate(protocols, progress)


def evaluate_model(
    model: Path,
    faces: Path | None,
    protocols: Sequence[str] | None = None,
    stated: UserPreprocessing = NO_USER_PREPROCESSING,
    progress: Progress | None = None,
    features: Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[Row]:
    """A model on ``faces``: ours, generic or a client's, or a state dict or an ONNX graph published elsewhere.

    The input of one from elsewhere is assumed where it is not ``stated``; ``progress`` is told what.
    On every identity of a saved set, a folder of crops or a ``train.rec`` the generic protocols; on a verification set
    (``lfw.bin``, or a folder of such files) its pairs, each set as a protocol of its own; on IJB-B or IJB-C theirs,
    where ``features`` keeps what images became and ``settings`` are those of :class:`IjbSettings`. Whoever calls
    answers for the identities being unseen. A client's personalized model is measured alike: all faces pass through it
    alone. Raises :class:`FedfrError` for a personalized protocol, which needs a client's division of its images.
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
            raise FedfrError(
                f"{name} needs a client's own people, which {model} does not hold; give the run's folder in "
                "its place, or use `fedfr site evaluate` at the client's site"
            )
    reporter = progress or Silent()
    if ijb is not None:
        chosen, title = validate(IjbSettings, settings or {}, "--set"), check_ijb(ijb, wanted)
        backbone, role, compute = _open_model(model, stated, reporter)
        templates = ijb_templates(ijb.images, backbone, compute, chosen, model, features, reporter)
        given = {name: {"templates": templates, "lists": getattr(ijb, IJB_LISTS[name])} for name in wanted}
        return [row for name in wanted for row in _rows(name, f"{name} {title}", role, given[name])]
    _refuse_ijb_options(features, settings, faces)
    for path in sets:
        # Before the features of the first, which take minutes: a damaged set takes no result of another with it.
        read_verification_set(path)
    backbone, role, compute = _open_model(model, stated, reporter)
    if sets:
        return [row for path in sets for row in _on_pairs(path, backbone, role, compute, reporter)]
    loaded = (
        load_faces(faces)
        if is_face_set(faces)
        else import_faces(faces, progress=_image_counter(reporter, "reading faces"))
    )
    found = extract_features(
        backbone, TrainingSet([(loaded, None, 0)]), compute, on_images=_image_counter(reporter, "features")
    )
    return [
        row for name in wanted for row in _rows(name, name, role, {"features": found.numpy(), "labels": loaded.labels})
    ]


def _refuse_ijb_options(features: str | Path | None, settings: Mapping[str, Any] | None, given: Path) -> None:
    if features is not None or settings:
        raise FedfrError(f"--features and --set are for IJB-B and IJB-C, {given} is neither; leave them out")


def _open_model(model: Path, stated: UserPreprocessing, reporter: Progress) -> tuple[nn.Module, str, Compute]:
    """The network in a model of this project or of somebody else, what it is, and how it is run."""
    opened = open_model(model, stated)
    if opened.assumed:
        reporter.note(opened.assumed)
    compute = Compute(opened.preprocessing, torch.device("cpu"))
    return compute.place(opened.network), opened.role, compute


def _on_pairs(path: Path, backbone: nn.Module, role: str, compute: Compute, progress: Progress) -> list[Row]:
    """InsightFace's convention: the feature of an image is that of itself plus that of its mirror image."""
    pairs = read_verification_set(path)
    progress.note(f"{path.name}: {len(pairs.same)} pairs")
    distinct, where = pairs.distinct()
    pool, count = TrainingSet([(distinct, None, 0)]), _image_counter(progress, f"features, {path.name}")
    features = mirror_summed_features(backbone, pool, compute, on_images=count).numpy()[where]
    given = {"features_a": features[0::2], "features_b": features[1::2], "same": pairs.same}
    return [row for name in SET_PROTOCOLS for row in _rows(name, f"{name} {pairs.name}", role, given)]


def _image_counter(progress: Progress, work: str) -> Callable[[int, int], None]:
    return lambda done, total: progress.update(work, done, total, unit="images")


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
