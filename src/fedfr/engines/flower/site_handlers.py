"""Message handlers of a site, which reply with a failure instead of raising.

Flower would send an exception's text to the server, and it may contain a path or a person's name.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from flwr.app import Message, RecordDict

from fedfr.config.schema import Report
from fedfr.core.errors import FedfrError
from fedfr.engines.flower.sum_member import SumBusyError, SumMember
from fedfr.engines.flower.wire import (
    busy_records,
    read_broadcast,
    read_hello_request,
    read_stage,
    reply_records,
    stage_reply_records,
)
from fedfr.federation.client import Client
from fedfr.federation.engine import failure_of
from fedfr.federation.messages import Hello, reported

__all__ = ["SiteHandler", "answer_hello", "answer_stage", "answer_train"]

# The site's own log; it stays on the site's machine.
_log = logging.getLogger("fedfr.client")


@dataclass(frozen=True)
class SiteHandler:
    """Parts of a site that answer messages.

    ``report``: the metrics that leave the site; all of them are in its own log. ``rounds``: number of the last round
    under the agreement. ``make_client`` is a context that holds the client while it trains. ``sums``: the site's part
    in secure sums, None if the agreement has none.
    """

    client: str
    agreement: str
    report: Report
    rounds: int
    hello: Callable[[], Hello]
    make_client: Callable[[], AbstractContextManager[Client]]
    sums: SumMember | None = None


def answer_hello(request: Message, open_site: Callable[[], SiteHandler]) -> Message:
    """Reply with the site's client id and fingerprints, or with the shareable reason why it cannot take part."""

    def answer(site: SiteHandler) -> RecordDict:
        agreement = read_hello_request(request.content)
        hello = site.hello()
        if agreement != hello.agreement:
            text = (
                f"{site.client}: not taking part: the run has agreement {agreement[:12]}, this site has "
                f"{hello.agreement[:12]}; put the run's file in place of this site's, see `agreement` in site.yaml"
            )
            _log.error("%s", text, extra={"shareable": text})
        return reply_records(hello)

    return _answer(request, open_site, answer)


def answer_train(request: Message, open_site: Callable[[], SiteHandler]) -> Message:
    """Run the client's part of a round; its private state is saved before the reply is sent.

    Under secure sums, the update stays at the site. A round beyond the agreed ones is refused: with every round
    the server learns more.
    """

    def answer(site: SiteHandler) -> RecordDict:
        broadcast = read_broadcast(request.content, site.agreement)
        if broadcast.round > site.rounds:
            text = (
                f"{site.client} refuses to train for round {broadcast.round}: the agreement ends with round "
                f"{site.rounds}; for more rounds, agree on another run"
            )
            raise FedfrError(text, shareable=text)
        _log.info("training", extra={"round": broadcast.round})
        if site.sums is not None:
            update = site.sums.train(broadcast)
        else:
            with site.make_client() as client:
                update = client.update(broadcast)
        metrics = ", ".join(f"{name} {value:.6g}" for name, value in update.metrics.items())
        _log.info("trained: %s", metrics, extra={"round": broadcast.round})
        return reply_records(reported(update, site.report))

    return _answer(request, open_site, answer)


def answer_stage(request: Message, open_site: Callable[[], SiteHandler]) -> Message:
    """Run the site's part of a stage of a secure sum; its record is written before the reply is sent."""

    def answer(site: SiteHandler) -> RecordDict:
        stage, content = read_stage(request.content, site.agreement)
        if site.sums is None:
            text = "the agreement has no secure sums"
            raise FedfrError(text, shareable=text)
        reply = stage_reply_records(site.sums.answer(stage, content))
        _log.info("secure sum: stage %s answered", stage)
        return reply

    return _answer(request, open_site, answer)


def _answer(
    request: Message, open_site: Callable[[], SiteHandler], answer: Callable[[SiteHandler], RecordDict]
) -> Message:
    client = ""
    try:
        site = open_site()
        client = site.client
        reply = answer(site)
    except (KeyboardInterrupt, SystemExit):
        raise
    except SumBusyError as error:
        _log.info("%s: %s", client, error)
        reply = busy_records()
    except BaseException as error:  # noqa: BLE001 - the text of any error stays at the site
        reply = reply_records(failure_of(client, error))
    return Message(reply, reply_to=request)
