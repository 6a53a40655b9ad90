"""nginx proxy in front of Flower's SuperLink, which requires certificates of people who submit runs.

Flower's control API knows no users: whoever reaches it can make every site run code. So the SuperLink listens on this
machine alone, and nginx passes on what sites need, and the control API to people with a certificate.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA1

from fedfr.core.errors import FedfrError
from fedfr.deployment.address import listening
from fedfr.deployment.certificates import load_certificate

__all__ = ["LARGEST_PIECE", "Proxy"]

LARGEST_PIECE = 16
"""Largest request in mebibytes: Flower sends models in chunks of 5 MiB, and bundles of up to 10 MB."""

LISTEN = {socket.AF_INET: "{port} ssl", socket.AF_INET6: "[::]:{port} ssl ipv6only=on"}
TEMPLATE = """\
# Written by fedfr; `fedfr server init` makes it anew. Check: nginx -t -p {folder} -c {folder}/nginx.conf
daemon off;
{user}worker_processes 2;
pid {folder}/nginx.pid;
error_log stderr warn;

events {{
    worker_connections 1024;
}}

http {{
    # What is asked every few seconds and goes well is not worth a disk.
    map "$status $uri" $worth_a_line {{
        default 1;
        "~^2.. /v1/fleet/" 0;
    }}
    # Whose certificate still lies with the others; no other of the authority's is good for anything.
    map $ssl_client_fingerprint $person {{
        default "";
{people}    }}
    log_format fedfr '$time_iso8601 $remote_addr "$ssl_client_s_dn" $request_method $uri $status $request_length';
    access_log /dev/stderr fedfr if=$worth_a_line;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/answers;
    fastcgi_temp_path {folder}/unused;
    uwsgi_temp_path {folder}/unused;
    scgi_temp_path {folder}/unused;
    server_tokens off;

    # Whoever announces more is refused before a byte of it is read, and whoever says nothing is not waited for.
    client_max_body_size {largest}m;
    client_body_timeout 60s;
    client_header_timeout 20s;
    keepalive_timeout 75s;

    upstream superlink {{
        server 127.0.0.1:{behind};
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
        # Nothing of a model is put on this disk on its way.
        proxy_request_buffering off;
        proxy_buffering off;

        # The SuperLink has a certificate too: it takes no keys of sites without TLS.
        proxy_ssl_verify on;
        proxy_ssl_trusted_certificate {tls}/ca.crt;
        proxy_ssl_name localhost;
        proxy_ssl_session_reuse on;

        # Sites: the SuperLink knows each by its key.
        location ~ ^/v1/fleet/[a-z-]+$ {{
            limit_except POST {{ deny all; }}
            proxy_pass https://superlink;
        }}

        # People: only with a certificate of this federation's authority.
        location ~ ^/v1/control/[a-z-]+$ {{
            if ($ssl_client_verify != SUCCESS) {{ return 403 "a client certificate is needed here\\n"; }}
            if ($person = "") {{ return 403 "this certificate was taken back\\n"; }}
            limit_except POST {{ deny all; }}
            proxy_pass https://superlink;
        }}

        # The public faces, for sites that fetch them.
        location ~ ^/public/[0-9a-f]+/(pixels\\.npy|columns\\.dat|faces\\.json|digests\\.npy)$ {{
            limit_except GET {{ deny all; }}
            root {folder};
            sendfile on;
        }}

        # The rest is for processes on this machine.
        location / {{
            return 404;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Proxy:
    """nginx in ``folder``, on ``port``, with ``ca.crt``, ``server.crt`` and ``server.key`` in ``tls``.

    It listens for IPv4 and, where this machine has it, for IPv6.
    ``behind`` is the port of the SuperLink, which listens on 127.0.0.1 with the same certificate: it must be good for
    ``localhost``, too. Of people, those are let in whose certificate lies in ``tls`` when the configuration is made.
    """

    folder: Path
    tls: Path
    port: int
    behind: int

    def configuration(self) -> str:
        """Return the text of ``nginx.conf``; raises :class:`FedfrError` for a path that nginx cannot express."""
        places = {"folder": self.folder.resolve(), "tls": self.tls.resolve()}
        for place in places.values():
            if any(sign in str(place) for sign in " \t\n\"';{}$#\\"):
                raise FedfrError(f"nginx cannot be given the path {place}; use one without spaces, quotes and braces")
        # Root's workers would be a user who cannot read what root offers here; nobody should run this as root.
        user = f"user {_owner(self.folder)};\n" if os.geteuid() == 0 else ""
        people = "".join(f'        "{fingerprint}" "{name}";\n' for name, fingerprint in self._people().items())
        listen = "\n".join(f"        listen {LISTEN[family].format(port=self.port)};" for family, _ in listening())
        numbers = {"behind": self.behind, "largest": LARGEST_PIECE}
        return TEMPLATE.format(**places, **numbers, user=user, people=people, listen=listen)

    def _people(self) -> dict[str, str]:
        """Return the certificates of people in ``tls`` under their names in nginx."""
        found = {path.stem: path for path in sorted(self.tls.glob("*.crt")) if path.stem not in ("ca", "server")}
        # Not a secret and not a signature: which of the authority's certificates it is.
        return {name: load_certificate(path).fingerprint(SHA1()).hex() for name, path in found.items()}


def _owner(folder: Path) -> str:
    """Return the owner's name of a certificate file."""
    return next(place for place in (folder, *folder.resolve().parents) if place.exists()).owner()
