"""Agreement between a coordinator and its sites: the settings of training, and the sets that sites download."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, NoReturn

import yaml
from pydantic import AfterValidator, Field

from fedfr.config.loading import read_settings_file
from fedfr.config.schema import (
    DeploymentConfig,
    ExperimentConfig,
    FederationConfig,
    LocalConfig,
    MethodConfig,
    ModelConfig,
    PrivacyConfig,
    Report,
)
from fedfr.core.client_ids import check_client_ids
from fedfr.core.code_identity import source_digest, version_of
from fedfr.core.errors import FedfrError
from fedfr.core.files import write_atomically
from fedfr.core.named_objects import is_dotted
from fedfr.core.settings import Settings, validate
from fedfr.deployment.privacy_terms import PrivacyTerms
from fedfr.deployment.secure_terms import SecureTerms
from fedfr.experiments.from_config import local_training, make_method
from fedfr.experiments.method_run import MethodRun
from fedfr.experiments.person_privacy import check_noise, is_private, person_plan, plan_lines
from fedfr.experiments.secure_sums import check_secure_sum, uses_secure_sum
from fedfr.losses import LOSSES
from fedfr.methods import METHODS
from fedfr.models.backbone_registry import BACKBONES
from fedfr.privacy.person_dp import PersonPlan
from fedfr.privacy.secure_sum.agreement import SumAgreement

__all__ = ["Agreement", "CodeTerms"]


def _valid_ids(given: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return check_client_ids(given)
    except FedfrError as error:
        raise ValueError(str(error)) from error


def _valid_sha256(given: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", given):
        raise ValueError("give the 64 hexadecimal digits of a SHA-256")
    return given


def _valid_fingerprint(given: str) -> str:
    # It is part of a URL and of the name of a folder.
    return given and _valid_sha256(given)


Fingerprint = Annotated[str, AfterValidator(_valid_fingerprint)]
"""Fingerprint of a face set, empty for no set."""


class CodeTerms(Settings):
    """Version of an external package and SHA-256 of its source files, for a name in the terms.

    The code itself is never sent. A site imports the name from its own installation if its operator allows it.
    """

    version: str
    sha256: Annotated[str, AfterValidator(_valid_sha256)]

    @classmethod
    def of(cls, name: str) -> CodeTerms:
        """Return the terms of the code installed on this machine; raises :class:`FedfrError` if it is not installed."""
        return cls(version=version_of(name), sha256=source_digest(name))


def _external_code(backbone: str, method: MethodConfig, loss: str) -> list[str]:
    """Return the names of the method, the backbone and the loss, leaving out those that are part of fedfr."""
    given = [(METHODS.builtin, method.name), (BACKBONES.builtin, backbone), (LOSSES.builtin, loss)]
    return [name for own, name in given if name not in own]


class Agreement(Settings):
    """Terms of one method's run, stored in identical files at the coordinator and at every site.

    A site trains only for a server that sends this agreement's ``fingerprint``, so neither side can change a term, such
    as the method or what it shares, without the other. ``public``: fingerprint of the public faces, empty if the method
    uses none. ``report``: the metrics that sites report beside their updates. ``strangers``: fingerprint of the
    strangers with which sites calibrate their galleries, empty if there are none; nobody trains on them. ``run``: name
    of the run's folder; it keeps the private states of two runs under the same terms apart. ``remedy``: what a site
    does with its own models after a person was forgotten, as in ``deployment.remedy``. ``code``: terms of a method, a
    backbone and a loss of other packages, by name. ``secure``: terms of secure sums, ``privacy``: of
    differential privacy for a person, None without them. Device, precision and threads are not part of the agreement;
    each site chooses its own.
    """

    run: str
    clients: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_valid_ids)]
    seed: Annotated[int, Field(ge=0)]
    backbone: str
    public: Fingerprint
    method: MethodConfig
    local: LocalConfig
    rounds: Annotated[int, Field(ge=1)]
    weights: Literal["trained", "private", "equal"]
    batchnorm: Literal["average", "local", "frozen"]
    updates: Literal["full", "bf16", "int8"]
    prototypes: Literal["share", "keep"] = "share"
    report: Report = "none"
    strangers: Fingerprint = ""
    remedy: Literal["note", "retrain"] = "note"
    code: dict[str, CodeTerms] = Field(default_factory=dict)
    secure: SecureTerms | None = None
    privacy: PrivacyTerms | None = None

    @classmethod
    def of(cls, method_run: MethodRun, keys: Mapping[str, str] = MappingProxyType({})) -> Agreement:
        """Create the terms of a method's run; raises :class:`FedfrError` for a method that pools all faces.

        ``keys``: public keys of the sites for secure sums, if the run has them.
        """
        components, config = method_run.components, method_run.components.config
        if set(method_run.participants) != set(components.split.clients):
            raise FedfrError(
                f"{method_run.name} needs all faces in one place, but sites keep theirs; choose another method"
            )
        public = components.public_faces.fingerprint() if method_run.method.needs_public_faces else ""
        settings = method_run.method.settings.model_dump(mode="json")
        method = MethodConfig(name=method_run.name, **settings)
        strangers = components.stranger_faces.fingerprint() if len(components.split.strangers) else ""
        local, clients = local_training(config, method_run.name), tuple(method_run.participants)
        secure = uses_secure_sum(method_run) and method_run.total_rounds
        return cls(
            run=components.folder.resolve().name,
            clients=clients,
            seed=config.seed,
            backbone=config.model.backbone,
            public=public,
            method=method,
            local=local,
            rounds=config.federation.rounds,
            weights=config.federation.weights,
            batchnorm=config.federation.batchnorm,
            updates=config.federation.updates,
            prototypes=config.federation.prototypes,
            report=config.deployment.report,
            strangers=strangers,
            remedy=config.deployment.remedy,
            code={name: CodeTerms.of(name) for name in _external_code(config.model.backbone, method, local.loss)},
            secure=SecureTerms.of(config.federation, clients, keys) if secure else None,
            privacy=PrivacyTerms.of(config) if is_private(config, method_run.name) else None,
        )

    @classmethod
    def load(cls, path: Path, allow: Sequence[str] | None = None) -> Agreement:
        """Read the file; raises :class:`FedfrError` for missing, unknown or invalid settings.

        ``allow``: names of external code that may be imported, at a site those that its operator allows; None allows
        all, for the coordinator's own file. Also raises :class:`FedfrError`, before any import, for a name that is not
        allowed and for code that is installed here in another version.
        """
        if not path.is_file():
            raise FedfrError(f"there is no agreement {path}; put the coordinator's file there")
        agreement = validate(cls, read_settings_file(path), str(path))
        if allow is not None:
            agreement._check_code(allow)
        method = make_method(agreement.config, agreement.method.name)
        if agreement.sums is not None:
            check_secure_sum(agreement.config, agreement.method.name, method, len(agreement.clients))
        if agreement.privacy is not None:
            check_noise(agreement.config, method, len(agreement.clients))
        return agreement

    def _check_code(self, allow: Sequence[str]) -> None:
        """Raise a shareable :class:`FedfrError` for external code that is not allowed, missing or different."""
        if not is_dotted(self.method.name):
            METHODS.entry(self.method.name)
        if not is_dotted(self.backbone):
            BACKBONES.entry(self.backbone)
        if not is_dotted(self.local.loss):
            LOSSES.entry(self.local.loss)
        for name in _external_code(self.backbone, self.method, self.local.loss):
            if name not in allow:
                _refuse(
                    f"the agreement names {name}, external code that this site's operator has not allowed",
                    f"read that code, and add it to `allow` in site.yaml: allow: [{name}]",
                )
            expected = self.code.get(name)
            if expected is None:
                _refuse(
                    f"the agreement names {name} without the hash of its source", "ask the coordinator for a new file"
                )
            try:
                installed = CodeTerms.of(name)
            except FedfrError as error:
                found, _, remedy = str(error).rpartition("; ")
                _refuse(found, f"{remedy} in version {expected.version}")
            if installed != expected:
                same = installed.version == expected.version
                package = name.partition(".")[0].partition(":")[0]
                what = "the same version with other source files" if same else f"version {installed.version}"
                _refuse(
                    f"the agreement names {name} {expected.version}, SHA-256 {expected.sha256[:12]}…, "
                    f"but this site has {what}, "
                    f"SHA-256 {installed.sha256[:12]}…",
                    f"install the coordinator's version ({package} {expected.version})",
                )

    def save(self, path: Path) -> None:
        """Write the terms as a human-readable file."""
        write_atomically(path, yaml.safe_dump(self._terms(), sort_keys=False, allow_unicode=True).encode())

    @property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of all terms."""
        return hashlib.sha256(json.dumps(self._terms(), sort_keys=True).encode()).hexdigest()

    @property
    def sums(self) -> SumAgreement | None:
        """Agreement of the sites on secure sums, None without; raises :class:`FedfrError` for invalid terms."""
        return None if self.secure is None else self.secure.agreement(self.fingerprint, self.clients)

    def person_plan(self) -> PersonPlan | None:
        """Return the plan of differential privacy for a person; None without it."""
        if self.privacy is None:
            return None
        config = self.config
        return person_plan(config, make_method(config, self.method.name), len(self.clients))

    def describe_privacy(self) -> list[str]:
        """Return the plan of the noise, and what is learned by whom under secure sums; nothing without either."""
        plan = self.person_plan()
        noise = [] if plan is None else plan_lines(plan)
        sums = self.secure
        return noise + ([] if sums is None else [*sums.describe(self.fingerprint, self.clients, noised=bool(plan))])

    @property
    def config(self) -> ExperimentConfig:
        """Configuration of a run under these terms; settings that only the coordinator uses have their defaults."""
        terms, privacy = self.secure, self.privacy
        secure: dict[str, Any] = {}
        if terms is not None:
            secure = {"secure": "sum", "secure_threshold": terms.threshold, "largest_count": terms.largest_count}
            if terms.clip_norm is not None:
                secure |= {"aggregation": "norm-clipped", "clip_norm": terms.clip_norm}
        if privacy is not None:
            secure["participation"] = privacy.participation
        return ExperimentConfig(
            seed=self.seed,
            model=ModelConfig(backbone=self.backbone),
            local=self.local,
            federation=FederationConfig(
                rounds=self.rounds,
                weights=self.weights,
                batchnorm=self.batchnorm,
                updates=self.updates,
                prototypes=self.prototypes,
                **secure,
            ),
            method=self.method,
            baselines=(),
            privacy=PrivacyConfig() if privacy is None else privacy.config,
            deployment=DeploymentConfig(report=self.report),
        )

    def _terms(self) -> Mapping[str, Any]:
        content: dict[str, Any] = self.model_dump(mode="json")
        # Without external code and with these defaults, the file and its fingerprint equal those of versions that had
        # none of these terms.
        if not self.code:
            del content["code"]
        if self.local.loss == LocalConfig.model_fields["loss"].default:
            del content["local"]["loss"]
        if not self.strangers:
            del content["strangers"]
        if self.remedy == "note":
            del content["remedy"]
        if self.prototypes == "share":
            del content["prototypes"]
        if self.report == "none":
            del content["report"]
        if self.secure is None:
            del content["secure"]
        elif self.secure.clip_norm is None:
            del content["secure"]["clip_norm"]
        if self.privacy is None:
            del content["privacy"]
        return content


def _refuse(found: str, remedy: str) -> NoReturn:
    """Raise an error that the site may send to the coordinator: it names modules, versions and hashes, but no paths."""
    raise FedfrError(f"{found}; {remedy}", shareable=f"{found}; {remedy}")
