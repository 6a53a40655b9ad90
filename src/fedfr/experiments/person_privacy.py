"""Differential privacy for a person in a run: its plan, and the check before the run begins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from fedfr.config.schema import ExperimentConfig
from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet, Split
from fedfr.federation.method import Method, shared_entries
from fedfr.federation.server import sample_size
from fedfr.models import build_backbone
from fedfr.privacy.person_dp import (
    NoisedLayout,
    PersonPlan,
    PlanSettings,
    check_covered,
    honest_contributors,
    make_plan,
    open_ledger,
    sum_sites,
    trained_names,
)
from fedfr.training.batchnorm import batchnorm_entries

if TYPE_CHECKING:
    from fedfr.experiments.method_run import MethodRun

__all__ = [
    "LEDGERS",
    "accept_round",
    "check_noise",
    "check_person_privacy",
    "describe_person_privacy",
    "is_private",
    "person_plan",
    "plan_lines",
]

LEDGERS = "person-ledgers"
"""Folder of the clients' ledgers in that of a method's run, not below a client: it must not be removed with states."""


def is_private(config: ExperimentConfig, method_name: str) -> bool:
    """Return whether the clients of this method send noised sums over persons: only those of the main method."""
    return config.privacy.dp != "off" and method_name == config.method.name


def person_plan(config: ExperimentConfig, method: Method, clients: int) -> PersonPlan:
    """Return the plan of the main method's run with ``clients``; raises :class:`FedfrError` if it means little."""
    privacy = config.privacy
    if privacy.people is None:
        raise FedfrError(
            f"privacy.dp = {privacy.dp} needs privacy.people, the largest number of persons at a client; the exact "
            "number of each is private"
        )
    backbone = _backbone(config)
    sites = sample_size(clients, config.federation.participation)
    try:
        return make_plan(
            PlanSettings(
                people=sites * privacy.people,
                sites=sites,
                honest=_honest(config, clients),
                rounds=method.rounds(config.federation.rounds),
                values=sum(backbone.get_parameter(name).numel() for name in trained_names(backbone)),
                clip=privacy.clip,
                epsilon=privacy.epsilon,
                delta=privacy.delta,
                agreed=clients,
            )
        )
    except FedfrError as error:
        raise FedfrError(f"privacy.dp = {privacy.dp}: {error}") from error


def _honest(config: ExperimentConfig, clients: int) -> int:
    """Return how many clients have to keep their noise secret in every sum."""
    if config.privacy.dp == "site":
        # Every update has to be private by itself.
        return 1
    threshold = config.federation.secure_threshold
    return honest_contributors(*sum_sites(clients, threshold, config.privacy.colluding))


def describe_person_privacy(run: MethodRun) -> list[str]:
    """Return the plan of a method's run as lines; none if its clients send no noised sums."""
    config = run.components.config
    if not is_private(config, run.name):
        return []
    return plan_lines(person_plan(config, run.method, len(run.participants)))


def plan_lines(plan: PersonPlan) -> list[str]:
    """Return a plan as the lines that are shown before a run."""
    return [f"privacy: {line}" for line in plan.text().splitlines()]


def check_person_privacy(config: ExperimentConfig, method: Method, faces: FaceSet, split: Split) -> None:
    """Raise :class:`FedfrError` if differential privacy is set and the main method's run cannot have it."""
    if not is_private(config, config.method.name):
        return
    this = f"privacy.dp = {config.privacy.dp}"
    if set(method.participants(split)) != set(split.clients):
        raise FedfrError(_nothing_sent(config))
    most = check_noise(config, method, len(split.clients)).people_at_site
    for client, images in split.clients.items():
        enrolled = len({*faces.labels[list(images.train)].tolist()})
        if enrolled > most:
            raise FedfrError(f"{this}: {client} has {enrolled} persons, privacy.people is {most}; give a larger number")


def check_noise(config: ExperimentConfig, method: Method, clients: int) -> PersonPlan:
    """Return the plan; raises :class:`FedfrError` for settings with which a run of ``clients`` cannot have it."""
    this = f"privacy.dp = {config.privacy.dp}"
    if config.privacy.dp == "sum" and config.federation.secure != "sum":
        raise FedfrError(f"{this} shares the noise inside a secure sum; set federation.secure=sum, or privacy.dp=site")
    if config.privacy.dp == "site" and config.federation.secure != "off":
        raise FedfrError(
            f"{this} is for updates that are sent by themselves; with federation.secure = "
            f"{config.federation.secure} set privacy.dp=sum, which needs less noise"
        )
    rounds = method.rounds(config.federation.rounds)
    backbone = _backbone(config)
    sent = shared_entries(method, backbone.state_dict(), batchnorm_entries(backbone), config.federation, 1)
    if not rounds or not sent:
        raise FedfrError(_nothing_sent(config))
    check_covered(method, config.federation.updates, this)
    plan = person_plan(config, method, clients)
    if config.privacy.dp == "sum":
        # That of every round: what does not fit is refused before a site trains and charges its ledger.
        NoisedLayout(plan.mechanism, clients, plan.people_at_site)
    return plan


def _nothing_sent(config: ExperimentConfig) -> str:
    clients = f"the clients of {config.method.name}"
    return f"privacy.dp = {config.privacy.dp}: {clients} send nothing; choose a federated method"


def accept_round(config: ExperimentConfig, folder: Path, round_number: int) -> None:
    """Erase the seeds of the noise in a round of the main method, whose run is in ``folder``."""
    for ledger in sorted((folder / LEDGERS).iterdir()) if (folder / LEDGERS).is_dir() else ():
        with open_ledger(ledger, epsilon=config.privacy.epsilon, delta=config.privacy.delta) as opened:
            opened.accept(config.method.name, round_number)


def _backbone(config: ExperimentConfig) -> nn.Module:
    """Return the backbone without values."""
    with torch.device("meta"):
        return build_backbone(config.model.backbone, 0)
