"""Checks of the connection between site and coordinator; each returns its finding or raises with the remedy."""

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
from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supercore.protobuf.client import ProtobufRequestContext
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from fedfr.core.errors import FedfrError
from fedfr.deployment.address import Address, is_local_address, listen_addresses
from fedfr.deployment.certificates import load_certificate, tls_context
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.routes import Route, certificate_error
from fedfr.deployment.secrets import load_key
from fedfr.deployment.site_config import SiteConfig
from fedfr.deployment.site_folder import KEY, ROOT

__all__ = ["check_connection", "check_registration", "check_served_certificate"]

REFUSALS: dict[int, str] = {
    HTTPStatus.PRECONDITION_FAILED: f"the coordinator does not know this site's key; send it {KEY}.pub to register",
    HTTPStatus.UNAUTHORIZED: "the coordinator rejects this site's key; compare the clocks, then the versions",
    HTTPStatus.BAD_GATEWAY: "the coordinator's SuperLink does not run; ask for `fedfr server check` there",
}
"""Meaning of the HTTP status with which the SuperLink answers a site's key."""


def check_connection(config: SiteConfig, root: Path) -> str:
    """Check that the server answers, that ``root`` verifies its certificate, and that both clocks agree."""
    if config.server is None:
        raise FedfrError("site.yaml names no server; give its host and port")
    route, trusted = Route.to(Address.parse(config.server)), tls_context(root)
    try:
        with route.client(trusted, 10) as client:
            sent = time.time()
            response = client.post("/")
    except httpx.HTTPError as error:
        if why := certificate_error(error):
            raise FedfrError(
                f"{config.server} has the wrong certificate ({why}); "
                "do not continue until the coordinator has explained it"
            ) from error
        raise FedfrError(
            f"{config.server} does not answer ({route.failure(error)}); check host, port and firewall"
        ) from error
    clocks = "the clocks agree"
    with suppress(TypeError, ValueError):
        clocks = _compare_clocks(sent, parsedate_to_datetime(response.headers["Date"]).timestamp())
    return f"{route} answers; its certificate is valid and {clocks}"


def _compare_clocks(sent: float, received: float) -> str:
    """Compare this machine's time of sending with the server's whole second of receipt; raises for a rejected one.

    The SuperLink accepts a request signed up to 5 s after or 305 s before its own time
    (``flwr.superlink.routers.fleet.node_auth.authenticate_node``).
    """
    offset = sent - received
    found = f"this machine's clock is about {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} the server's"
    if not -(TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE - 1) <= offset < SYSTEM_TIME_TOLERANCE:
        raise FedfrError(
            f"{found}, and the coordinator rejects requests signed more than {SYSTEM_TIME_TOLERANCE} s ahead or "
            f"{TIMESTAMP_TOLERANCE} s behind; set the clock (timedatectl set-ntp true)"
        )
    return "the clocks agree" if abs(offset) < SYSTEM_TIME_TOLERANCE else f"{found}, which is accepted"


def check_registration(config: SiteConfig, folder: Path) -> str:
    """Check that the site's key is registered at the SuperLink.

    Sends an activation request with the invalid heartbeat interval 0: the SuperLink checks the key first and then
    rejects the request (HTTP 400), so nothing is activated.
    """
    key, route = load_key(folder / KEY), Route.to(Address.parse(config.server or ""))
    request_body = ActivateNodeRequest(public_key=public_key_to_bytes(key.public_key()), heartbeat_interval=0)
    try:
        # Flower's own client would choose a proxy by itself.
        with route.client(tls_context(folder / ROOT), 10) as client:
            interceptor = NodeAuthHttpInterceptor(key, key.public_key())
            request = client.build_request(
                "POST",
                "/v1/fleet/activate-node",
                content=request_body.SerializeToString(deterministic=True),
                headers={"content-type": "application/protobuf", "accept": "application/protobuf"},
            )
            context = ProtobufRequestContext("/flwr.proto.Fleet/ActivateNode", request_body, request)
            status = interceptor.intercept(context, lambda given: client.send(given.request)).status_code
    except httpx.HTTPError as error:
        raise FedfrError(f"{route.address} does not answer ({route.failure(error)}); try again later") from error
    if status == HTTPStatus.BAD_REQUEST:
        return "the site's key is registered"
    raise FedfrError(REFUSALS.get(status, f"the coordinator answers with HTTP {status}; ask for its logs"))


def check_served_certificate(coordinator: Coordinator) -> str:
    """Check that nginx serves the certificate in the folder; it reads certificates only when it starts."""
    remedy = f"restart `fedfr server run {coordinator.folder}`"
    expected = load_certificate(coordinator.tls / "server.crt").public_bytes(Encoding.DER)
    local = [host for host in coordinator.config.hosts if is_local_address(host)]
    loopback = [{socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}[family] for family, _ in listen_addresses()]
    for host in dict.fromkeys([*loopback, *local]):
        address = Address(f"[{host}]" if ":" in host else host, coordinator.config.port)
        try:
            served = ssl.get_server_certificate((address.name, address.port), timeout=10)
        except OSError as error:
            raise FedfrError(f"no process answers at {address} ({error}); see its log, and {remedy}") from error
        if ssl.PEM_cert_to_DER_cert(served) != expected:
            raise FedfrError(f"the server uses a certificate other than {coordinator.tls / 'server.crt'}; {remedy}")
    return "the server uses this certificate"
