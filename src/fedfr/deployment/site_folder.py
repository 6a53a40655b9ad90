"""Creation of a site's folder: its key, and a commented ``site.yaml`` for its operator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from fedfr.core.client_ids import check_client_id
from fedfr.core.errors import FedfrError
from fedfr.core.files import empty_folder, write_atomically
from fedfr.deployment.address import Address
from fedfr.deployment.certificates import load_certificate
from fedfr.deployment.secrets import make_node_key, save_key

__all__ = ["KEY", "ROOT", "NewSite", "init_site"]

KEY, ROOT = "site.key", "ca.crt"

CONFIG = """\
# A site of a federation: one client, on this machine, with its own faces. `fedfr site check` shows what is missing.
# Paths are relative to this file.

# The client id of this site; the coordinator registers site.key.pub under it.
client: {client}

# The coordinator: host and port. Its certificate is checked against ca.crt beside this file.
server: {server}

# The agreement of this run: a file from the coordinator.
agreement: agreement.yaml

# This site's faces, a set made by `fedfr faces import`. They never leave this machine. The last images of each identity
# are kept from training for the site's own test: a share of them, or `test_count: 2`.
faces:
  path: {faces}
  test_share: 0.4

# The public faces from the coordinator, also a face set.
public: public

# Private states, kept between rounds and never sent. With them, the people enrolled here can be recognized.
private: private

# The port of 127.0.0.1 for this site's own processes: null for any free port, or a fixed number.
port: {port}

# Methods, backbones and losses of other packages that an agreement may name, such as [mypackage.module:MyMethod]: they
# are imported here, from what is installed on this machine. Read their code first. Nothing else is imported.
allow: []

# Computation on this machine: `threads` of the processor, or device: cuda.
runtime:
  threads: {threads}
"""


@dataclass(frozen=True)
class NewSite:
    """Created files, and the one to send to the coordinator."""

    config: Path
    public_key: Path


def init_site(
    folder: Path, client: str, server: str, authority: Path, faces: str, port: int | None, threads: int
) -> NewSite:
    """Write ``site.yaml``, ``site.key``, ``site.key.pub`` and ``ca.crt``.

    Raises :class:`FedfrError` when the folder holds something, for a server that is no host and port, a port that is
    none, and a certificate that is none; the folder is then as it was.
    """
    Address.parse(server)
    if port is not None and not 1 <= port <= 65535:
        raise FedfrError(f"port = {port}; give a whole number of at least 1 and at most 65535")
    check_client_id(client)
    existed = folder.exists()
    if existed and (not folder.is_dir() or any(folder.iterdir())):
        raise FedfrError(f"{folder} exists and is not an empty folder; choose another place for the site")
    load_certificate(authority)
    try:
        write_atomically(folder / ROOT, authority.read_bytes())
        save_key(folder / KEY, make_node_key())
        texts = {"client": _quoted(client), "server": _quoted(server), "faces": _quoted(faces)}
        write_atomically(folder / "site.yaml", CONFIG.format(**texts, port=port or "null", threads=threads).encode())
    except BaseException:
        empty_folder(folder, remove=not existed)
        raise
    return NewSite(folder / "site.yaml", folder / f"{KEY}.pub")


def _quoted(text: str) -> str:
    """Quote a text so that YAML reads it back unchanged, such as an id 007 or a path with a colon."""
    quoted: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=float("inf"))
    return quoted.strip()
