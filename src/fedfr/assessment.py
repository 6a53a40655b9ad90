"""Which models meet which protocols: features of a run's test faces in, tidy rows out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedfr.assembly import Parts
from fedfr.curves import Curve, curve_from
from fedfr.evaluation import (
    GENERIC_PROTOCOLS,
    PAIRS_PROTOCOLS,
    PERSONALIZED_PROTOCOLS,
    PROTOCOLS,
    SCORES,
    ScoreCounts,
)
from fedfr.faces.columns import joined
from fedfr.federation.method import Generic
from fedfr.reporting.progress import Progress, Silent
from fedfr.rows import ALL_CLIENTS, Row, rows_from
from fedfr.training.features import OnImages, extract_features
from fedfr.training.pool import FacePool
from fedfr.trial import Trial

__all__ = ["EVALUATION", "Assessment", "assess_trial"]

EVALUATION = "evaluation"
"""What progress calls the work of an assessment."""


@dataclass(frozen=True)
class Subject:
    """Whose figures these are."""

    method: str
    seed: int
    round: int
    model: str


class Features:
    """Features of a run's images under one module, each computed once; ``on_images`` is told how far that is."""

    def __init__(self, parts: Parts, module: nn.Module, on_images: OnImages | None = None) -> None:
        self._parts = parts
        self._module = module
        self._on_images = on_images
        self._row = np.full(len(parts.faces), -1, np.int64)
        self._known = np.empty((0, 0), np.float32)

    def of(self, images: NDArray[np.int64]) -> NDArray[np.float32]:
        """Features (n, D) in the order of ``images``."""
        missing = np.unique(images[self._row[images] < 0])
        if len(missing):
            pool = FacePool([(self._parts.faces, missing, 0)])
            new = extract_features(self._module, pool, self._parts.compute, on_images=self._on_images).numpy()
            self._row[missing] = np.arange(len(missing)) + len(self._known)
            self._known = np.concatenate([self._known.reshape(-1, new.shape[1]), new])
        return self._known[self._row[images]]


class Assessment:
    """Runs protocols on the models of one run; ``protocols`` restricts which.

    With ``curves`` it keeps the distribution of the scores as well, for :meth:`curves`. ``progress`` is told of
    every model, of about ``models`` in all, and of every batch of its images.
    """

    def __init__(
        self,
        parts: Parts,
        protocols: Sequence[str] | None = None,
        *,
        curves: bool = False,
        progress: Progress | None = None,
        models: int = 1,
    ) -> None:
        self.parts = parts
        self._shown = progress or Silent()
        self._models = models
        self._begun = 0
        self._keeps_scores = curves
        self._scores: dict[tuple[str, str, str], dict[str, ScoreCounts]] = {}
        self._rounds: dict[tuple[str, str, str], int] = {}
        names = [PROTOCOLS.entry(name).name for name in protocols or PROTOCOLS.names]
        self._personalized = [name for name in names if name in PERSONALIZED_PROTOCOLS]
        self._generic = [name for name in names if name in GENERIC_PROTOCOLS]
        self._pairs = [name for name in names if name in PAIRS_PROTOCOLS]

    def features(self, module: nn.Module, model: str) -> Features:
        """Of the run's images under the module of another model; ``model`` is what progress calls it."""
        before, self._begun = self._begun, self._begun + 1

        def on_images(done: int, total: int) -> None:
            self._shown.update(EVALUATION, before, max(self._models, before + 1), f"{model}: {done}/{total} images")

        return Features(self.parts, module, on_images)

    def finish(self) -> None:
        """Tell that every model has been looked at."""
        self._shown.update(EVALUATION, self._begun, self._begun)

    def generic(self, features: Features, subject: Subject) -> list[Row]:
        """Generic protocols, among identities nobody trained on."""
        images, labels = np.asarray(self.parts.split.generic, np.int64), self.parts.faces.labels
        rows: list[Row] = []
        if len(images) and self._generic:
            given = {"features": features.of(images), "labels": labels[images]}
            rows += self._rows(self._generic, given, ALL_CLIENTS, subject)
        if self.parts.split.pairs and self._pairs:
            first, second = np.asarray(self.parts.split.pairs, np.int64).T
            pairs = {
                "features_a": features.of(first),
                "features_b": features.of(second),
                "same": labels[first] == labels[second],
            }
            rows += self._rows(self._pairs, pairs, ALL_CLIENTS, subject)
        return rows

    def personalized(self, features: Features, clients: Sequence[str], subject: Subject) -> list[Row]:
        """Personalised protocols of these clients, all with the same features."""
        split, labels = self.parts.split, self.parts.faces.labels
        probes = joined([*(faces.test for faces in split.clients.values()), split.distractors])
        rows: list[Row] = []
        for client in clients:
            own = split.clients[client]
            if not own.test or not self._personalized:
                continue
            gallery = np.asarray(own.train, np.int64)
            given = {
                "features": features.of(probes),
                "labels": labels[probes],
                "own": np.isin(probes, own.test),
                "gallery_features": features.of(gallery),
                "gallery_labels": labels[gallery],
            }
            rows += self._rows(self._personalized, given, client, subject)
        return rows

    def curves(self) -> list[Curve]:
        """Of every model and protocol assessed so far; ``round`` is the latest of the clients'."""
        return [
            curve_from(
                list(counts.values()),
                method=key[0],
                seed=self.parts.config.seed,
                round_number=self._rounds[key],
                model=key[1],
                protocol=key[2],
                clients=len(counts.keys() - {ALL_CLIENTS}),
            )
            for key, counts in self._scores.items()
        ]

    def _rows(self, names: Sequence[str], given: Mapping[str, Any], client: str, subject: Subject) -> list[Row]:
        config = self.parts.config.evaluation
        for name in names if self._keeps_scores else ():
            counts = SCORES[name](**given) if name in SCORES.names else None
            if counts is not None:
                key = (subject.method, subject.model, name)
                self._scores.setdefault(key, {})[client] = counts
                self._rounds[key] = max(subject.round, self._rounds.get(key, 0))
        return [
            row
            for name in names
            for row in rows_from(
                PROTOCOLS[name](**given, config=config),
                method=subject.method,
                seed=subject.seed,
                round_number=subject.round,
                client=client,
                model=subject.model,
                protocol=name,
            )
        ]


def assess_trial(trial: Trial, round_number: int, generic: Generic, assessment: Assessment) -> list[Row]:
    """Every model of a trial after a round: the server's on all protocols, the clients' on the personalised ones."""
    parts, method = trial.parts, trial.method
    rows: list[Row] = []
    if method.generic_model is not None:
        subject = Subject(trial.name, parts.config.seed, round_number, method.generic_model)
        features = assessment.features(trial.generic_module(generic), f"{trial.name} {method.generic_model}")
        rows += assessment.generic(features, subject)
        rows += assessment.personalized(features, list(parts.split.clients), subject)
    for client in parts.split.clients if method.personal_model is not None else ():
        found = trial.personal_module(client)
        if found is not None:
            subject = Subject(trial.name, parts.config.seed, found[0], str(method.personal_model))
            features = assessment.features(found[1], f"{trial.name} {client}")
            rows += assessment.personalized(features, [client], subject)
    return rows
