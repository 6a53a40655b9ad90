"""Creation of a site's folder: its key, and a commented ``site.yaml``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from fedfr.core.client_ids import check_client_id
from fedfr.core.errors import FedfrError
from fedfr.core.files import empty_folder, write_atomically
from fedfr.deployment.address import Address
from fedfr.deployment.certificates import load_certificate
from fedfr.deployment.secrets import load_key, make_node_key, public_line, save_key
from fedfr.deployment.sum_keys import make_sum_key

__all__ = ["KEY", "ROOT", "NewSite", "init_site", "write_public_keys"]

KEY, ROOT = "site.key", "ca.crt"

CONFIG = """\
# Configuration of a site: one client of a federation, with its own faces. `fedfr site check` shows what is missing.
# Paths are relative to this file.

# Client id of this site. The coordinator registers site.key.pub under this id.
client: {client}

# Host and port of the coordinator. Its certificate is verified with ca.crt beside this file.
server: {server}

# Agreement of the run, a file from the coordinator.
agreement: agreement.yaml

# Face set of this site, made by `fedfr faces import`. The faces never leave this machine. The last images of each
# identity are not trained on but kept for the site's own test: a share of them, or a number such as `test_count: 2`.
faces:
  path: {faces}
  test_share: 0.4

# Face set of the public faces, downloaded by `fedfr site fetch`.
public: public

# Face set of the strangers, if the agreement has any, downloaded by `fedfr site fetch`: people whom nobody trains on,
# to calibrate the galleries of this site with.
strangers: strangers

# Folder of private states, kept between rounds and never sent. They identify the people enrolled here.
private: private

# Port on 127.0.0.1 for this site's own processes; null chooses a free port at every start.
port: {port}

# Methods, backbones and losses of other packages that an agreement may name, such as [mypackage.module:MyMethod]. They
# are imported from the packages installed on this machine. Read their code before you allow them.
allow: []

# Galleries with this site's models; `fedfr gallery init DOOR --site SITE` adds its own. After a finished run,
# `fedfr site run` says which command rebuilds them for the new model (offer), or rebuilds them itself (automatic).
galleries: []
rebuild: offer

# Computation on this machine: number of CPU threads, or `device: cuda`.
runtime:
  threads: {threads}
"""


@dataclass(frozen=True)
class NewSite:
    """Files of a new site: its configuration, and the public keys to send to the coordinator."""

    config: Path
    public_key: Path


def init_site(
    folder: Path, client: str, server: str, authority: Path, faces: str, port: int | None, threads: int
) -> NewSite:
    """Create a site's folder with ``site.yaml``, ``site.key``, ``sum.key``, ``site.key.pub`` and ``ca.crt``.

    ``server``: host and port of the coordinator. ``authority``: its ``ca.crt``. ``port``: 1 to 65535, or None for any
    free port. Raises :class:`FedfrError` for a folder that is not empty and for an invalid client id, server, port or
    certificate; the folder is left unchanged then.
    """
    Address.parse(server)
    if port is not None and not 1 <= port <= 65535:
        raise FedfrError(f"port = {port}; give a whole number of at least 1 and at most 65535")
    check_client_id(client)
    existed = folder.exists()
    if existed and (not folder.is_dir() or any(folder.iterdir())):
        raise FedfrError(f"{folder} exists and is not an empty folder; choose another folder for the site")
    load_certificate(authority)
    try:
        write_atomically(folder / ROOT, authority.read_bytes())
        save_key(folder / KEY, make_node_key())
        write_public_keys(folder)
        texts = {"client": _quoted(client), "server": _quoted(server), "faces": _quoted(faces)}
        write_atomically(folder / "site.yaml", CONFIG.format(**texts, port=port or "null", threads=threads).encode())
    except BaseException:
        empty_folder(folder, remove=not existed)
        raise
    return NewSite(folder / "site.yaml", folder / f"{KEY}.pub")


def write_public_keys(folder: Path) -> list[str]:
    """Write ``site.key.pub`` with the public keys of the node and for secure sums, one a line; return the lines.

    The key for secure sums is created if the site has none.
    """
    lines = [public_line(load_key(folder / KEY)), make_sum_key(folder)]
    write_atomically(folder / f"{KEY}.pub", "".join(f"{line}\n" for line in lines).encode())
    return lines


def _quoted(text: str) -> str:
    """Quote a text so that YAML reads it back unchanged, such as an id 007 or a path with a colon."""
    quoted: str = yaml.safe_dump(text, default_style='"', allow_unicode=True, width=float("inf"))
    return quoted.strip()
