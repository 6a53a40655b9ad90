"""Environment and command lines of Flower's processes."""

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

__all__ = ["Control", "RunState", "environment", "superlink", "supernode"]

CONNECTION = "fedfr"
ANSWER = 300.0
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

    ``proxies``: its proxy variables (:mod:`fedfr.deployment.routes`), without which it reaches everybody directly.

    For a SuperLink, ``runs`` is the folder of the experiments it may run, ``nodes`` the file that says which node is
    whose, ``track`` the trackers that hear of their numbers; for a SuperNode, ``programs`` are those of
    :mod:`fedfr.deployment.guard`.
    """
    # Flower starts its own programs by name; those of this Python are meant.
    first = [*([] if programs is None else [str(programs)]), str(Path(sys.executable).parent)]
    made = {
        **without_proxies(os.environ),
        **(proxies or {}),
        "PATH": os.pathsep.join([*first, os.environ.get("PATH", os.defpath)]),
        "FLWR_HOME": str(home),
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        # Else it would install packages for every run.
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        **({} if runs is None else {"FEDFR_RUNS": str(runs)}),
        **({} if nodes is None else {"FEDFR_NODES": str(nodes)}),
        **({"FEDFR_TRACK": ",".join(track)} if track else {}),
    }
    let_threads_sleep(made)
    disable_telemetry(made)
    return made


def superlink(address: Address, tls: Path | None = None) -> list[str]:
    """Return the command of a SuperLink; with certificates in ``tls`` it accepts only registered keys.

    Without them there is no encryption either: for this machine alone.
    """
    where = ["--host", address.name, "--port", str(address.port)]
    if tls is None:
        return [_program("flower-superlink"), "--insecure", *where]
    files = {"--ssl-ca-certfile": "ca.crt", "--ssl-certfile": "server.crt", "--ssl-keyfile": "server.key"}
    certificates = [part for option, name in files.items() for part in (option, str(tls / name))]
    return [_program("flower-superlink"), "--enable-supernode-auth", *certificates, *where]


def supernode(link: Address, site: Path, own: Address, root: Path | None = None, key: Path | None = None) -> list[str]:
    """Return the command of a site's SuperNode; ``own`` is its local address for its processes.

    ``root`` is the certificate of the authority that the server must have one of, ``key`` the site's private key.
    """
    trust = ["--insecure"] if root is None else ["--root-certificates", str(root)]
    who = [] if key is None else ["--auth-supernode-private-key", str(key)]
    return [
        _program("flower-supernode"),
        *trust,
        *who,
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
class RunState:
    """Status of a Flower run: Flower's text, such as ``running`` or ``finished:failed``, and the reason."""

    status: str
    details: str

    @property
    def over(self) -> bool:
        """Whether the run has ended."""
        return self.status.startswith("finished")


class Control:
    """Client for a SuperLink that starts runs; ``home`` is the folder for the connection settings of Flower's command.

    ``root``: the certificate of the authority that it must have one of; without it there is no encryption.
    """

    def __init__(self, link: Address, home: Path, root: Path | None = None) -> None:
        self.link = link
        self.home = home
        self.root = root

    def register(self, client: str, key: Path) -> int:
        """Register a node's public key; return its number. Raises :class:`FedfrError` when it is refused."""
        answer = self.flwr("supernode", "register", str(key), CONNECTION, "--name", client)
        return int(self._part(answer, "node-id"))

    def unregister(self, node: int) -> None:
        """Unregister a node; Flower accepts its key again only after a restart."""
        self.flwr("supernode", "unregister", str(node), CONNECTION)

    def submit(self, run: str) -> str:
        """Start a Flower run for the experiment ``run`` below the SuperLink's ``FEDFR_RUNS``; return Flower's id.

        Raises :class:`FedfrError` when the SuperLink does not take it.
        """
        bundle = write_bundle(self.home / "bundle")
        answer = self.flwr("run", str(bundle), CONNECTION, "--run-config", f"{RUN}={_toml(run)}")
        return self._part(answer, "run-id")

    def stop(self, run_id: str) -> None:
        """Stop an active run; raises :class:`FedfrError` when the SuperLink does not know it."""
        self.flwr("stop", run_id, CONNECTION)

    def _part(self, answer: Mapping[str, Any], name: str) -> str:
        found = str(answer.get(name, ""))
        if not found.isdecimal():
            raise FedfrError(f"the SuperLink at {self.link} gave no {name}: {str(dict(answer))[:300]}")
        return found

    def state(self, run_id: str) -> RunState:
        """Return the status of a run; raises :class:`FedfrError` when the SuperLink does not know it."""
        (found,) = self.flwr("list", CONNECTION, "--run-id", run_id)["runs"]
        return RunState(str(found["status"]), str(found.get("status-details", found.get("details", ""))))

    def flwr(self, *arguments: str) -> Any:
        """Run a Flower command and return its output; raises :class:`FedfrError` when there is none."""
        trust = "insecure = true" if self.root is None else f"root-certificates = {_toml(str(self.root))}"
        text = f'[superlink.{CONNECTION}]\naddress = "{self.link}"\n{trust}\n'
        write_atomically(self.home / "config.toml", text.encode())
        command = [_program("flwr"), *arguments, "--format", "json"]
        try:
            done = subprocess.run(
                command,
                env=environment(self.home),
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
                timeout=ANSWER,
            )
        except subprocess.TimeoutExpired as error:
            raise FedfrError(
                f"the SuperLink at {self.link} did not do `flwr {arguments[0]}` within {ANSWER:g} s; look at its log"
            ) from error
        try:
            answer = json.loads(done.stdout)
            if not answer["success"]:
                raise LookupError
        except (ValueError, LookupError, TypeError) as error:
            said = " ".join((done.stdout + done.stderr).split())[-300:]
            raise FedfrError(f"the SuperLink at {self.link} did not do `flwr {arguments[0]}`: {said}") from error
        return answer


def _toml(text: str) -> str:
    """Quote a text for TOML, as in JSON except for characters beyond U+FFFF, which are not escaped.

    Flower ends a value on its command line at the next quotation mark, escaped or not, so none may stand inside.
    """
    return re.sub(
        r"\\(.)", lambda found: r"\u0022" if found[1] == '"' else found[0], json.dumps(text, ensure_ascii=False)
    )


def _program(name: str) -> str:
    """Return the path of a Flower program beside this Python; raises :class:`FedfrError` without the extra."""
    require_linux("a federation of several machines")
    if find_spec("flwr") is None:
        raise FedfrError("clients on other machines need Flower; pip install 'fedfr[flower]'")
    return str(Path(sys.executable).parent / name)
