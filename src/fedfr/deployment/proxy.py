"""nginx proxy in front of Flower's SuperLink, which requires a client certificate for the control API.

Flower's control API has no users: anyone who reaches it can submit code for every site. The SuperLink therefore listens
on 127.0.0.1 only. nginx forwards the requests of sites, and control requests of people with a certificate.
"""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA1

from fedfr.core.errors import FedfrError
from fedfr.deployment.address import listen_addresses
from fedfr.deployment.certificates import load_certificate

__all__ = ["LARGEST_REQUEST", "Proxy", "find_nginx"]

LARGEST_REQUEST = 16
"""Largest request in mebibytes: Flower sends models in chunks of 5 MiB, and bundles of up to 10 MB."""

SYSTEM_PROGRAMS = "/usr/local/sbin:/usr/sbin:/sbin"
"""Folders of programs that Debian does not put on the path of users."""

LISTEN = {socket.AF_INET: "{port} ssl", socket.AF_INET6: "[::]:{port} ssl ipv6only=on"}
TEMPLATE = """\
# Written by fedfr at every start of `fedfr server run`. Check: nginx -t -p {folder} -c {folder}/nginx.conf
daemon off;
{user}worker_processes 2;
pid {folder}/nginx.pid;
error_log stderr warn;

events {{
    worker_connections 1024;
}}

http {{
    # Successful requests of sites come every few seconds and are not logged.
    map "$status $uri" $log_request {{
        default 1;
        "~^2.. /v1/fleet/" 0;
    }}
    # People whose certificate is in the tls folder. Removing a certificate there revokes it.
    map $ssl_client_fingerprint $person {{
        default "";
{people}    }}
    log_format fedfr '$time_iso8601 $remote_addr "$ssl_client_s_dn" $request_method $uri $status $request_length';
    access_log /dev/stderr fedfr if=$log_request;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/answers;
    fastcgi_temp_path {folder}/unused;
    uwsgi_temp_path {folder}/unused;
    scgi_temp_path {folder}/unused;
    server_tokens off;

    # Larger requests are rejected by their header; idle connections are closed.
    client_max_body_size {largest}m;
    client_body_timeout 60s;
    client_header_timeout 20s;
    keepalive_timeout 75s;

    upstream superlink {{
        server 127.0.0.1:{superlink_port};
        keepalive 16;
    }}

    server {{
{listen}
        ssl_certificate {tls}/server.crt;
        ssl_certificate_key {tls}/server.key;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_client_certificate {tls}/ca.crt;
        ssl_verify_client optional;
        ssl_verify_depth 1;

        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_read_timeout 600s;
        # Models are not buffered on this disk.
        proxy_request_buffering off;
        proxy_buffering off;

        # The SuperLink accepts keys of sites only over TLS, so it has a certificate as well.
        proxy_ssl_verify on;
        proxy_ssl_trusted_certificate {tls}/ca.crt;
        proxy_ssl_name localhost;
        proxy_ssl_session_reuse on;

        # Sites; the SuperLink authenticates each by its key.
        location ~ ^/v1/fleet/[a-z-]+$ {{
            limit_except POST {{ deny all; }}
            proxy_pass https://superlink;
        }}

        # People with a certificate of this federation's authority.
        location ~ ^/v1/control/[a-z-]+$ {{
            if ($ssl_client_verify != SUCCESS) {{ return 403 "client certificate required\\n"; }}
            if ($person = "") {{ return 403 "certificate revoked\\n"; }}
            limit_except POST {{ deny all; }}
            proxy_pass https://superlink;
        }}

        # The public faces and the strangers, which sites download.
        location ~ ^/public/[0-9a-f]+/(pixels\\.npy|columns\\.dat|faces\\.json|digests\\.npy)$ {{
            limit_except GET {{ deny all; }}
            root {folder};
            sendfile on;
        }}

        # All other paths are for processes on this machine only.
        location / {{
            return 404;
        }}
    }}
}}
"""


def find_nginx() -> str | None:
    """Return the path of nginx, also in folders that are not on the path of users; None if it is not installed."""
    return shutil.which("nginx") or shutil.which("nginx", path=SYSTEM_PROGRAMS)


@dataclass(frozen=True)
class Proxy:
    """nginx with its files in ``folder``, and ``ca.crt``, ``server.crt`` and ``server.key`` in ``tls``.

    It listens at ``port`` on all IPv4 addresses and, if this machine has IPv6, on all IPv6 addresses.
    ``superlink_port``: port of the SuperLink on 127.0.0.1, which uses the same certificate; that must also be valid for
    ``localhost``. The configuration accepts the people whose certificate is in ``tls`` when it is written.
    """

    folder: Path
    tls: Path
    port: int
    superlink_port: int

    def configuration(self) -> str:
        """Return the text of ``nginx.conf``; raises :class:`FedfrError` for a path that nginx cannot parse."""
        paths = {"folder": self.folder.resolve(), "tls": self.tls.resolve()}
        for path in paths.values():
            if any(sign in str(path) for sign in " \t\n\"';{}$#\\"):
                raise FedfrError(f"nginx cannot use the path {path}; use one without spaces, quotes and braces")
        # As root, nginx would run its workers as a user who cannot read this folder.
        user = f"user {_owner(self.folder)};\n" if os.geteuid() == 0 else ""
        people = "".join(f'        "{fingerprint}" "{name}";\n' for name, fingerprint in self._people().items())
        listen = "\n".join(
            f"        listen {LISTEN[family].format(port=self.port)};" for family, _ in listen_addresses()
        )
        limits = {"superlink_port": self.superlink_port, "largest": LARGEST_REQUEST}
        return TEMPLATE.format(**paths, **limits, user=user, people=people, listen=listen)

    def _people(self) -> dict[str, str]:
        """Return the fingerprint of every operator certificate in ``tls``, by name."""
        found = {path.stem: path for path in sorted(self.tls.glob("*.crt")) if path.stem not in ("ca", "server")}
        # SHA-1 only distinguishes the authority's own certificates here; nginx verifies their signature.
        return {name: load_certificate(path).fingerprint(SHA1()).hex() for name, path in found.items()}


def _owner(folder: Path) -> str:
    """Return the user who owns a folder, or its nearest existing parent."""
    return next(path for path in (folder, *folder.resolve().parents) if path.exists()).owner()
