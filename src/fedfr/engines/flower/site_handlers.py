"""Message handlers of a site, which reply with a failure instead of raising.

Flower would send an exception's text to the server, and it may contain a path or a person's name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from flwr.app import Message

from fedfr.engines.flower.wire import read_broadcast, read_hello_request, reply_records
from fedfr.federation.client import Client
from fedfr.federation.engine import failure_of
from fedfr.federation.messages import Failure, Hello, Update

__all__ = ["SiteHandler", "answer_hello", "answer_train"]

# The site's own log; it stays on the site's machine.
_log = logging.getLogger("fedfr.client")


@dataclass(frozen=True)
class SiteHandler:
    """Parts of a site that answer messages; ``make_client`` is a context that holds the client while it trains."""

    client: str
    agreement: str
    hello: Callable[[], Hello]
    make_client: Callable[[], AbstractContextManager[Client]]


def answer_hello(request: Message, open_site: Callable[[], SiteHandler]) -> Message:
    """Reply with the site's client id and fingerprints, or with the shareable reason why it cannot take part."""

    def answer(site: SiteHandler) -> Hello:
        agreement = read_hello_request(request.content)
        hello = site.hello()
        if agreement != hello.agreement:
            text = (
                f"{site.client}: not taking part: the run has agreement {agreement[:12]}, this site has "
                f"{hello.agreement[:12]}; put the run's file in place of this site's, see `agreement` in site.yaml"
            )
            _log.error("%s", text, extra={"shareable": text})
        return hello

    return _answer(request, open_site, answer)


def answer_train(request: Message, open_site: Callable[[], SiteHandler]) -> Message:
    """Run the client's part of a round; its private state is saved before the reply is sent."""

    def answer(site: SiteHandler) -> Update:
        broadcast = read_broadcast(request.content, site.agreement)
        _log.info("training", extra={"round": broadcast.round})
        with site.make_client() as client:
            update = client.update(broadcast)
        _log.info("trained on %d images", update.count, extra={"round": broadcast.round})
        return update

    return _answer(request, open_site, answer)


def _answer(
    request: Message, open_site: Callable[[], SiteHandler], answer: Callable[[SiteHandler], Update | Hello]
) -> Message:
    reply: Update | Hello | Failure
    client = ""
    try:
        site = open_site()
        client = site.client
        reply = answer(site)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - the text of any error stays at the site
        reply = failure_of(client, error)
    return Message(reply_records(reply), reply_to=request)
