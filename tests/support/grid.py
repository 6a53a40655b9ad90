"""Simulated Grid: nodes that reply late, twice, wrongly or never, and a clock that advances only by waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from flwr.app import Error, Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedfr.engines.flower.wire import reply_records
from fedfr.federation.messages import Failure, Hello, Update

Answer = RecordDict | Error
Answers = Sequence[tuple[float, Answer]]
"""Replies to one message, each with its delay in seconds."""


@dataclass
class Clock:
    """Clock that advances only in ``sleep``."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        assert seconds > 0
        self.now += seconds


@dataclass
class Node:
    """Node whose functions ``hello`` and ``train`` reply to each kind of message."""

    hello: Callable[[Message], Answers]
    train: Callable[[Message], Answers] = lambda message: []
    asked: list[str] = field(default_factory=list)

    def answers(self, message: Message) -> Answers:
        self.asked.append(message.metadata.message_type)
        return (self.train if message.metadata.message_type == "train" else self.hello)(message)


def says(reply: Update | Failure | Hello, after: float = 1.0) -> Callable[[Message], Answers]:
    return lambda message: [(after, reply_records(reply))]


class FakeGrid(Grid):
    """Keeps replies under the id of their request until they are pulled, as the SuperLink does."""

    def __init__(self, nodes: dict[int, Node]) -> None:
        self.nodes = nodes
        self.clock = Clock()
        self.waiting: list[tuple[float, str, Message]] = []
        self.unsendable: set[int] = set()
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, SUPERLINK_NODE_ID, 1

    def set_run(self, run: Run) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Run:
        raise NotImplementedError

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return list(self.nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return [self._push(message) for message in messages]

    def _push(self, message: Message) -> str:
        node = message.metadata.dst_node_id
        if node in self.unsendable:
            return ""
        message.metadata.__dict__["_message_id"] = message.object_id
        for after, answer in self.nodes[node].answers(message) if node in self.nodes else ():
            # Flower's own reply, so that it names the message it answers as a real one does.
            if isinstance(answer, Error):
                reply = Message(answer, reply_to=message)
                reply.metadata.__dict__["_src_node_id"] = SUPERLINK_NODE_ID
            else:
                reply = Message(answer, reply_to=message)
            self.waiting.append((self.clock.now + after, message.metadata.message_id, reply))
        return message.metadata.message_id

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        wanted = set(message_ids)
        due = [entry for entry in self.waiting if entry[0] <= self.clock.now and entry[1] in wanted]
        self.waiting = [entry for entry in self.waiting if entry not in due]
        return [reply for _, _, reply in due]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise NotImplementedError
