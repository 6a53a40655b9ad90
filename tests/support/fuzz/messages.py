"""Rounds in which most clients reply with damaged bytes, from Flower's records to the server's refusal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from tests.support.fuzz.mutator import NUMBERS, Mutator
from tests.support.grid import Answers, FakeGrid, Node, says

from fedfr.config.schema import DeploymentConfig, FederationConfig
from fedfr.core.errors import FedfrError
from fedfr.engines.flower.grid_engine import FlowerEngine
from fedfr.engines.flower.wire import largest_reply, read_reply
from fedfr.federation.journal import Journal
from fedfr.federation.messages import Broadcast, Failure, Hello, Update, encode
from fedfr.federation.method import GenericModel
from fedfr.federation.server import Server
from fedfr.federation.update_format import compress
from fedfr.methods.fedface import FedFace

__all__ = ["START", "Round", "damaged", "header_of", "joined", "messages"]

AGREEMENT = "a" * 64
START = GenericModel({"w": torch.ones(1500), "b": torch.ones(3), "steps": torch.tensor(4)}, torch.ones(2, 4))
# With all metrics, which are checked only where they are not dropped.
WAITS = DeploymentConfig(join=1000, hello=10, deadline=50, poll=1, report="all")


def header_of(data: bytes) -> tuple[bytes, bytes]:
    """Header and tensors of a message."""
    end = 8 + int.from_bytes(data[:8], "little")
    return data[8:end], data[end:]


def joined(header: bytes, body: bytes) -> bytes:
    """The message again."""
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + body


def damaged(mutator: Mutator, data: bytes, others: Sequence[bytes]) -> bytes:
    """A message with damage to its bytes, to its header, to the scalars in it, or to a tensor's description."""
    random = mutator.random
    header, body = header_of(data)
    kind = random.randrange(6)
    if kind == 0:
        return mutator.raw(data, others)
    if kind == 1:
        return joined(mutator.tokens(header), body)
    texts = json.loads(header)
    if kind in (2, 3):
        scalars = mutator.tokens(texts["__metadata__"]["fedfr"].encode())
        texts["__metadata__"]["fedfr"] = scalars.decode(errors="surrogateescape")
        return joined(json.dumps(texts).encode(), body)
    names = [name for name in texts if name != "__metadata__"]
    if kind == 4 and names:
        entry = texts[random.choice(names)]
        field = random.choice(["dtype", "shape", "data_offsets"])
        sides = [random.choice([*NUMBERS, -1, True, 1.0, None, "1", [1]]) for _ in range(random.randrange(4))]
        entry[field] = random.choice(["F32", "F64", "BOOL", "X"]) if field == "dtype" else sides
        return joined(json.dumps(texts).encode(), body)
    floats = bytearray(body)
    for _ in range(3):
        if len(floats) >= 4:
            at = random.randrange(len(floats) // 4) * 4
            floats[at : at + 4] = random.choice(
                [b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\xff\xff\x7f\x7f", b"\x01\0\0\0"]
            )
    return joined(header, bytes(floats))


def _records(data: bytes) -> RecordDict:
    array = Array(dtype="uint8", shape=(len(data),), stype="fedfr.safetensors", data=data)
    head = ConfigRecord({"format": 1, "kind": "reply"})
    return RecordDict({"fedfr": head, "message": ArrayRecord({"message": array})})


class _Grid(FakeGrid):
    """By message id, for hundreds of nodes; each fiftieth answers late, so that what comes next waits on disk."""

    late = 0
    found: dict[str, Message] = {}  # noqa: RUF012 - replaced, never changed

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        if self.waiting:
            self.found, self.waiting = {message_id: reply for _, message_id, reply in self.waiting}, []
        self.late += 1
        return [self.found.pop(each) for each in message_ids if each in self.found and self.late % 50]


class _Direct:
    """The answers without Flower's transport, read as its engine reads them: ten times as many in the same time."""

    def __init__(self, answer: Callable[[str], bytes]) -> None:
        self._answer = answer

    def exchange(
        self,
        broadcast: Broadcast,
        clients: Sequence[str],
        identities: Mapping[str, torch.Tensor],
        accepted: Mapping[str, int],
    ) -> Iterator[Update | Failure]:
        """One reply per client; each five hundredth comes after its neighbour."""
        order = list(clients)
        for at in range(0, len(order) - 1, 500):
            order[at], order[at + 1] = order[at + 1], order[at]
        most = largest_reply(broadcast, 100)
        for client in order:
            try:
                yield read_reply(_records(self._answer(client)), client, most)
            except FedfrError as error:
                yield Failure(client, str(error))


class _Everything(FedFace):
    """A method whose updates have every field."""

    uses_public_prototypes = True


class Round:
    """A federation in which every client but the first answers each round with what ``answers`` holds.

    ``refused``: by client, why.
    """

    def __init__(self, folder: Path, answers: Sequence[bytes], updates: str = "full", *, direct: bool = False) -> None:
        self.clients = ["honest", *(f"client-{number:05d}" for number in range(len(answers)))]
        self.answers = dict(zip(self.clients[1:], answers, strict=True))
        self.refused: dict[str, str] = {}
        self.accepted: set[str] = set()
        self.updates = updates
        grid = _Grid({number: self._node(client) for number, client in enumerate(self.clients, 1)})
        self.notes: list[str] = []
        flower = FlowerEngine(
            grid, self.clients, AGREEMENT, "", WAITS, reveals_identities=True, log=self.notes.append, clock=grid.clock
        )
        settings = {"rounds": 1, "quorum": 1e-6, "updates": updates, "prototypes": "share"}
        federation = FederationConfig.model_validate(settings)
        self.server = Server(
            _Everything({}),
            _Direct(self._answer) if direct else flower,
            Journal(folder / "rounds"),
            federation,
            self.clients,
            lambda number: frozenset(START.weights),
            seed=0,
            on_event=self._event,
        )

    @staticmethod
    def update(client: str, updates: str = "full") -> Update:
        """An honest answer."""
        sent = Broadcast(1, START.weights, START.prototypes)
        weights = {"w": START.weights["w"] + 0.01, "b": START.weights["b"] * 1.5, "steps": torch.tensor(5)}
        metrics = {"loss/total": 0.5, "epochs": 2.0, "seconds": 1.25, "peak_rss_bytes": 4096.0}
        made = Update(1, client, weights, torch.full((2, 4), 1.25), 7, metrics, torch.eye(2, 4))
        return compress(made, sent, updates, {}).update

    def _node(self, client: str) -> Node:
        def train(message: Message) -> Answers:
            return [(1.0, _records(self._answer(client)))]

        return Node(says(Hello(client, AGREEMENT, "", "1")), train)

    def _answer(self, client: str) -> bytes:
        return self.answers[client] if client in self.answers else encode(self.update(client, self.updates))

    def _event(self, event: object) -> None:
        assert isinstance(event, dict)
        if event["event"] == "refused":
            assert event["client"] not in self.refused
            self.refused[event["client"]] = event["reason"]
        if event["event"] == "update":
            self.accepted.add(event["client"])

    def run(self) -> GenericModel:
        """The model after the round."""
        made = self.server.run(START)
        assert not self.refused.keys() & self.accepted
        assert self.refused.keys() | self.accepted == set(self.clients)
        return made


def messages(updates: str, client: str = "client-00000") -> list[bytes]:
    """Return complete messages of every kind, to be damaged."""
    own = Round.update(client, updates)
    broadcast = Broadcast(1, START.weights, START.prototypes, torch.eye(2, 4))
    return [
        encode(each) for each in (own, own, own, Failure(client, "no power"), Hello(client, "a", "", "1"), broadcast)
    ]
