"""Which models meet which protocols: features of a run's test faces in, tidy rows out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedfr.assembly import Parts
from fedfr.evaluation import PROTOCOLS, ProtocolInput
from fedfr.federation.method import Generic
from fedfr.rows import ALL_CLIENTS, Row, rows_from
from fedfr.training.features import extract_features
from fedfr.training.pool import FacePool
from fedfr.trial import Trial

__all__ = ["Assessment", "assess_trial"]


@dataclass(frozen=True)
class Subject:
    """Whose figures these are."""

    method: str
    seed: int
    round: int
    model: str


class Assessment:
    """Runs protocols on the models of one run; ``protocols`` restricts which."""

    def __init__(self, parts: Parts, protocols: Sequence[str] | None = None) -> None:
        self.parts = parts
        self.protocols = [PROTOCOLS.entry(name) for name in protocols or PROTOCOLS.names]

    def generic(self, module: nn.Module, subject: Subject) -> list[Row]:
        """Generic protocols, among identities nobody trained on."""
        images = np.asarray(self.parts.split.generic, np.int64)
        if len(images) == 0 or all(entry.value.personal for entry in self.protocols):
            return []
        given = self._input(_Features(self.parts, module), images)
        return [
            row
            for entry in self.protocols
            if not entry.value.personal
            for row in _rows(entry.name, entry.value.run(given), ALL_CLIENTS, subject)
        ]

    def personal(self, module: nn.Module, client: str, subject: Subject) -> list[Row]:
        """Personalised protocols for one client; with one module for several clients, features are shared."""
        return self.clients(_Features(self.parts, module), [client], subject)

    def clients(self, features: _Features, clients: Sequence[str], subject: Subject) -> list[Row]:
        """Personalised protocols of these clients, all under the same features."""
        split = self.parts.split
        tests = [index for faces in split.clients.values() for index in faces.test]
        probes = np.asarray([*tests, *split.distractors], np.int64)
        rows: list[Row] = []
        for client in clients:
            own = split.clients[client]
            if not own.test:
                continue
            given = self._input(features, probes, np.asarray(own.train, np.int64), np.isin(probes, own.test))
            for entry in self.protocols:
                if entry.value.personal:
                    rows += _rows(entry.name, entry.value.run(given), client, subject)
        return rows

    def _input(
        self,
        features: _Features,
        images: NDArray[np.int64],
        gallery: NDArray[np.int64] | None = None,
        own: NDArray[np.bool_] | None = None,
    ) -> ProtocolInput:
        config, labels = self.parts.config.evaluation, self.parts.faces.labels
        enrolled = np.empty(0, np.int64) if gallery is None else gallery
        return ProtocolInput(
            features=features.of(images),
            labels=labels[images],
            fars=config.fars,
            fpirs=config.fpirs,
            own=np.zeros(len(images), np.bool_) if own is None else own,
            gallery_features=features.of(enrolled),
            gallery_labels=labels[enrolled],
            binned=config.verification == "binned",
        )


class _Features:
    """Features of a run's images under one module, each computed once."""

    def __init__(self, parts: Parts, module: nn.Module) -> None:
        self._parts = parts
        self._module = module
        self._row = np.full(len(parts.faces), -1, np.int64)
        self._known = np.empty((0, 0), np.float32)

    def of(self, images: NDArray[np.int64]) -> NDArray[np.float32]:
        """Features (n, D) in the order of ``images``."""
        missing = np.unique(images[self._row[images] < 0])
        if len(missing):
            pool = FacePool([(self._parts.faces, missing, 0)])
            new = extract_features(self._module, pool, self._parts.compute).numpy()
            self._row[missing] = np.arange(len(missing)) + len(self._known)
            self._known = np.concatenate([self._known.reshape(-1, new.shape[1]), new])
        return self._known[self._row[images]]


def _rows(protocol: str, figures: Sequence[object], client: str, subject: Subject) -> list[Row]:
    return rows_from(
        figures,  # type: ignore[arg-type]
        method=subject.method,
        seed=subject.seed,
        round_number=subject.round,
        client=client,
        model=subject.model,
        protocol=protocol,
    )


def assess_trial(trial: Trial, round_number: int, generic: Generic, assessment: Assessment) -> list[Row]:
    """Every model of a trial after a round: the server's on all protocols, the clients' on the personalised ones."""
    seed, clients = trial.parts.config.seed, list(trial.parts.split.clients)
    rows: list[Row] = []
    if trial.method.generic_model is not None:
        subject = Subject(trial.name, seed, round_number, trial.method.generic_model)
        module = trial.generic_module(generic)
        rows += assessment.generic(module, subject)
        rows += assessment.clients(_Features(trial.parts, module), clients, subject)
    if trial.method.personal_model is not None:
        for client in clients:
            found = trial.personal_module(client)
            if found is not None:
                last, module = found
                rows += assessment.personal(module, client, Subject(trial.name, seed, last, trial.method.personal_model))
    return rows
