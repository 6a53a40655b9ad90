"""Evaluation of a site's personalized model on its own identities and on strangers (``fedfr site evaluate``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedfr.config.schema import EvaluationConfig
from fedfr.core.errors import FedfrError
from fedfr.core.settings import validate
from fedfr.deployment.site import Site
from fedfr.deployment.site_sets import check_disjoint, site_strangers
from fedfr.evaluation import PERSONALIZED_PROTOCOLS, PROTOCOLS
from fedfr.evaluation.protocols import family_of, run_protocol
from fedfr.experiments.from_config import make_compute
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
    """Evaluate the site's newest personalized model on its test images; return the result rows.

    Impostor comparisons are those between different identities of the site, and those with ``strangers``: a face set or
    folder of images, by default the strangers of the agreement, and without these the public faces. The public faces
    were used in training, which makes results too good.
    ``protocols``: personalized protocols, by default all. ``settings``: those of :class:`EvaluationConfig`. Nothing is
    written or sent. Raises :class:`FedfrError` if the site has no model, test images or strangers, if an identity is
    both the site's and among the strangers, and for other protocols.
    """
    shown = progress or Silent()
    names = [PROTOCOLS.entry(name).name for name in protocols or PERSONALIZED_PROTOCOLS]
    for name in names:
        if family_of(name) != "personalized":
            raise FedfrError(
                f"{name} does not evaluate a client's own identities; choose from {', '.join(PERSONALIZED_PROTOCOLS)}"
            )
    config = validate(EvaluationConfig, settings or {}, "--set")
    runtime = site.config.runtime
    torch.set_num_threads(runtime.threads)
    compute = make_compute(site.agreement.config.model_copy(update={"runtime": runtime}))
    number, model = site.personalized(compute.device)
    faces, division = site.partitioned_faces
    if not division.test:
        raise FedfrError("this site has no test images; set faces.test_share or faces.test_count")
    others = _strangers(site, strangers, shown)
    check_disjoint(site.all_faces, others, "the strangers")
    # Offset the strangers' labels, because equal labels mean the same identity.
    first = faces.num_identities
    parts = [(faces, np.asarray(division.test), 0), (others, None, first), (faces, np.asarray(division.train), 0)]
    images = TrainingSet(parts)
    features = extract_features(
        compute.place(model),
        images,
        compute,
        on_images=lambda done, total: shown.update("features", done, total, unit="images"),
    ).numpy()
    labels, probes = images.labels.numpy(), len(division.test) + len(others)
    measured = {
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
            run_protocol(name, **measured, config=config),
            method=site.agreement.method.name,
            seed=site.agreement.seed,
            round_number=number,
            client=site.config.client,
            model=str(site.method.personal_model),
            protocol=name,
        )
    ]


def _strangers(site: Site, measured: Path | None, shown: Progress) -> FaceSet:
    if measured is not None:
        if is_face_set(measured):
            return load_faces(measured)
        return import_faces(
            measured, progress=lambda done, total: shown.update("reading faces", done, total, unit="images")
        )
    if site.agreement.strangers and site.config.strangers is not None:
        return site_strangers(site)
    public = site.config.public
    if public is None or not is_face_set(public):
        raise FedfrError(
            "there are no faces of strangers; give --strangers FACES, or, if the method uses public faces, run "
            "`fedfr site fetch`"
        )
    shown.note("strangers: the public faces, which were used in training; use --strangers for faces of other people")
    return FaceSet.load(public)
