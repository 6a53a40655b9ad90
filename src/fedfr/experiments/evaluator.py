"""Evaluation of a run's models: protocols applied to features of its test faces, giving tidy rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedfr.core.errors import FedfrError
from fedfr.evaluation import (
    PROTOCOLS,
    SCORES,
    ScoreCounts,
)
from fedfr.evaluation.protocols import family_of, measure
from fedfr.evaluation.protocols.outcomes import SCORED, outcomes_by_person
from fedfr.experiments.components import RunComponents
from fedfr.experiments.method_run import MethodRun
from fedfr.faces.array_columns import concatenate_indices
from fedfr.federation.method import GenericModel
from fedfr.reporting.progress import Progress, Silent
from fedfr.results.curve_records import Curve, curve_from
from fedfr.results.person_records import PersonRecord
from fedfr.results.result_rows import ALL_CLIENTS, NO_MODEL, Row, rows_from, scored_protocol
from fedfr.training.features import OnImages, extract_features
from fedfr.training.training_set import TrainingSet

__all__ = ["EVALUATION", "Evaluator", "cohort_images", "evaluate_method_run"]

COHORT = 1000
"""Most public identities that scores are normalized by."""
PLAIN = "plain"

EVALUATION = "evaluation"
"""Name of an evaluation in progress reports."""


@dataclass(frozen=True)
class EvaluatedModel:
    """The model that metrics belong to."""

    method: str
    seed: int
    round: int
    model: str


class NotFiniteError(FedfrError):
    """A model whose features are NaN or infinite, so that it cannot be evaluated."""


class FeatureSource(Protocol):
    """Source of features of a run's images."""

    def of(self, images: NDArray[np.int64], *, flip: bool = False) -> NDArray[np.float32]:
        """Return features (n, D) in the order of ``images``, with ``flip`` plus those of the mirror images."""
        ...


class ConstantFeatures:
    """The same feature for every image, which gives names and counts of metrics but no meaningful values."""

    def of(self, images: NDArray[np.int64], *, flip: bool = False) -> NDArray[np.float32]:
        """Return ones (n, 2)."""
        return np.ones((len(images), 2), np.float32)


class Features:
    """Features of a run's images under one network, each computed once; ``on_images`` receives the progress."""

    def __init__(self, components: RunComponents, module: nn.Module, on_images: OnImages | None = None) -> None:
        self._components = components
        self._module = module
        self._on_images = on_images
        # By whether the images are mirrored: the row of every image among the known features, and these.
        self._rows = [np.full(len(components.faces), -1, np.int64) for _ in range(2)]
        self._known = [np.empty((0, 0), np.float32) for _ in range(2)]

    def of(self, images: NDArray[np.int64], *, flip: bool = False) -> NDArray[np.float32]:
        """Return features (n, D) in the order of ``images``; raises :class:`NotFiniteError` for NaN or infinity."""
        return self._of(images, 0) + self._of(images, 1) if flip else self._of(images, 0)

    def _of(self, images: NDArray[np.int64], mirrored: int) -> NDArray[np.float32]:
        rows = self._rows[mirrored]
        missing = np.unique(images[rows[images] < 0])
        if len(missing):
            training_set = TrainingSet([(self._components.faces, missing, 0)])
            compute, report = self._components.compute, self._on_images
            found = extract_features(self._module, training_set, compute, mirrored=bool(mirrored), on_images=report)
            new = found.numpy()
            if not np.isfinite(new).all():
                raise NotFiniteError("its features are NaN or infinite")
            rows[missing] = np.arange(len(missing)) + len(self._known[mirrored])
            self._known[mirrored] = np.concatenate([self._known[mirrored].reshape(-1, new.shape[1]), new])
        return self._known[mirrored][rows[images]]


@dataclass(frozen=True)
class _Scoring:
    """A way of comparing images, one of ``evaluation.scoring``."""

    name: str

    @property
    def normalized(self) -> bool:
        return "as-norm" in self.name

    def features(self, source: FeatureSource, images: NDArray[np.int64]) -> NDArray[np.float32]:
        return source.of(images, flip="flip" in self.name)


def cohort_images(components: RunComponents) -> NDArray[np.int64]:
    """Return the cohort of score normalization: the first image of each of at most :data:`COHORT` public identities.

    Empty unless ``evaluation.scoring`` needs it. Raises :class:`FedfrError` if there are not two such identities.
    """
    if not any(_Scoring(name).normalized for name in components.config.evaluation.scoring):
        return np.empty(0, np.int64)
    public = np.asarray(components.split.public, np.int64)
    first = np.unique(components.faces.labels[public], return_index=True)[1]
    if len(first) < 2:
        raise FedfrError(
            f"evaluation.scoring: as-norm needs public faces of at least two people, the split has {len(first)}"
        )
    return public[np.sort(first)[:COHORT]]


class Evaluator:
    """Evaluator of the models of one run with all protocols, or those given.

    With ``curves`` score distributions are kept for :meth:`curves`, and outcomes by person for :meth:`person_records`.
    Every protocol is run with each of ``evaluation.scoring``. ``progress`` receives every model of about
    ``models`` and every batch of images, under the name ``work``.
    """

    def __init__(
        self,
        components: RunComponents,
        protocols: Sequence[str] | None = None,
        *,
        curves: bool = False,
        progress: Progress | None = None,
        models: int = 1,
        work: str = EVALUATION,
    ) -> None:
        self.components = components
        self._work = work
        self._progress = progress or Silent()
        self._models = models
        self._begun = 0
        self._keeps_scores = curves
        self._scores: dict[tuple[str, str, str], dict[str, ScoreCounts]] = {}
        self._rounds: dict[tuple[str, str, str], int] = {}
        self._people: list[PersonRecord] = []
        self._scorings = [_Scoring(name) for name in components.config.evaluation.scoring]
        self._cohort = cohort_images(components)
        own = [*PROTOCOLS.builtin, *components.config.evaluation.protocols]
        names = [PROTOCOLS.entry(name).name for name in protocols or own]
        self._personalized = [name for name in names if family_of(name) == "personalized"]
        self._generic = [name for name in names if family_of(name) == "generic"]
        self._pairs = [name for name in names if family_of(name) == "pairs"]

    def features(self, module: nn.Module, model: str) -> Features:
        """Return the features of the run's images under another network; ``model`` is its name in progress reports."""
        before, self._begun = self._begun, self._begun + 1

        def on_images(done: int, total: int) -> None:
            detail = f"{model}: {done}/{total} images"
            self._progress.update(self._work, before, max(self._models, before + 1), detail, "models")

        return Features(self.components, module, on_images)

    def finish(self) -> None:
        """Report that every model has been evaluated."""
        self._progress.update(self._work, self._begun, self._begun, unit="models")

    def generic(self, features: FeatureSource, evaluated: EvaluatedModel) -> list[Row]:
        """Apply the generic protocols, among identities no client trained on."""
        images, labels = np.asarray(self.components.split.generic, np.int64), self.components.faces.labels
        rows: list[Row] = []
        if len(images) and self._generic:
            for scoring in self._scorings:
                given = {"features": scoring.features(features, images), "labels": labels[images]}
                rows += self._rows(self._generic, given, ALL_CLIENTS, evaluated, scoring, features)
        if self.components.split.pairs and self._pairs:
            first, second = np.asarray(self.components.split.pairs, np.int64).T
            for scoring in self._scorings:
                pairs = {
                    "features_a": scoring.features(features, first),
                    "features_b": scoring.features(features, second),
                    "same": labels[first] == labels[second],
                }
                rows += self._rows(self._pairs, pairs, ALL_CLIENTS, evaluated, scoring, features)
        return rows

    def personalized(self, features: FeatureSource, clients: Sequence[str], evaluated: EvaluatedModel) -> list[Row]:
        """Apply the personalized protocols of these clients, all with the same features."""
        split, labels = self.components.split, self.components.faces.labels
        probes = concatenate_indices([*(faces.test for faces in split.clients.values()), split.distractors])
        rows: list[Row] = []
        for client in clients:
            own = split.clients[client]
            if not own.test or not self._personalized:
                continue
            gallery = np.asarray(own.train, np.int64)
            for scoring in self._scorings:
                given = {
                    "features": scoring.features(features, probes),
                    "labels": labels[probes],
                    "own": np.isin(probes, own.test),
                    "gallery_features": scoring.features(features, gallery),
                    "gallery_labels": labels[gallery],
                }
                rows += self._rows(self._personalized, given, client, evaluated, scoring, features)
        return rows

    def without_model(self, reason: str, measure: Callable[[Evaluator, FeatureSource], list[Row]]) -> list[Row]:
        """Return the rows that ``measure`` would give with a model, all refused for ``reason``."""
        silent = copy(self)
        silent._keeps_scores = False
        rows = measure(silent, ConstantFeatures())
        return [replace(row, value=None, refused=row.refused or f"{NO_MODEL}{reason}") for row in rows]

    def curves(self) -> list[Curve]:
        """Return the curves of every model and protocol evaluated so far; ``round`` is the latest of the clients'."""
        return [
            curve_from(
                list(counts.values()),
                method=key[0],
                seed=self.components.config.seed,
                round_number=self._rounds[key],
                model=key[1],
                protocol=key[2],
                clients=len(counts.keys() - {ALL_CLIENTS}),
            )
            for key, counts in self._scores.items()
        ]

    def person_records(self) -> list[PersonRecord]:
        """Return the outcomes by person of every model evaluated so far; empty unless ``evaluation.people`` is set."""
        return list(self._people)

    def _rows(
        self,
        names: Sequence[str],
        given: Mapping[str, Any],
        client: str,
        evaluated: EvaluatedModel,
        scoring: _Scoring,
        features: FeatureSource,
    ) -> list[Row]:
        config, rows = self.components.config.evaluation, list[Row]()
        if scoring.normalized:
            names = [name for name in names if name in SCORED]
            given = {**given, "cohort": scoring.features(features, self._cohort)}
        for name in names:
            if self._keeps_scores and scoring.name == PLAIN and name in SCORES.names:
                counts = SCORES[name](**given)
                if counts is not None:
                    key = (evaluated.method, evaluated.model, name)
                    self._scores.setdefault(key, {})[client] = counts
                    self._rounds[key] = max(evaluated.round, self._rounds.get(key, 0))
            metrics, label = measure(name, **given, config=config), scored_protocol(name, scoring.name)
            rows += rows_from(
                metrics,
                method=evaluated.method,
                seed=evaluated.seed,
                round_number=evaluated.round,
                client=client,
                model=evaluated.model,
                protocol=label,
            )
            if self._keeps_scores and config.people:
                self._people += (
                    PersonRecord(evaluated.method, evaluated.seed, client, evaluated.model, label, metric, outcomes)
                    for metric, outcomes in outcomes_by_person(name, metrics, config, given).items()
                )
        return rows


def evaluate_method_run(
    method_run: MethodRun, round_number: int, generic: GenericModel, evaluator: Evaluator
) -> list[Row]:
    """Evaluate a method run's models after a round: the server's with all protocols, the clients' with their own.

    The rows of a client without a model are refused with the reason.
    """
    components, method = method_run.components, method_run.method
    rows: list[Row] = []
    if method.generic_model is not None:
        evaluated = EvaluatedModel(method_run.name, components.config.seed, round_number, method.generic_model)
        features = evaluator.features(method_run.generic_module(generic), f"{method_run.name} {method.generic_model}")
        rows += _rows_or_refusals(features, partial(_generic_rows, evaluated), evaluator)
    for client in components.split.clients if method.personal_model is not None else ():
        number, module = method_run.personal_module(client) or (round_number, None)
        evaluated = EvaluatedModel(method_run.name, components.config.seed, number, str(method.personal_model))
        found = (
            _missing_model_reason(method_run, client)
            if module is None
            else evaluator.features(module, f"{method_run.name} {client}")
        )
        rows += _rows_or_refusals(found, partial(_client_rows, client, evaluated), evaluator)
    return rows


def _generic_rows(evaluated: EvaluatedModel, how: Evaluator, features: FeatureSource) -> list[Row]:
    return how.generic(features, evaluated) + how.personalized(features, list(how.components.split.clients), evaluated)


def _client_rows(client: str, evaluated: EvaluatedModel, how: Evaluator, features: FeatureSource) -> list[Row]:
    return how.personalized(features, [client], evaluated)


def _rows_or_refusals(
    features: Features | str, measure: Callable[[Evaluator, FeatureSource], list[Row]], evaluator: Evaluator
) -> list[Row]:
    """Return the rows of a model from its features, or refused rows if a reason is given in their place."""
    if isinstance(features, str):
        return evaluator.without_model(features, measure)
    try:
        return measure(evaluator, features)
    except NotFiniteError as error:
        return evaluator.without_model(str(error), measure)


def _missing_model_reason(method_run: MethodRun, client: str) -> str:
    delivered = {report["client"] for record in method_run.journal.records() for report in record.get("clients", ())}
    return "it is not on this machine" if client in delivered else "the client delivered in no round"
