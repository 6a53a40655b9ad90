"""Run of one method inside an experiment: rounds, private states of clients, events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from fedfr.config.schema import ExperimentConfig
from fedfr.core.errors import FedfrError, WriteError
from fedfr.engines.local import LocalEngine, Tap
from fedfr.experiments.client_factory import ClientFactory
from fedfr.experiments.components import RunComponents
from fedfr.experiments.events import Events
from fedfr.experiments.from_config import generic_contract, make_method
from fedfr.experiments.person_privacy import describe_person_privacy, is_private
from fedfr.experiments.registration import check_portable
from fedfr.experiments.secure_sums import agreement_of, describe_secure_sum, secure_engine, uses_secure_sum
from fedfr.federation.engine import Engine
from fedfr.federation.journal import Journal
from fedfr.federation.method import GenericModel, Method, shared_entries
from fedfr.federation.private_state import PrivateState
from fedfr.federation.private_store import PERSONAL_MODEL, PrivateStore
from fedfr.federation.server import Server
from fedfr.models import Personalized, embedding_space, load_weights, save_model
from fedfr.models.model_parts import PERSONALIZED
from fedfr.reporting.progress import Progress, Silent
from fedfr.training.batchnorm import batchnorm_entries, batchnorm_statistics

if TYPE_CHECKING:
    from fedfr.engines.local_secure_sum import LocalSumEngine

__all__ = [
    "EngineFactory",
    "MethodRun",
    "client_factory",
    "clients_engine",
    "local_engine",
    "personalized_of",
    "save_personalized",
]

EngineFactory = Callable[["MethodRun"], AbstractContextManager[Engine]]
"""Returns a context manager for the engine that connects a method run to its clients."""


def personalized_of(method: Method, state: PrivateState, backbone: nn.Module, device: torch.device) -> Personalized:
    """Return a client's personalized model from its private state, ready for evaluation; loads into ``backbone``."""
    load_weights(backbone, state.personal_backbone or state.backbone)
    dfc = method.personal_modules(state)
    return Personalized(backbone, None if dfc is None else dfc.transform.to(device)).eval()


def save_personalized(path: Path, model: Personalized, config: ExperimentConfig) -> None:
    """Write a personalized model with its contract and an embedding space of its own."""
    tensors = model.tensors()
    save_model(path, tensors, generic_contract(config, embedding_space(tensors), PERSONALIZED))


class MethodRun:
    """Run of one method in ``folder``: ``rounds/``, ``clients/``, ``metrics.jsonl``."""

    def __init__(self, components: RunComponents, method_name: str, folder: Path) -> None:
        self.components = components
        self.name = method_name
        self.folder = folder
        self.method = make_method(components.config, method_name)
        self.journal = Journal(folder / "rounds", components.config.federation.keep_rounds)

    def __repr__(self) -> str:
        return f"MethodRun({self.name}, {self.total_rounds} rounds)"

    @property
    def total_rounds(self) -> int:
        """Number of rounds of this method."""
        return self.method.rounds(self.components.config.federation.rounds)

    @property
    def model_count(self) -> int:
        """Number of evaluated models: the generic model and the clients' own ones, where the method has them."""
        own = [self.method.personal_model, self.method.lone_model]
        each = len({name for name in own if name is not None})
        return each * len(self.components.split.clients) + (self.method.generic_model is not None)

    @property
    def participants(self) -> list[str]:
        """Sorted ids of the participating clients."""
        return sorted(self.method.participants(self.components.split))

    def run(
        self,
        start: GenericModel,
        *,
        progress: Progress | None = None,
        engine: EngineFactory | None = None,
        on_round: Callable[[int, GenericModel], Mapping[str, Any]] = lambda round_number, generic: {},
    ) -> GenericModel:
        """Run or resume from ``start``, or from the checkpoint as it is where the method starts from that.

        Returns the last generic model, which is the same to the bit after interruptions.
        ``engine`` connects the clients, which are on this machine by default.
        """
        config, reporter = self.components.config, progress or Silent()
        participants = self.participants
        steps = self.total_rounds * len(participants)
        done = self.journal.latest()
        events = Events.of_rounds(self.folder / "metrics.jsonl", done.round if done else 0)
        finished = (done.round if done else 0) * len(participants)

        def on_event(event: Mapping[str, Any]) -> None:
            nonlocal finished
            events.append({"method": self.name, **event})
            reporter.event({"seed": config.seed, "method": self.name, **event})
            if event["event"] in ("update", "refused"):
                finished += 1
                detail = f"round {event['round']}/{self.total_rounds}"
                if "loss/total" in event:
                    detail += f", loss {event['loss/total']:.3f}"
                reporter.update(self.name, finished, max(finished, steps), detail, "client updates")
            if event["event"] == "refused":
                reporter.note(f"refused: {event['reason']}")
            if event["event"] == "lost":
                reporter.note(f"round {event['round']} leaves the model unchanged: {event['reason']}")

        backbone = self.components.new_backbone()
        entries, batchnorm = backbone.state_dict(), batchnorm_entries(backbone)

        def shared(number: int) -> frozenset[str]:
            return shared_entries(self.method, entries, batchnorm, config.federation, number)

        for line in [*describe_person_privacy(self), *describe_secure_sum(self)]:
            reporter.note(line)
        if finished < steps:
            reporter.update(self.name, finished, steps, unit="client updates")
        with (engine or local_engine)(self) as connected:
            server = Server(
                self.method,
                connected,
                self.journal,
                config.federation,
                participants,
                shared,
                config.seed,
                batchnorm_statistics(backbone),
                on_event,
                on_round,
            )
            if self.method.starts_untrained and done is None:
                start = self.components.untrained_model()
            return server.run(start)

    def store(self, client: str) -> PrivateStore:
        """Return a client's private store."""
        return PrivateStore(self.folder / "clients" / client, client)

    def erase_departed(self, note: Callable[[str], None]) -> None:
        """Erase identities that left a client from its private states, and report their number to ``note``.

        All states of a client that is no longer in the split are erased. Finished methods keep states as well, so this
        does not wait for the next round. The caller must hold the run's lock.
        """
        faces, split = self.components.faces, self.components.split
        participants = self.method.participants(split)
        places = self.folder / "clients"
        for place in sorted(places.iterdir()) if places.is_dir() else ():
            client = place.name
            if client not in participants:
                if self.store(client).erase():
                    note(f"{self.name}: {client} is no longer in the split; its private states were erased")
            elif len(participants[client]):
                exported = (place / PERSONAL_MODEL).exists()
                try:
                    departed = self.store(client).erase_departed(faces.identities_of(participants[client]))
                except WriteError:
                    raise
                except FedfrError as error:
                    # It concerns this client only, which fails for the same reason in the next round.
                    note(f"{self.name}: {client}: {error}")
                    continue
                if departed:
                    note(f"{self.name}: {departed} identities left {client} and were erased from its private states")
                if exported and not (place / PERSONAL_MODEL).exists():
                    self.export_personal(client)

    def generic_module(self, generic: GenericModel) -> nn.Module:
        """Return the generic backbone, ready for evaluation."""
        backbone = self.components.new_backbone()
        load_weights(backbone, generic.weights)
        return backbone.eval()

    def personal_module(self, client: str) -> tuple[int, Personalized] | None:
        """Return the client's personalized model and its round; None if the client never took part."""
        state = self.store(client).latest()
        if state is None:
            return None
        return state.round, personalized_of(
            self.method, state, self.components.new_backbone(), self.components.compute.device
        )

    def export_personal(self, client: str) -> Path | None:
        """Write ``clients/<id>/personal.safetensors`` with its contract; returns None if there is no model."""
        found = self.personal_module(client)
        if found is None:
            return None
        _, module = found
        path = self.folder / "clients" / client / PERSONAL_MODEL
        save_personalized(path, module, self.components.config)
        return path


def local_engine(method_run: MethodRun, tap: Tap | None = None) -> LocalEngine | LocalSumEngine:
    """Return an engine with all clients of the method run on this machine; ``tap`` receives every message."""
    return secure_engine(method_run, clients_engine(method_run, tap), tap)


def clients_engine(method_run: MethodRun, tap: Tap | None = None) -> LocalEngine:
    """Return the engine that trains all clients on this machine, without the secure sum of what they withhold."""
    components, runtime = method_run.components, method_run.components.config.runtime
    away = [client for client, faces in components.split.clients.items() if faces.elsewhere]
    if away and method_run.total_rounds:
        raise FedfrError(
            f"the faces of {', '.join(away[:3])} are not on this machine; run the experiment with its sites, "
            "or give a split with their images"
        )
    if runtime.workers > 1:
        check_portable(components.config)
    return LocalEngine(client_factory(method_run), workers=runtime.workers, threads=runtime.threads, tap=tap)


def client_factory(method_run: MethodRun) -> ClientFactory:
    """Return the factory of the clients of a method's run on this machine."""
    components, withholds = method_run.components, uses_secure_sum(method_run)
    shares_noise = withholds and is_private(components.config, method_run.name)
    return ClientFactory(
        components.config,
        method_run.name,
        components.faces_folder,
        components.folder / "split.json",
        method_run.folder / "clients",
        components.features_folder,
        withholds,
        agreement_of(method_run).digest if shares_noise else b"",
    )
