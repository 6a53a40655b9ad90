"""Agreement between a coordinator and its sites: every setting that training depends on, except the faces."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import yaml
from pydantic import AfterValidator, Field

from fedfr.config.loading import read_file
from fedfr.config.schema import ExperimentConfig, FederationConfig, LocalConfig, MethodConfig, ModelConfig
from fedfr.core.client_ids import check_client_ids
from fedfr.core.code_identity import source_digest, version_of
from fedfr.core.errors import FedfrError
from fedfr.core.files import write_atomically
from fedfr.core.named_objects import is_dotted
from fedfr.core.settings import Settings, validate
from fedfr.experiments.components import local_training, make_method
from fedfr.experiments.method_run import MethodRun
from fedfr.losses import LOSSES
from fedfr.methods import METHODS
from fedfr.models.backbone_registry import BACKBONES

__all__ = ["Agreement", "CodeTerms"]


def _ids(given: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return check_client_ids(given)
    except FedfrError as error:
        raise ValueError(str(error)) from error


class CodeTerms(Settings):
    """Which code of another package a term names: its distribution's version and a SHA-256 of its source files.

    Only the name travels. A site imports it from its own installation, and only where its operator allows the name.
    """

    version: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

    @classmethod
    def of(cls, name: str) -> CodeTerms:
        """What is installed on this machine."""
        return cls(version=version_of(name), sha256=source_digest(name))


def _named(backbone: str, method: MethodConfig, loss: str) -> list[str]:
    """Names of the method, the backbone and the loss that are not fedfr's own."""
    given = [(METHODS.builtin, method.name), (BACKBONES.builtin, backbone), (LOSSES.builtin, loss)]
    return [name for own, name in given if name not in own]


class Agreement(Settings):
    """Terms of one method's run, stored in identical files at the coordinator and at every site.

    A site trains only for a server that names this agreement's ``fingerprint``, so neither side can change a term –
    the method and what it shares above all – without the other. ``public``: fingerprint of the public faces, empty
    where the method uses none. ``run``: the name of the run's folder, so that two runs under the same terms share no
    private states of a site. ``code``: by name, the terms of a method, a backbone and a loss of other packages. How a
    site computes (device, precision, threads) is its own affair.
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
    code: dict[str, CodeTerms] = Field(default_factory=dict)

    @classmethod
    def of(cls, method_run: MethodRun) -> Agreement:
        """Create the terms from a configuration; raises :class:`FedfrError` for a method that pools the faces."""
        components, config = method_run.components, method_run.components.config
        if set(method_run.participants) != set(components.split.clients):
            raise FedfrError(
                f"{method_run.name} needs all faces in one place, but sites keep theirs; choose another method"
            )
        public = components.public_faces.fingerprint() if method_run.method.uses_public_prototypes else ""
        settings = method_run.method.settings.model_dump(mode="json")
        method = MethodConfig(name=method_run.name, **settings)
        local = local_training(config, method_run.name)
        return cls(
            run=components.folder.resolve().name,
            clients=tuple(method_run.participants),
            seed=config.seed,
            backbone=config.model.backbone,
            public=public,
            method=method,
            local=local,
            rounds=config.federation.rounds,
            weights=config.federation.weights,
            batchnorm=config.federation.batchnorm,
            updates=config.federation.updates,
            code={name: CodeTerms.of(name) for name in _named(config.model.backbone, method, local.loss)},
        )

    @classmethod
    def load(cls, path: Path, allow: Sequence[str] | None = None) -> Agreement:
        """Read the file; raises :class:`FedfrError` for missing, unknown or invalid settings.

        ``allow``: names of other packages' code that may be imported, at a site those that its operator allows. None:
        all, for the coordinator's own file. Raises :class:`FedfrError` as well for a name that is not allowed and for
        code that is installed here in another version; it is not imported then.
        """
        if not path.is_file():
            raise FedfrError(f"there is no agreement {path}; put the coordinator's file there")
        agreement = validate(cls, read_file(path), str(path))
        if allow is not None:
            agreement._check_code(allow)
        make_method(agreement.config, agreement.method.name)
        return agreement

    def _check_code(self, allow: Sequence[str]) -> None:
        """Raise :class:`FedfrError`, which the coordinator may read, for code that this site must not or cannot run."""
        if not is_dotted(self.method.name):
            METHODS.entry(self.method.name)
        if not is_dotted(self.backbone):
            BACKBONES.entry(self.backbone)
        if not is_dotted(self.local.loss):
            LOSSES.entry(self.local.loss)
        for name in _named(self.backbone, self.method, self.local.loss):
            if name not in allow:
                _refuse(
                    f"the agreement names {name}, code of another package that this site's operator has not allowed",
                    f"read that code, and add it to `allow` in site.yaml: allow: [{name}]",
                )
            agreed = self.code.get(name)
            if agreed is None:
                _refuse(
                    f"the agreement names {name} without the hash of its source", "ask the coordinator for a new file"
                )
            try:
                here = CodeTerms.of(name)
            except FedfrError as error:
                found, _, remedy = str(error).rpartition("; ")
                _refuse(found, f"{remedy} in version {agreed.version}")
            if here != agreed:
                same = here.version == agreed.version
                what = "the same version with another source" if same else f"version {here.version}"
                _refuse(
                    f"{name} is agreed on in version {agreed.version}, SHA-256 {agreed.sha256[:12]}…; here is {what}, "
                    f"SHA-256 {here.sha256[:12]}…",
                    f"install what the coordinator has ({name.partition('.')[0].partition(':')[0]} {agreed.version})",
                )

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
        # A file without code of other packages and with the default loss is the one that earlier versions wrote, with
        # the same fingerprint.
        if not self.code:
            del content["code"]
        if self.local.loss == LocalConfig.model_fields["loss"].default:
            del content["local"]["loss"]
        return content


def _refuse(found: str, remedy: str) -> NoReturn:
    """Raise a refusal that the coordinator may read: it names modules, versions and hashes, and no paths."""
    raise FedfrError(f"{found}; {remedy}", shareable=f"{found}; {remedy}")
