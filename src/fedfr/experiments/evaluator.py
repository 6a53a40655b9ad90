"""Evaluation of a run's models: protocols applied to features of its test faces, giving tidy rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedfr.evaluation import PROTOCOLS, SCORES, Metric, ScoreCounts
from fedfr.evaluation.protocols import family_of, run_protocol
from fedfr.evaluation.protocols.outcomes import SCORED, outcomes_by_person
from fedfr.experiments.components import RunComponents
from fedfr.experiments.image_features import ConstantFeatures, FeatureSource, ImageFeatures, NotFiniteError
from fedfr.experiments.method_run import MethodRun
from fedfr.experiments.run_sets import open_set
from fedfr.experiments.scoring import PLAIN, Scoring, cohort_images
from fedfr.faces.array_columns import concatenate_indices
from fedfr.federation.method import GenericModel
from fedfr.reporting.progress import Progress, Silent
from fedfr.results.curve_records import Curve, curve_from
from fedfr.results.person_records import PersonRecord
from fedfr.results.result_rows import ALL_CLIENTS, NO_MODEL, Row, rows_from, scored_protocol

__all__ = ["EVALUATION", "EvaluatedModel", "Evaluator", "evaluate_method_run"]

EVALUATION = "evaluation"
"""Name of an evaluation in progress reports."""


@dataclass(frozen=True)
class EvaluatedModel:
    """Identification of an evaluated model in result rows."""

    method: str
    seed: int
    round: int
    model: str


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
        self._scorings = [Scoring(name) for name in components.config.evaluation.scoring]
        self._cohort = cohort_images(components)
        own = [*PROTOCOLS.builtin, *components.config.evaluation.protocols]
        names = [PROTOCOLS.entry(name).name for name in protocols or own]
        self._personalized = [name for name in names if family_of(name) == "personalized"]
        self._generic = [name for name in names if family_of(name) == "generic"]
        self._pairs = [name for name in names if family_of(name) == "pairs"]
        # As in the evaluation of a single model: protocols of other packages that take pairs are for these sets, too.
        others = [name for name in self._pairs if name not in PROTOCOLS.builtin]
        self._on_sets = [*(name for name in names if family_of(name) == "set"), *others]

    def features(self, module: nn.Module, model: str) -> ImageFeatures:
        """Return the features of the run's images under another network; ``model`` is its name in progress reports."""
        before, self._begun = self._begun, self._begun + 1

        def on_images(done: int, total: int) -> None:
            detail = f"{model}: {done}/{total} images"
            self._progress.update(self._work, before, max(self._models, before + 1), detail, "models")

        return ImageFeatures(self.components, module, on_images)

    def finish(self) -> None:
        """Report that every model has been evaluated."""
        self._progress.update(self._work, self._begun, self._begun, unit="models")

    def generic(self, features: FeatureSource, evaluated: EvaluatedModel) -> list[Row]:
        """Apply the generic protocols, among identities no client trained on, and those on verification sets."""
        labels, rows = self.components.faces.labels, self.among_others(features, evaluated)
        if self.components.split.pairs and self._pairs:
            first, second = np.asarray(self.components.split.pairs, np.int64).T
            for scoring in self._scorings:
                pairs = {
                    "features_a": scoring.features(features, first),
                    "features_b": scoring.features(features, second),
                    "same": labels[first] == labels[second],
                }
                people = {"people_a": labels[first], "people_b": labels[second]}
                rows += self._rows(self._pairs, pairs, ALL_CLIENTS, evaluated, scoring, features, people)
        for name in self.components.config.evaluation.sets if self._on_sets else ():
            rows += self._set_rows(name, features, evaluated)
        return rows

    def among_others(self, features: FeatureSource, evaluated: EvaluatedModel, client: str = ALL_CLIENTS) -> list[Row]:
        """Apply the generic protocols among identities no client trained on; the rows are those of ``client``."""
        images, labels = np.asarray(self.components.split.generic, np.int64), self.components.faces.labels
        rows: list[Row] = []
        for scoring in self._scorings if len(images) and self._generic else ():
            given = {"features": scoring.features(features, images), "labels": labels[images]}
            rows += self._rows(self._generic, given, client, evaluated, scoring, features)
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

    def _set_rows(self, name: str, features: FeatureSource, evaluated: EvaluatedModel) -> list[Row]:
        """Return the rows of one verification set, whose protocol defines the scoring."""
        pairs = open_set(self.components, name)
        found = features.of_set(pairs)
        given = {"features_a": found[0::2], "features_b": found[1::2], "same": pairs.same}
        return [
            row
            for protocol in self._on_sets
            for row in _rows_of(
                run_protocol(protocol, **given, config=self.components.config.evaluation),
                evaluated,
                ALL_CLIENTS,
                f"{protocol} {name}",
            )
        ]

    def _rows(
        self,
        names: Sequence[str],
        given: Mapping[str, Any],
        client: str,
        evaluated: EvaluatedModel,
        scoring: Scoring,
        features: FeatureSource,
        people: Mapping[str, NDArray[np.int64]] = MappingProxyType({}),
    ) -> list[Row]:
        """Run protocols on ``given``; ``people`` are labels that only the outcomes by person need."""
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
            metrics, label = run_protocol(name, **given, config=config), scored_protocol(name, scoring.name)
            rows += _rows_of(metrics, evaluated, client, label)
            if self._keeps_scores and config.people:
                self._people += (
                    PersonRecord(evaluated.method, evaluated.seed, client, evaluated.model, label, metric, outcomes)
                    for metric, outcomes in outcomes_by_person(name, metrics, config, {**given, **people}).items()
                )
        return rows


def _rows_of(metrics: Sequence[Metric], evaluated: EvaluatedModel, client: str, protocol: str) -> list[Row]:
    return rows_from(
        metrics,
        method=evaluated.method,
        seed=evaluated.seed,
        round_number=evaluated.round,
        client=client,
        model=evaluated.model,
        protocol=protocol,
    )


def evaluate_method_run(
    method_run: MethodRun, round_number: int, generic: GenericModel, evaluator: Evaluator
) -> list[Row]:
    """Evaluate a method run's models after a round: the server's with all protocols, the clients' with their own.

    Where nothing is shared, each client's own backbone is evaluated among people whom nobody trains on, too.
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
        shown = f"{method_run.name} {client}"
        own: ImageFeatures | str
        own = _missing_model_reason(method_run, client) if module is None else evaluator.features(module, shown)
        rows += _rows_or_refusals(own, partial(_client_rows, client, evaluated), evaluator)
        # The models of clients on other machines are there.
        if method.lone_model is not None and not components.split.clients[client].elsewhere:
            lone = replace(evaluated, model=method.lone_model)
            if module is not None and module.transform is not None:
                own = evaluator.features(module.backbone, f"{shown} {lone.model}")
            rows += _rows_or_refusals(own, partial(_lone_rows, client, lone), evaluator)
    return rows


def _generic_rows(evaluated: EvaluatedModel, how: Evaluator, features: FeatureSource) -> list[Row]:
    return how.generic(features, evaluated) + how.personalized(features, list(how.components.split.clients), evaluated)


def _client_rows(client: str, evaluated: EvaluatedModel, how: Evaluator, features: FeatureSource) -> list[Row]:
    return how.personalized(features, [client], evaluated)


def _lone_rows(client: str, evaluated: EvaluatedModel, how: Evaluator, features: FeatureSource) -> list[Row]:
    return how.among_others(features, evaluated, client)


def _rows_or_refusals(
    features: ImageFeatures | str, measure: Callable[[Evaluator, FeatureSource], list[Row]], evaluator: Evaluator
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
