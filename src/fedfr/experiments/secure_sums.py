"""Secure sums in a run on this machine: check before it begins, engine of a method, and what is said at its start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from fedfr.config.schema import ExperimentConfig, FederationConfig
from fedfr.core.client_ids import POOLED
from fedfr.core.errors import FedfrError
from fedfr.engines.local import LocalEngine, Tap
from fedfr.experiments.person_privacy import is_private, person_plan
from fedfr.federation.messages import PROTOTYPES, Broadcast
from fedfr.federation.method import Method, shared_entries
from fedfr.federation.server import sample_size
from fedfr.privacy.person_dp import PersonPlan, trained_names
from fedfr.privacy.secure_sum.agreement import FEWEST_SITES, SumAgreement, check_threshold, smallest_threshold
from fedfr.privacy.secure_sum.collusion import describe_collusion
from fedfr.training.batchnorm import batchnorm_entries, batchnorm_statistics

if TYPE_CHECKING:
    from fedfr.engines.local_secure_sum import LocalSumEngine
    from fedfr.engines.sum_terms import SumTerms
    from fedfr.experiments.method_run import MethodRun

__all__ = [
    "RECORDS",
    "agreement_of",
    "check_secure_sum",
    "clip_norm_of",
    "describe_secure_sum",
    "largest_count_of",
    "secure_engine",
    "sum_terms",
    "threshold_of",
    "uses_secure_sum",
]

RECORDS = "secure-sums"
"""Folder of the coordinator's records, below that of a method's run."""

_MOST_IMAGES = 1_000_000


def threshold_of(federation: FederationConfig, clients: int) -> int:
    """Return the threshold: the configured one, or the smallest that withstands a third of the clients colluding."""
    return federation.secure_threshold or smallest_threshold(clients, clients // 3)


def largest_count_of(federation: FederationConfig) -> int:
    """Return the largest count of one client; 1 where every client counts once."""
    return 1 if federation.weights == "equal" else federation.largest_count


def clip_norm_of(federation: FederationConfig) -> float | None:
    """Return the norm to which every client clips its change before it is summed; None for no limit."""
    return federation.clip_norm if federation.aggregation == "norm-clipped" else None


def check_secure_sum(config: ExperimentConfig, name: str, method: Method, participants: int) -> None:
    """Raise :class:`FedfrError` naming the setting with which a method cannot use a secure sum."""
    from fedfr.privacy.secure_sum import library  # noqa: F401 - raises if a package is missing

    federation = config.federation
    where = f"federation.secure = sum, {name}"
    if method.reveals_identities:
        raise FedfrError(
            f"{where}: the method sends each client's private prototypes to the server; choose another one"
        )
    if federation.updates != "full":
        raise FedfrError(
            f"{where}: federation.updates = {federation.updates}, but sums of integers of 32 bits need full updates"
        )
    _check_rule(config, name, where)
    private = is_private(config, name)
    if config.deployment.report != "none" and not private:
        raise FedfrError(
            f"{where}: deployment.report = {config.deployment.report} lets each site send its own losses or counts, of "
            "which the server is to learn the sum only; choose none"
        )
    if largest_count_of(federation) > _MOST_IMAGES and not private:
        raise FedfrError(
            f"{where}: federation.largest_count = {federation.largest_count} makes the steps of the sum too coarse; "
            f"set it to the number of images of the largest client, at most {_MOST_IMAGES}"
        )
    needed = max(FEWEST_SITES, threshold_of(federation, participants))
    drawn = sample_size(participants, federation.participation)
    if drawn < needed:
        raise FedfrError(
            f"{where}: {drawn} of {participants} clients take part in a round, and a sum needs {needed}; use more "
            "clients, a larger federation.participation, or a smaller federation.secure_threshold"
        )
    check_threshold(threshold_of(federation, participants), participants)


def _check_rule(config: ExperimentConfig, name: str, where: str) -> None:
    """Raise :class:`FedfrError` for a rule of aggregation for which sums are not enough."""
    federation = config.federation
    this = f"{where}: federation.aggregation = {federation.aggregation}"
    if federation.aggregation not in ("mean", "norm-clipped"):
        raise FedfrError(
            f"{this} needs each client's update, which the server does not see; use mean, or norm-clipped with "
            "federation.clip_norm"
        )
    if federation.aggregation == "norm-clipped" and federation.clip_norm is None:
        raise FedfrError(
            f"{this} without federation.clip_norm clips to the median of the clients' norms, which nobody knows; set "
            "federation.clip_norm"
        )
    if federation.aggregation == "norm-clipped" and is_private(config, name):
        raise FedfrError(
            f"{this}, but privacy.dp = {config.privacy.dp} clips the change of each person already; use mean"
        )


def uses_secure_sum(run: MethodRun) -> bool:
    """Return whether the clients of a method's run withhold their updates."""
    return run.components.config.federation.secure == "sum" and run.participants != [POOLED]


def describe_secure_sum(run: MethodRun) -> list[str]:
    """Return what is learned by whom under the secure sums of a method's run; nothing if it uses none."""
    if not uses_secure_sum(run) or not run.total_rounds:
        return []
    clients, config = run.participants, run.components.config
    # The sentences depend on the numbers alone, and keys are created only when the run begins.
    keys = {client: place.to_bytes(32, "big") for place, client in enumerate(clients)}
    agreement = SumAgreement("run", keys, threshold_of(config.federation, len(clients)))
    return describe_collusion(agreement, noised=is_private(config, run.name))


def agreement_of(run: MethodRun) -> SumAgreement:
    """Return the agreement of a method's run on this machine; creates the identity keys that are missing."""
    # Needs the extra privacy.
    from fedfr.engines.local_secure_sum import local_agreement

    clients = run.participants
    threshold = threshold_of(run.components.config.federation, len(clients))
    return local_agreement(run.folder / "clients", clients, threshold)


def secure_engine(run: MethodRun, engine: LocalEngine, tap: Tap | None) -> LocalEngine | LocalSumEngine:
    """Return the engine of a method's run: ``engine`` itself if it uses no secure sum."""
    if not uses_secure_sum(run):
        return engine
    from fedfr.engines.local_secure_sum import LocalSumEngine

    config, backbone = run.components.config, run.components.new_backbone()
    plan = person_plan(config, run.method, len(run.participants)) if is_private(config, run.name) else None
    terms = sum_terms(agreement_of(run), run.method, config.federation, backbone, plan)
    return LocalSumEngine(engine, run.folder / "clients", run.folder / RECORDS, terms, tap=tap)


def sum_terms(
    agreement: SumAgreement,
    method: Method,
    federation: FederationConfig,
    backbone: nn.Module,
    plan: PersonPlan | None = None,
) -> SumTerms:
    """Return what the secure sums of a method's run hold.

    ``backbone``: one of the run, with any weights. ``plan``: that of the noise, if the clients share it.
    """
    from fedfr.engines.sum_terms import PersonTerms, UpdateTerms

    entries, batchnorm = backbone.state_dict(), batchnorm_entries(backbone)

    def expected(broadcast: Broadcast) -> Mapping[str, torch.Tensor]:
        shared = shared_entries(method, entries, batchnorm, federation, broadcast.round)
        found = {name: value for name, value in broadcast.weights.items() if name in shared}
        if shared and method.uses_public_prototypes and federation.prototypes == "share":
            found[PROTOTYPES] = broadcast.prototypes
        return found

    if plan is not None:
        return PersonTerms(agreement, expected, plan.mechanism, plan.people_at_site, trained_names(backbone))
    statistics, largest = batchnorm_statistics(backbone), largest_count_of(federation)
    return UpdateTerms(agreement, expected, statistics, largest, clip_norm_of(federation))
