"""Questions to nodes and their answers, each matched to the question it answers, never to who seems to have sent it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import httpx
from flwr.app import Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from fedfr.core.errors import FedfrError
from fedfr.engines.flower.chunk_limits import within

__all__ = ["Clock", "LostReply", "NodeRequest", "NodeRequests"]

# Past this a reply that came too late is no longer waited for, even to be thrown away.
GRACE = 60.0
# An error of Flower's has a text that may be a site's own, with paths in it; a line of ours stands for it.
REASONS = {
    ErrorCode.LOAD_CLIENT_APP_EXCEPTION: "its node could not start fedfr; its own log says why",
    ErrorCode.CLIENT_APP_RAISED_EXCEPTION: "its node stopped; its own log says why",
    ErrorCode.MESSAGE_UNAVAILABLE: "the message to it was lost, or its answer broke off or was too large",
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE: "its answer was lost on the way",
    ErrorCode.NODE_UNAVAILABLE: "its node was lost",
    ErrorCode.INVALID_FAB: "its node refused the run's bundle",
    ErrorCode.CLIENT_APP_CRASHED: "its process died; its own log says why",
}


class Clock(Protocol):
    """What tells the time and waits; tests bring their own."""

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def sleep(self, seconds: float, /) -> None:
        """Wait."""
        ...


@dataclass(frozen=True)
class NodeRequest:
    """One question: to which node, of which kind, with what."""

    node: int
    kind: str
    content: RecordDict


@dataclass(frozen=True)
class LostReply:
    """Why a question has no answer; ``late``: none has come so far."""

    reason: str
    late: bool = False


class NodeRequests:
    """Sends questions over a Flower Grid and gathers what is answered to each.

    ``note`` is told of every answer that nobody waits for any more. ``pause``: seconds between two looks.
    """

    def __init__(self, grid: Grid, note: Callable[[str], None], *, pause: float = 1.0, clock: Clock = time) -> None:
        self.grid = grid
        self.clock = clock
        self._note = note
        self.pause = pause
        self._overdue: dict[str, tuple[str, float, int]] = {}

    def nodes(self) -> set[int]:
        """The nodes that are connected; raises :class:`FedfrError` when the SuperLink does not answer."""
        with _reachable():
            return set(self.grid.get_node_ids())

    def ask(
        self, letters: Mapping[str, NodeRequest], seconds: float, about: str, most: int
    ) -> Iterator[tuple[str, RecordDict | LostReply]]:
        """Ask all at once and yield what each name's question is answered, exactly once each, as it arrives.

        Whoever has not answered after ``seconds``, or with more than about ``most`` bytes, is :class:`LostReply`.
        ``about`` names the occasion in notes. One answer is held at a time. Raises :class:`FedfrError` when the
        SuperLink does not answer.
        """
        self._throw_away_late_answers()
        waiting = self.send(letters, seconds + GRACE, about)
        reached = set(waiting.values())
        for name in letters:
            if name not in reached:
                yield name, LostReply("nothing could be sent to its node")
        ends = self.clock.monotonic() + seconds
        last = False
        try:
            while waiting:
                found = False
                for answer in self.collect(waiting, ends, most, about):
                    found = True
                    yield answer
                    del answer
                if last:
                    break
                # Whoever has answered by the deadline counts, though another's answer may have come in until then.
                last = self.clock.monotonic() >= ends
                if waiting and not found and not last:
                    self.clock.sleep(min(self.pause, ends - self.clock.monotonic()))
            for message_id in list(waiting):
                name = waiting[message_id]
                self._give_up(message_id, name, about, most)
                del waiting[message_id]
                yield name, LostReply(f"no answer within {seconds:g} s", late=True)
        finally:
            for message_id, name in waiting.items():
                self._give_up(message_id, name, about, most)

    def collect(
        self, waiting: dict[str, str], ends: float, most: int, about: str
    ) -> Iterator[tuple[str, RecordDict | LostReply]]:
        """What has come by now for any of the messages in ``waiting``, each of which is taken out there.

        By message id, ``waiting`` has the name that is yielded. One answer is held at a time.
        """
        for message_id in list(waiting):
            replies = self._fetch(message_id, max(ends - self.clock.monotonic(), 0.0), most)
            if replies is None:
                yield waiting.pop(message_id), LostReply("its answer cannot be read")
            for reply in replies or ():
                asked = waiting.pop(reply.metadata.reply_to_message_id, None)
                if asked is None:
                    self._note(f"an answer that nobody waits for was dropped ({about})")
                    continue
                yield asked, _content(reply)
                del reply
            del replies

    def send(self, letters: Mapping[str, NodeRequest], seconds: float, about: str) -> dict[str, str]:
        """By message id, the names of those to whom something went; the SuperLink keeps it for so many seconds."""
        messages = [
            Message(letter.content, letter.node, letter.kind, ttl=seconds, group_id=about)
            for letter in letters.values()
        ]
        if not messages:
            return {}
        with _reachable():
            sent = list(self.grid.push_messages(messages))
        return {message_id: name for message_id, name in zip(sent, letters, strict=False) if message_id}

    def _fetch(self, message_id: str, seconds: float, most: int) -> list[Message] | None:
        """What answers this message so far; None when something does that Flower cannot put together.

        An answer of which not everything is there yet is waited for, but not longer than ``seconds``; no more than
        ``most`` bytes of it are taken.
        """
        try:
            # One at a time: asked for all at once, Flower would bring the models of all clients into memory.
            with _reachable(), within(seconds, most):
                return list(self.grid.pull_messages([message_id]))
        except FedfrError:
            raise
        except Exception as error:  # noqa: BLE001 - one site's strange bytes must not end the run of the others
            self._note(f"an answer that is no message of Flower's was dropped ({type(error).__name__})")
            return None

    def _give_up(self, message_id: str, name: str, about: str, most: int) -> None:
        self._overdue[message_id] = f"{name} ({about})", self.clock.monotonic() + GRACE, most

    def _throw_away_late_answers(self) -> None:
        for message_id, (what, until, most) in list(self._overdue.items()):
            # Fetched, for only then Flower forgets it, too.
            if self._fetch(message_id, 0.0, most) != []:
                self._note(f"an answer that came too late was dropped: {what}")
                del self._overdue[message_id]
            elif self.clock.monotonic() > until:
                del self._overdue[message_id]


def _content(reply: Message) -> RecordDict | LostReply:
    if reply.has_error():
        return LostReply(REASONS.get(reply.error.code, f"Flower answered with its error {reply.error.code}"))
    return reply.content


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise FedfrError(
            f"the SuperLink does not answer ({type(error).__name__}); start it and go on with a new run over the "
            "same folder"
        ) from error
