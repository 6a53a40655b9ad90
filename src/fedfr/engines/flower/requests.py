"""Request/reply over a Flower Grid, correlated by message id."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import httpx
from flwr.app import Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from fedfr.core.errors import FedfrError
from fedfr.engines.flower.chunk_limits import limit_chunks

__all__ = ["Clock", "LostReply", "NodeRequest", "NodeRequests"]

# Seconds after the deadline in which a late reply is still fetched, to discard it.
LATE_REPLY_TIMEOUT = 60.0
# Replace Flower's error texts, which may come from a site and contain paths.
REASONS = {
    ErrorCode.LOAD_CLIENT_APP_EXCEPTION: "its node could not start fedfr; see its own log",
    ErrorCode.CLIENT_APP_RAISED_EXCEPTION: "its node stopped with an error; see its own log",
    ErrorCode.MESSAGE_UNAVAILABLE: "the message to it was lost, or its reply was incomplete or too large",
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE: "its reply was lost",
    ErrorCode.NODE_UNAVAILABLE: "its node disconnected",
    ErrorCode.INVALID_FAB: "its node refused the run's bundle",
    ErrorCode.CLIENT_APP_CRASHED: "its process died; see its own log",
}


class Clock(Protocol):
    """Clock with monotonic time and sleep; tests supply their own."""

    def monotonic(self) -> float:
        """Return the monotonic time in seconds."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Wait for ``seconds``."""
        ...


@dataclass(frozen=True)
class NodeRequest:
    """Request to one node."""

    node: int
    kind: str
    content: RecordDict


@dataclass(frozen=True)
class LostReply:
    """Reason why a request has no reply; ``late``: none arrived before the deadline."""

    reason: str
    late: bool = False


class NodeRequests:
    """Sends requests over a Flower Grid and collects the replies.

    ``log`` receives a line for every discarded reply. ``pause``: seconds between two polls.
    """

    def __init__(self, grid: Grid, log: Callable[[str], None], *, pause: float = 1.0, clock: Clock = time) -> None:
        self.grid = grid
        self.clock = clock
        self._log = log
        self.pause = pause
        self._overdue: dict[str, tuple[str, float, int]] = {}

    def nodes(self) -> set[int]:
        """Return the connected nodes; raises :class:`FedfrError` when the SuperLink does not answer."""
        with _reachable():
            return set(self.grid.get_node_ids())

    def ask(
        self, requests: Mapping[str, NodeRequest], seconds: float, occasion: str, max_bytes: int
    ) -> Iterator[tuple[str, RecordDict | LostReply]]:
        """Send all requests and yield exactly one reply per name, in the order of arrival.

        A request without a reply within ``seconds``, or with one of more than about ``max_bytes`` bytes, gives a
        :class:`LostReply`. ``occasion`` names the requests in log lines. Only one reply is held in memory at a time.
        Raises :class:`FedfrError` if the SuperLink does not answer.
        """
        self._discard_late_replies()
        waiting = self.send(requests, seconds + LATE_REPLY_TIMEOUT, occasion)
        reached = set(waiting.values())
        for name in requests:
            if name not in reached:
                yield name, LostReply("the request could not be sent to its node")
        deadline = self.clock.monotonic() + seconds
        last = False
        try:
            while waiting:
                any_reply = False
                for answer in self.collect(waiting, deadline, max_bytes, occasion):
                    any_reply = True
                    yield answer
                    del answer
                if last:
                    break
                # One last poll: a reply that arrived by the deadline counts, even if others took time to read.
                last = self.clock.monotonic() >= deadline
                if waiting and not any_reply and not last:
                    self.clock.sleep(min(self.pause, deadline - self.clock.monotonic()))
            for message_id in list(waiting):
                name = waiting[message_id]
                self._give_up(message_id, name, occasion, max_bytes)
                del waiting[message_id]
                yield name, LostReply(f"no reply within {seconds:g} s", late=True)
        finally:
            for message_id, name in waiting.items():
                self._give_up(message_id, name, occasion, max_bytes)

    def ask_repeatedly(
        self,
        names: Collection[str],
        requests: Callable[[Collection[str]], Mapping[str, NodeRequest]],
        seconds: float,
        pause: float,
        occasion: str,
        max_bytes: int,
        is_busy: Callable[[RecordDict], bool],
    ) -> Iterator[tuple[str, RecordDict | LostReply]]:
        """Send requests that may be answered twice, and yield one reply per name, in the order of arrival.

        ``requests``: returns a request for each of the given names that can be reached now. Names without a reply are
        asked again after ``pause`` seconds, then after twice that, and so on, because a node that was killed does not
        answer what it had received. The first reply of each counts, unless ``is_busy`` says that the node still works
        on an earlier request. Otherwise as :meth:`ask`.
        """
        self._discard_late_replies()
        awaited, waiting, lost = {*names}, dict[str, str](), dict[str, LostReply]()
        again = self.clock.monotonic()
        deadline = again + seconds
        try:
            while awaited:
                last = self.clock.monotonic() >= deadline
                if not last and self.clock.monotonic() >= again:
                    waiting |= self.send(requests(sorted(awaited)), seconds + LATE_REPLY_TIMEOUT, occasion)
                    again, pause = self.clock.monotonic() + pause, 2 * pause
                for name, answer in self.collect(waiting, deadline, max_bytes, occasion):
                    if name not in awaited:
                        continue
                    if isinstance(answer, LostReply):
                        lost[name] = answer
                        continue
                    if is_busy(answer):
                        lost.pop(name, None)
                        continue
                    awaited.discard(name)
                    yield name, answer
                    del answer
                if last:
                    break
                if awaited:
                    self.clock.sleep(min(self.pause, max(deadline - self.clock.monotonic(), 0.01)))
            for name in sorted(awaited):
                yield name, lost.get(name, LostReply(f"no reply within {seconds:g} s", late=True))
        finally:
            for message_id, name in waiting.items():
                self._give_up(message_id, name, occasion, max_bytes)

    def collect(
        self, waiting: dict[str, str], deadline: float, max_bytes: int, occasion: str
    ) -> Iterator[tuple[str, RecordDict | LostReply]]:
        """Yield the replies available now and remove their messages from ``waiting``.

        ``waiting`` maps message ids to the names that are yielded. One reply is held at a time.
        """
        for message_id in list(waiting):
            replies = self._fetch(message_id, max(deadline - self.clock.monotonic(), 0.0), max_bytes)
            if replies is None:
                yield waiting.pop(message_id), LostReply("its reply cannot be read")
            for reply in replies or ():
                name = waiting.pop(reply.metadata.reply_to_message_id, None)
                if name is None:
                    self._log(f"an unexpected reply was discarded ({occasion})")
                    continue
                yield name, _content(reply)
                del reply
            del replies

    def send(self, requests: Mapping[str, NodeRequest], seconds: float, occasion: str) -> dict[str, str]:
        """Send requests, which the SuperLink keeps for ``seconds``; return the names by message id of those sent."""
        messages = [
            Message(request.content, request.node, request.kind, ttl=seconds, group_id=occasion)
            for request in requests.values()
        ]
        if not messages:
            return {}
        with _reachable():
            sent = list(self.grid.push_messages(messages))
        return {message_id: name for message_id, name in zip(sent, requests, strict=False) if message_id}

    def _fetch(self, message_id: str, seconds: float, max_bytes: int) -> list[Message] | None:
        """Return the replies to one message so far; None when Flower cannot decode one.

        Waits up to ``seconds`` for an incomplete reply, and reads at most about ``max_bytes`` bytes of it.
        """
        try:
            # One at a time: for several messages Flower would load the models of all clients into memory.
            with _reachable(), limit_chunks(seconds, max_bytes):
                return list(self.grid.pull_messages([message_id]))
        except FedfrError:
            raise
        except Exception as error:  # noqa: BLE001 - one site's invalid bytes must not end the run of the others
            self._log(f"a reply that is not a Flower message was discarded ({type(error).__name__})")
            return None

    def _give_up(self, message_id: str, name: str, occasion: str, max_bytes: int) -> None:
        self._overdue[message_id] = f"{name} ({occasion})", self.clock.monotonic() + LATE_REPLY_TIMEOUT, max_bytes

    def _discard_late_replies(self) -> None:
        for message_id, (what, until, max_bytes) in list(self._overdue.items()):
            # Fetching it makes Flower delete it.
            if self._fetch(message_id, 0.0, max_bytes) != []:
                self._log(f"a late reply was discarded: {what}")
                del self._overdue[message_id]
            elif self.clock.monotonic() > until:
                del self._overdue[message_id]


def _content(reply: Message) -> RecordDict | LostReply:
    if reply.has_error():
        return LostReply(REASONS.get(reply.error.code, f"Flower reported error {reply.error.code}"))
    return reply.content


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise FedfrError(
            f"the SuperLink does not answer ({type(error).__name__}); start it and resume with a new run over "
            "the same folder"
        ) from error
