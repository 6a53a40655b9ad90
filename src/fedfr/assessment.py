"""Which models meet which protocols: features of a run's test faces in, tidy rows out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedfr.assembly import Parts
from fedfr.evaluation import PROTOCOLS
from fedfr.federation.method import Generic
from fedfr.rows import ALL_CLIENTS, Row, rows_from
from fedfr.training.features import extract_features
from fedfr.training.pool import FacePool
from fedfr.trial import Trial

__all__ = ["Assessment", "assess_trial"]

PERSONAL = ("personalized-1:1", "personalized-1:N")
GENERIC = ("generic-1:1", "generic-1:N")


class Assessment:
    """Runs protocols on the models of one run; ``protocols`` restricts which."""

    def __init__(self, parts: Parts, protocols: Sequence[str] | None = None) -> None:
        for name in protocols or ():
            PROTOCOLS.entry(name)
        self.parts = parts
        self.protocols = tuple(PROTOCOLS.names if protocols is None else protocols)

    def generic(self, module: nn.Module, **context: str | int) -> list[Row]:
        """Generic protocols, among identities nobody trained on."""
        wanted = [name for name in GENERIC if name in self.protocols]
        images = np.asarray(self.parts.split.generic, np.int64)
        if not wanted or len(images) == 0:
            return []
        features, labels = self._features(module, images), self.parts.faces.labels[images]
        config = self.parts.config.evaluation
        rows: list[Row] = []
        for name in wanted:
            figures = PROTOCOLS[name](features=features, labels=labels, config=config)
            rows += _rows(figures, name, ALL_CLIENTS, context)
        return rows

    def personal(
        self, module_of: Callable[[str], tuple[int, nn.Module] | None], *, same_module: bool, **context: str | int
    ) -> list[Row]:
        """Personalised protocols for every client; with ``same_module`` one feature extraction serves all."""
        wanted = [name for name in PERSONAL if name in self.protocols]
        rows: list[Row] = []
        known: dict[int, NDArray[np.float32]] = {}
        split, faces = self.parts.split, self.parts.faces
        probes = [index for client in split.clients.values() for index in client.test]
        images = np.asarray([*probes, *split.distractors], np.int64)
        for client, own in split.clients.items() if wanted else ():
            found = module_of(client)
            if found is None or not own.test:
                continue
            round_number, module = found
            if not (same_module and known):
                every = images if not same_module else np.concatenate([images, *_training(self.parts)])
                known = dict(zip(every.tolist(), self._features(module, every), strict=True))
            gallery = np.asarray(own.train, np.int64)
            mine = np.isin(images, np.asarray(own.test))
            missing = [int(index) for index in gallery if int(index) not in known]
            if missing:
                extra = self._features(module, np.asarray(missing, np.int64))
                known |= dict(zip(missing, extra, strict=True))
            for name in wanted:
                figures = PROTOCOLS[name](
                    features=np.stack([known[int(index)] for index in images]),
                    labels=faces.labels[images],
                    own=mine,
                    gallery_features=np.stack([known[int(index)] for index in gallery]),
                    gallery_labels=faces.labels[gallery],
                    config=self.parts.config.evaluation,
                )
                rows += _rows(figures, name, client, {**context, "round_number": round_number})
        return rows

    def _features(self, module: nn.Module, images: NDArray[np.int64]) -> NDArray[np.float32]:
        pool = FacePool([(self.parts.faces, images, 0)])
        features: NDArray[np.float32] = extract_features(module, pool, self.parts.compute).numpy()
        return features


def _training(parts: Parts) -> list[NDArray[np.int64]]:
    return [np.asarray(client.train, np.int64) for client in parts.split.clients.values()]


def _rows(figures: Iterable[object], protocol: str, client: str, context: dict[str, str | int]) -> list[Row]:
    return rows_from(figures, protocol=protocol, client=client, **context)  # type: ignore[arg-type]


def assess_trial(trial: Trial, rounds: int, generic: Generic, assessment: Assessment) -> list[Row]:
    """Every model of a finished trial: the server's as ``generic``, the clients' as ``personalized``."""
    seed = trial.parts.config.seed
    rows: list[Row] = []
    if trial.method.generic_model is not None:
        module = trial.generic_module(generic)
        context = {"method": trial.name, "seed": seed, "model": trial.method.generic_model}
        rows += assessment.generic(module, round_number=rounds, **context)
        rows += assessment.personal(lambda client: (rounds, module), same_module=True, **context)
    if trial.method.personal_model is not None:
        rows += assessment.personal(
            trial.personal_module,
            same_module=False,
            method=trial.name,
            seed=seed,
            model=trial.method.personal_model,
        )
    return rows
