"""Evaluation of stored models: a run with all its models, or one model on given faces."""

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
from fedfr.evaluation.protocols import family_of, run_protocol
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
    user_preprocessing: UserPreprocessing = NO_USER_PREPROCESSING,
    progress: Progress | None = None,
    features: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Evaluate a run's newest models, or one model (a file) on ``faces``, with all protocols or those given.

    ``user_preprocessing`` is the preprocessing of a third-party model, whose file does not contain it. For IJB only:
    ``features`` is a folder to keep features in, ``settings`` are those of :class:`IjbSettings`. Raises
    :class:`FedfrError` for ``faces`` with a run, and as :meth:`Experiment.evaluate` and :func:`evaluate_model` do.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from fedfr import Experiment, FaceSet, evaluate, load_config
    >>> place = tempfile.TemporaryDirectory()
    >>> folder = Path(place.name)
    >>> pixels = np.random.default_rng(0).integers(0, 256, (32, 112, 112, 3), np.uint8)
    >>> faces = FaceSet(pixels, np.repeat(np.arange(8), 4), [f"person-{number}" for number in range(8)])
    >>> faces.save(folder / "faces")
    >>> split = {"public_identities": 3, "clients": 2, "identities_per_client": 2}
    >>> settings = {"faces": {"path": str(folder / "faces")}, "split": {"settings": split}, "pretrain": {"epochs": 0}}
    >>> start = Experiment.create(load_config(None, settings), folder / "run").pretrain(progress=False)
    >>> rows = evaluate(folder / "run" / "pretrained" / "generic.safetensors", faces=folder / "faces")
    >>> sorted({row.protocol for row in rows}), (rows[0].genuine, rows[0].impostor)
    (['generic-1:1', 'generic-1:N'], (48, 448))
    >>> place.cleanup()
    """
    target = Path(target)
    if target.is_file():
        place, kept = (None if path is None else Path(path) for path in (faces, features))
        return evaluate_model(target, place, protocols, user_preprocessing, progress, kept, settings)
    experiment = Experiment.open(target)
    if faces is not None:
        raise FedfrError(
            f"--faces is for a single model, {target} is a run with faces of its own; "
            f"leave it out or give {target / 'generic.safetensors'}"
        )
    if user_preprocessing.names:
        options = ", ".join(f"--{name}" for name in user_preprocessing.names)
        raise FedfrError(f"{options} is for a single third-party model, {target} is a run; leave it out")
    for name in protocols or ():
        if name in IJB_PROTOCOLS or (name in SET_PROTOCOLS and not experiment.config.evaluation.sets):
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
    user_preprocessing: UserPreprocessing = NO_USER_PREPROCESSING,
    progress: Progress | None = None,
    features: Path | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Evaluate one model on ``faces``: a model of fedfr, or a third-party state dict or ONNX graph.

    Preprocessing of a third-party model that is not ``user_preprocessing`` is assumed and reported to ``progress``.
    Generic protocols are applied to all identities of a saved set, a folder of crops or a ``train.rec``; the pairs of a
    verification set (``lfw.bin``, or a folder of such files) form one protocol per set; IJB-B and IJB-C have their own
    protocols, where ``features`` is a folder to keep features in and ``settings`` are those of :class:`IjbSettings`.
    The caller must ensure that the model was not trained on these identities. Raises :class:`FedfrError` for a
    personalized protocol, which needs a client's division of its images.
    """
    if faces is None:
        raise FedfrError(f"--faces is missing; {model} is a model, give the folder of faces to evaluate it on")
    sets, ijb = verification_sets(faces), find_ijb(faces)
    allowed = IJB_PROTOCOLS if ijb else SET_PROTOCOLS if sets else GENERIC_PROTOCOLS
    families = ("ijb",) if ijb else ("set", "pairs") if sets else ("generic",)
    wanted = protocols or allowed
    for name in wanted:
        if PROTOCOLS.entry(name).name not in PROTOCOLS.builtin and family_of(name) in families:
            continue
        if name in (*GENERIC_PROTOCOLS, *SET_PROTOCOLS, *IJB_PROTOCOLS):
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
        backbone, role, compute = _open_model(model, user_preprocessing, reporter)
        templates = ijb_templates(ijb.images, backbone, compute, chosen, model, features, reporter)
        given = {name: {"templates": templates, "lists": getattr(ijb, IJB_LISTS[name])} for name in wanted}
        return [row for name in wanted for row in _rows(name, f"{name} {title}", role, given[name])]
    _refuse_ijb_options(features, settings, faces)
    for path in sets:
        # All sets are read before features are extracted, which takes minutes: a damaged set must not lose results.
        read_verification_set(path)
    backbone, role, compute = _open_model(model, user_preprocessing, reporter)
    if sets:
        return [row for path in sets for row in _on_pairs(path, wanted, backbone, role, compute, reporter)]
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


def _open_model(
    model: Path, user_preprocessing: UserPreprocessing, reporter: Progress
) -> tuple[nn.Module, str, Compute]:
    """Open a model; returns its network, role and compute settings."""
    opened = open_model(model, user_preprocessing)
    if opened.assumed:
        reporter.note(opened.assumed)
    compute = Compute(opened.preprocessing, torch.device("cpu"))
    return compute.place(opened.network), opened.role, compute


def _on_pairs(
    path: Path, protocols: Sequence[str], backbone: nn.Module, role: str, compute: Compute, progress: Progress
) -> list[Row]:
    """Evaluate a verification set; as in InsightFace, features of an image and its mirror image are added."""
    pairs = read_verification_set(path)
    progress.note(f"{path.name}: {len(pairs.same)} pairs")
    distinct, where = pairs.distinct()
    training_set, count = TrainingSet([(distinct, None, 0)]), _image_counter(progress, f"features, {path.name}")
    features = mirror_summed_features(backbone, training_set, compute, on_images=count).numpy()[where]
    given = {"features_a": features[0::2], "features_b": features[1::2], "same": pairs.same}
    return [row for name in protocols for row in _rows(name, f"{name} {pairs.name}", role, given)]


def _image_counter(progress: Progress, work: str) -> Callable[[int, int], None]:
    return lambda done, total: progress.update(work, done, total, unit="images")


def _rows(protocol: str, title: str, role: str, given: Mapping[str, Any]) -> list[Row]:
    return rows_from(
        run_protocol(protocol, **given, config=EvaluationConfig()),
        method=role,
        seed=0,
        round_number=0,
        client=ALL_CLIENTS,
        model=role,
        protocol=title,
    )
