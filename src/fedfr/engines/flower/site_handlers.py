"""A site's half of the conversation: a message in, a message out, and never an error of Python's.

Flower would send an exception's text to the server; it may hold a path or a person's name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from flwr.app import Message

from fedfr.engines.flower.wire import read_broadcast, read_question, reply_records
from fedfr.federation.client import Client
from fedfr.federation.engine import failure_of
from fedfr.federation.messages import Failure, Hello, Update

__all__ = ["Work", "answer_hello", "answer_train"]

# What is said here stays on the site's machine.
_log = logging.getLogger("fedfr.client")


@dataclass(frozen=True)
class Work:
    """A site as far as messages concern it; ``make_client`` lends the client while it works."""

    client: str
    agreement: str
    hello: Callable[[], Hello]
    make_client: Callable[[], AbstractContextManager[Client]]


def answer_hello(question: Message, open_site: Callable[[], Work]) -> Message:
    """Who this site is, or that it cannot take part and, as far as may be told, why."""

    def answer(site: Work) -> Hello:
        read_question(question.content)
        return site.hello()

    return _answer(question, open_site, answer)


def answer_train(question: Message, open_site: Callable[[], Work]) -> Message:
    """The client's part of a round; its private state is on disk before the answer leaves."""

    def answer(site: Work) -> Update:
        broadcast = read_broadcast(question.content, site.agreement)
        _log.info("training", extra={"round": broadcast.round})
        with site.make_client() as client:
            update = client.update(broadcast)
        _log.info("trained on %d images", update.count, extra={"round": broadcast.round})
        return update

    return _answer(question, open_site, answer)


def _answer(question: Message, open_site: Callable[[], Work], answer: Callable[[Work], Update | Hello]) -> Message:
    reply: Update | Hello | Failure
    client = ""
    try:
        site = open_site()
        client = site.client
        reply = answer(site)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it is, its text stays here; libraries raise others, too
        reply = failure_of(client, error)
    return Message(reply_records(reply), reply_to=question)
