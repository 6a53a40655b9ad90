"""Environment, command lines and control of Flower's processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fedfr.core.errors import FedfrError
from fedfr.core.files import write_atomically
from fedfr.core.operating_system import require_linux
from fedfr.core.telemetry import disable_telemetry
from fedfr.core.threads import let_threads_sleep
from fedfr.deployment.address import Address
from fedfr.deployment.bundle import RUN, write_bundle
from fedfr.deployment.routes import without_proxies

__all__ = ["ControlClient", "FlowerRunStatus", "environment", "superlink_command", "supernode_command"]

CONNECTION = "fedfr"
COMMAND_TIMEOUT = 300.0
"""Time limit in seconds for a Flower command."""


def environment(
    home: Path,
    runs: Path | None = None,
    nodes: Path | None = None,
    programs: Path | None = None,
    track: Sequence[str] = (),
    proxies: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return this process's environment plus Flower's settings: its own folder, and telemetry disabled.

    ``home``: folder for Flower's files. ``proxies``: proxy variables of :mod:`fedfr.deployment.routes`; without them
    the process connects to all hosts directly. For a SuperLink, ``runs`` is the folder of the experiments that it may
    run, ``nodes`` the file with the client of each node, and ``track`` the trackers that receive the metrics. For a
    SuperNode, ``programs`` is the folder of :mod:`fedfr.deployment.site_programs`.
    """
    # Flower starts its own programs by name; find those of this Python first.
    first = [*([] if programs is None else [str(programs)]), str(Path(sys.executable).parent)]
    variables = {
        **without_proxies(os.environ),
        **(proxies or {}),
        "PATH": os.pathsep.join([*first, os.environ.get("PATH", os.defpath)]),
        "FLWR_HOME": str(home),
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        # Otherwise Flower would install packages for every run.
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        **({} if runs is None else {"FEDFR_RUNS": str(runs)}),
        **({} if nodes is None else {"FEDFR_NODES": str(nodes)}),
        **({"FEDFR_TRACK": ",".join(track)} if track else {}),
    }
    let_threads_sleep(variables)
    disable_telemetry(variables)
    return variables


def superlink_command(address: Address, tls: Path | None = None) -> list[str]:
    """Return the command of a SuperLink; with certificates in ``tls`` it uses TLS and accepts only registered keys.

    Without certificates there is no encryption and no authentication: for use on one machine only.
    """
    where = ["--host", address.name, "--port", str(address.port)]
    if tls is None:
        return [_program("flower-superlink"), "--insecure", *where]
    files = {"--ssl-ca-certfile": "ca.crt", "--ssl-certfile": "server.crt", "--ssl-keyfile": "server.key"}
    certificates = [part for option, name in files.items() for part in (option, str(tls / name))]
    return [_program("flower-superlink"), "--enable-supernode-auth", *certificates, *where]


def supernode_command(
    link: Address, site: Path, own: Address, root: Path | None = None, key: Path | None = None
) -> list[str]:
    """Return the command of a site's SuperNode.

    ``link``: address of the SuperLink. ``site``: path of ``site.yaml``. ``own``: local address for the SuperNode's
    processes. ``root``: certificate of the authority that verifies the server; None disables encryption. ``key``: the
    site's private key.
    """
    trust = ["--insecure"] if root is None else ["--root-certificates", str(root)]
    identity = [] if key is None else ["--auth-supernode-private-key", str(key)]
    return [
        _program("flower-supernode"),
        *trust,
        *identity,
        "--superlink",
        str(link),
        "--host",
        own.name,
        "--port",
        str(own.port),
        "--node-config",
        f"site={_toml(str(site))}",
    ]


@dataclass(frozen=True)
class FlowerRunStatus:
    """Status of a Flower run as Flower reports it, such as ``running`` or ``finished:failed``, and its details."""

    status: str
    details: str

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self.status.startswith("finished")


class ControlClient:
    """Client of a SuperLink's control API, through Flower's command line.

    ``link``: address of the SuperLink. ``home``: folder for the connection settings. ``root``: certificate of the
    authority that verifies the SuperLink; None disables encryption.
    """

    def __init__(self, link: Address, home: Path, root: Path | None = None) -> None:
        self.link = link
        self.home = home.resolve()
        self.root = None if root is None else root.resolve()

    def register(self, client: str, key: Path) -> int:
        """Register a node's public key; return its node id. Raises :class:`FedfrError` if it is rejected."""
        reply = self.flwr("supernode", "register", str(key.resolve()), CONNECTION, "--name", client)
        return int(self._id_in(reply, "node-id"))

    def unregister(self, node: int) -> None:
        """Unregister a node; the SuperLink accepts its key again only after a restart."""
        self.flwr("supernode", "unregister", str(node), CONNECTION)

    def submit(self, run: str) -> str:
        """Start a Flower run for the experiment ``run`` below the SuperLink's ``FEDFR_RUNS``; return Flower's id.

        Raises :class:`FedfrError` if the SuperLink does not accept it.
        """
        bundle = write_bundle(self.home / "bundle")
        reply = self.flwr("run", str(bundle), CONNECTION, "--run-config", f"{RUN}={_toml(run)}")
        return self._id_in(reply, "run-id")

    def stop(self, run_id: str) -> None:
        """Stop an active run; raises :class:`FedfrError` if the SuperLink does not know it."""
        self.flwr("stop", run_id, CONNECTION)

    def _id_in(self, reply: Mapping[str, Any], name: str) -> str:
        found = str(reply.get(name, ""))
        if not found.isdecimal():
            raise FedfrError(f"the SuperLink at {self.link} returned no {name}: {str(dict(reply))[:300]}")
        return found

    def state(self, run_id: str) -> FlowerRunStatus:
        """Return the status of a run; raises :class:`FedfrError` if the SuperLink does not know it."""
        (found,) = self.flwr("list", CONNECTION, "--run-id", run_id)["runs"]
        return FlowerRunStatus(str(found["status"]), str(found.get("status-details", found.get("details", ""))))

    def flwr(self, *arguments: str) -> Any:
        """Run a Flower command and return its JSON output; raises :class:`FedfrError` if it fails or times out."""
        trust = "insecure = true" if self.root is None else f"root-certificates = {_toml(str(self.root))}"
        text = f'[superlink.{CONNECTION}]\naddress = "{self.link}"\n{trust}\n'
        write_atomically(self.home / "config.toml", text.encode())
        command = [_program("flwr"), *arguments, "--format", "json"]
        try:
            done = subprocess.run(
                command,
                env=environment(self.home),
                # In a folder with a clone of fedfr, Flower would take the connection's name for that folder.
                cwd=self.home,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
                timeout=COMMAND_TIMEOUT,
            )
        except subprocess.TimeoutExpired as error:
            raise FedfrError(
                f"`flwr {arguments[0]}` did not finish within {COMMAND_TIMEOUT:g} s at the SuperLink {self.link}; "
                "see its log"
            ) from error
        try:
            reply = json.loads(done.stdout)
            if not reply["success"]:
                raise LookupError
        except (ValueError, LookupError, TypeError) as error:
            output = " ".join((done.stdout + done.stderr).split())[-300:]
            raise FedfrError(f"`flwr {arguments[0]}` failed at the SuperLink {self.link}: {output}") from error
        return reply


def _toml(text: str) -> str:
    r"""Quote a text as a TOML string; quotation marks inside become ``\u0022``.

    Flower ends a value on its command line at the next quotation mark, whether escaped or not.
    """
    return re.sub(
        r"\\(.)", lambda found: r"\u0022" if found[1] == '"' else found[0], json.dumps(text, ensure_ascii=False)
    )


def _program(name: str) -> str:
    """Return the path of a Flower program beside this Python; raises :class:`FedfrError` without the extra."""
    require_linux("a federation of several machines")
    if find_spec("flwr") is None:
        raise FedfrError("sites on other machines need Flower; pip install 'fedfr[flower]'")
    return str(Path(sys.executable).parent / name)
