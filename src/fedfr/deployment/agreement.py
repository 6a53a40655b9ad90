"""Agreement between a coordinator and its sites: every setting that training depends on, except the faces."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field

from fedfr.config.loading import read_file
from fedfr.config.schema import ExperimentConfig, FederationConfig, LocalConfig, MethodConfig, ModelConfig
from fedfr.core.client_ids import check_client_ids
from fedfr.core.errors import FedfrError
from fedfr.core.files import write_atomically
from fedfr.core.settings import Settings, validate
from fedfr.experiments.components import local_training, make_method
from fedfr.experiments.method_run import MethodRun

__all__ = ["Agreement"]


def _ids(given: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return check_client_ids(given)
    except FedfrError as error:
        raise ValueError(str(error)) from error


class Agreement(Settings):
    """Terms of one method's run, stored in identical files at the coordinator and at every site.

    A site trains only for a server that names this agreement's ``fingerprint``, so neither side can change a term –
    the method and what it shares above all – without the other. ``public``: fingerprint of the public faces, empty
    where the method uses none. ``run``: the name of the run's folder, so that two runs under the same terms share no
    private states of a site. How a site computes (device, precision, threads) is its own affair.
    """

    run: str
    clients: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_ids)]
    seed: Annotated[int, Field(ge=0)]
    backbone: str
    public: str
    method: MethodConfig
    local: LocalConfig
    rounds: Annotated[int, Field(ge=1)]
    weights: Literal["trained", "private"]
    batchnorm: Literal["average", "local", "frozen"]
    updates: Literal["full", "bf16", "int8"]

    @classmethod
    def of(cls, method_run: MethodRun) -> Agreement:
        """Create the terms from a configuration; raises :class:`FedfrError` for a method that pools the faces."""
        components, config = method_run.components, method_run.components.config
        if set(method_run.participants) != set(components.split.clients):
            raise FedfrError(
                f"{method_run.name} needs all faces in one place; sites keep theirs, choose another method"
            )
        public = (
            components.faces.subset(components.split.public).fingerprint()
            if method_run.method.uses_public_prototypes
            else ""
        )
        settings = method_run.method.settings.model_dump(mode="json")
        return cls(
            run=components.folder.resolve().name,
            clients=tuple(method_run.participants),
            seed=config.seed,
            backbone=config.model.backbone,
            public=public,
            method=MethodConfig(name=method_run.name, **settings),
            local=local_training(config, method_run.name),
            rounds=config.federation.rounds,
            weights=config.federation.weights,
            batchnorm=config.federation.batchnorm,
            updates=config.federation.updates,
        )

    @classmethod
    def load(cls, path: Path) -> Agreement:
        """Read the file; raises :class:`FedfrError` for missing, unknown or invalid settings."""
        if not path.is_file():
            raise FedfrError(f"there is no agreement {path}; put the file there that the coordinator gave out")
        agreement = validate(cls, read_file(path), str(path))
        make_method(agreement.config, agreement.method.name)
        return agreement

    def save(self, path: Path) -> None:
        """Write the terms as a human-readable file."""
        write_atomically(path, yaml.safe_dump(self._content(), sort_keys=False, allow_unicode=True).encode())

    @property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of all terms."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()

    @property
    def config(self) -> ExperimentConfig:
        """Return the terms as a run's configuration; the coordinator's own settings have their defaults."""
        return ExperimentConfig(
            seed=self.seed,
            model=ModelConfig(backbone=self.backbone),
            local=self.local,
            federation=FederationConfig(
                rounds=self.rounds, weights=self.weights, batchnorm=self.batchnorm, updates=self.updates
            ),
            method=self.method,
            baselines=(),
        )

    def _content(self) -> Mapping[str, Any]:
        content: dict[str, Any] = self.model_dump(mode="json")
        return content
