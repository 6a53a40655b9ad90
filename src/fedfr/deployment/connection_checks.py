"""Checks of the connection between site and coordinator; each returns a finding or raises with the remedy."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.serialization import Encoding
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.protobuf.client import ProtobufRequestContext
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from fedfr.core.errors import FedfrError
from fedfr.deployment.address import Address, is_own, listening
from fedfr.deployment.certificates import load_certificate, trust_only
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.routes import Route, distrust
from fedfr.deployment.secrets import load_key
from fedfr.deployment.site import SiteConfig
from fedfr.deployment.site_folder import KEY, ROOT

__all__ = ["answering", "registered", "served"]

CLOCK = 60.0
"""Largest difference in seconds between the clocks of site and server; beyond it keys are refused."""

REFUSALS: dict[int, str] = {
    HTTPStatus.PRECONDITION_FAILED: f"the coordinator does not know this site's key; send it {KEY}.pub to register",
    HTTPStatus.UNAUTHORIZED: "the coordinator rejects this site's key; compare the clocks, then the versions",
    HTTPStatus.BAD_GATEWAY: "the coordinator's SuperLink does not run; ask for `fedfr server check` there",
}
"""Meaning of the SuperLink's answers to a site's key."""


def answering(config: SiteConfig, root: Path) -> str:
    """Check that the server answers, has the right certificate, and has the same time as this machine."""
    if config.server is None:
        raise FedfrError("site.yaml names no server; give its host and port")
    route, trusted = Route.to(Address.parse(config.server)), trust_only(root)
    try:
        with route.client(trusted, 10) as client:
            answer = client.post("/")
    except httpx.HTTPError as error:
        if why := distrust(error):
            raise FedfrError(
                f"{config.server} has the wrong certificate ({why}); "
                "do not continue before the coordinator has explained it"
            ) from error
        raise FedfrError(
            f"{config.server} does not answer ({route.failure(error)}); check host, port and firewall"
        ) from error
    with suppress(TypeError, ValueError):
        off = time.time() - parsedate_to_datetime(answer.headers["Date"]).timestamp()
        if abs(off) > CLOCK:
            raise FedfrError(
                f"this machine's clock is {off:+.0f} s off the server's; set it (timedatectl set-ntp true)"
            )
    return f"{route} answers, with the authority's certificate and the same time"


def registered(config: SiteConfig, folder: Path) -> str:
    """Check that the site's key is registered at the SuperLink.

    Asked to let the site in with no heartbeat at all, it looks for the key first and does nothing in any case.
    """
    key, route = load_key(folder / KEY), Route.to(Address.parse(config.server or ""))
    asked = ActivateNodeRequest(public_key=public_key_to_bytes(key.public_key()), heartbeat_interval=0)
    try:
        # Not by Flower's own client, which would look for a proxy by itself.
        with route.client(trust_only(folder / ROOT), 10) as client:
            signed = NodeAuthHttpInterceptor(key, key.public_key())
            request = client.build_request(
                "POST",
                "/v1/fleet/activate-node",
                content=asked.SerializeToString(deterministic=True),
                headers={"content-type": "application/protobuf", "accept": "application/protobuf"},
            )
            context = ProtobufRequestContext("/flwr.proto.Fleet/ActivateNode", asked, request)
            status = signed.intercept(context, lambda given: client.send(given.request)).status_code
    except httpx.HTTPError as error:
        raise FedfrError(f"{route.address} does not answer ({route.failure(error)}); check again in a while") from error
    if status == HTTPStatus.BAD_REQUEST:
        return "the site's key is registered"
    raise FedfrError(REFUSALS.get(status, f"the coordinator answers with HTTP {status}; ask for its logs"))


def served(coordinator: Coordinator) -> str:
    """Check that nginx uses the certificate in the folder; it reads certificates only when it starts."""
    again = f"restart `fedfr server run {coordinator.folder}`"
    lies = load_certificate(coordinator.tls / "server.crt").public_bytes(Encoding.DER)
    own = [host for host in coordinator.config.hosts if is_own(host)]
    heard = [{socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}[family] for family, _ in listening()]
    for host in dict.fromkeys([*heard, *own]):
        place = Address(f"[{host}]" if ":" in host else host, coordinator.config.port)
        try:
            shown = ssl.get_server_certificate((place.name, place.port), timeout=10)
        except OSError as error:
            raise FedfrError(f"no process answers at {place} ({error}); check its log, and {again}") from error
        if ssl.PEM_cert_to_DER_cert(shown) != lies:
            raise FedfrError(f"the server uses another certificate than {coordinator.tls / 'server.crt'}; {again}")
    return "the server uses this certificate"
