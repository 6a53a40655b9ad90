"""``fedfr site evaluate``: evaluation of a site's personalized model on its own identities among strangers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedfr.config.schema import EvaluationConfig
from fedfr.core.errors import FedfrError
from fedfr.core.settings import validate
from fedfr.deployment.site import Site, check_apart
from fedfr.evaluation import PERSONALIZED_PROTOCOLS, PROTOCOLS
from fedfr.evaluation.protocols import family_of, measure
from fedfr.experiments.components import make_compute
from fedfr.faces import FaceSet, import_faces, load_faces
from fedfr.faces.storage import is_face_set
from fedfr.reporting.progress import Progress, Silent
from fedfr.results.result_rows import Row, rows_from
from fedfr.training.features import extract_features
from fedfr.training.training_set import TrainingSet

__all__ = ["evaluate_site"]


def evaluate_site(
    site: Site,
    *,
    strangers: Path | None = None,
    protocols: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> list[Row]:
    """Run the personalized protocols on the site's newest model, with its images kept from training.

    Impostors are the site's own people among each other, and ``strangers``: by default the public faces, which training
    has seen, so that figures flatter the model. ``settings`` are those of :class:`EvaluationConfig`. Nothing is written
    or sent. Raises :class:`FedfrError` where the site has no model, no test images or no strangers, where a person is
    on both sides, and for a protocol that does not concern a client.
    """
    shown = progress or Silent()
    names = [PROTOCOLS.entry(name).name for name in protocols or PERSONALIZED_PROTOCOLS]
    for name in names:
        if family_of(name) != "personalized":
            raise FedfrError(
                f"{name} is not for a client's identities; choose from {', '.join(PERSONALIZED_PROTOCOLS)}"
            )
    config = validate(EvaluationConfig, settings or {}, "--set")
    runtime = site.config.runtime
    torch.set_num_threads(runtime.threads)
    compute = make_compute(site.agreement.config.model_copy(update={"runtime": runtime}))
    number, model = site.personalized(compute.device)
    faces, division = site.divided
    if not division.test:
        raise FedfrError("this site keeps no images for its own test; set faces.test_share or faces.test_count")
    others = _strangers(site, strangers, shown)
    check_apart(site.all_faces, others, "the strangers")
    # Strangers' labels follow the site's own: equal numbers are one person.
    first = faces.num_identities
    parts = [(faces, np.asarray(division.test), 0), (others, None, first), (faces, np.asarray(division.train), 0)]
    pool = TrainingSet(parts)
    features = extract_features(
        compute.place(model),
        pool,
        compute,
        on_images=lambda done, total: shown.update("features", done, total, unit="images"),
    ).numpy()
    labels, probes = pool.labels.numpy(), len(division.test) + len(others)
    given = {
        "features": features[:probes],
        "labels": labels[:probes],
        "own": np.arange(probes) < len(division.test),
        "gallery_features": features[probes:],
        "gallery_labels": labels[probes:],
    }
    return [
        row
        for name in names
        for row in rows_from(
            measure(name, **given, config=config),
            method=site.agreement.method.name,
            seed=site.agreement.seed,
            round_number=number,
            client=site.config.client,
            model=str(site.method.personal_model),
            protocol=name,
        )
    ]


def _strangers(site: Site, given: Path | None, shown: Progress) -> FaceSet:
    if given is not None:
        if is_face_set(given):
            return load_faces(given)
        return import_faces(
            given, progress=lambda done, total: shown.update("reading faces", done, total, unit="images")
        )
    public = site.config.public
    if public is None or not is_face_set(public):
        raise FedfrError("there are no strangers to compare with; run `fedfr site fetch`, or give --strangers FACES")
    shown.note("strangers: the public faces, which were used in training; use --strangers for faces of other people")
    return FaceSet.load(public)
