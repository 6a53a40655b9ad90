"""Flower ClientApp of a site; the node configuration holds the path of its ``site.yaml``."""

from __future__ import annotations

from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedfr.core.errors import FedfrError
from fedfr.deployment.logs import log_to, show_errors
from fedfr.deployment.site import Site
from fedfr.deployment.site_sums import member_of
from fedfr.engines.flower.site_handlers import SiteHandler, answer_hello, answer_stage, answer_train

__all__ = ["app"]

app = ClientApp()


@app.query("hello")
def hello(message: Message, context: Context) -> Message:
    """Answer the request for the site's client id."""
    return answer_hello(message, lambda: _open_site(context))


@app.train()
def train(message: Message, context: Context) -> Message:
    """Run the site's part of a round."""
    return answer_train(message, lambda: _open_site(context))


@app.query("stage")
def stage(message: Message, context: Context) -> Message:
    """Answer a stage of a secure sum."""
    return answer_stage(message, lambda: _open_site(context))


def _open_site(context: Context) -> SiteHandler:
    show_errors()
    path = context.node_config.get("site")
    if not isinstance(path, str):
        raise FedfrError("the SuperNode has no path of a site.yaml; start it with --node-config 'site=\"…/site.yaml\"'")
    log_to(Path(path).parent)
    site = Site.open(path)
    log_to(Path(path).parent, client=site.config.client)
    agreement = site.agreement
    sums = member_of(site, Path(path).parent)
    return SiteHandler(
        site.config.client,
        agreement.fingerprint,
        agreement.report,
        site.method.rounds(agreement.rounds),
        site.hello,
        site.client,
        sums,
    )
