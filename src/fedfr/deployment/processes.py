"""Flower's processes as fedfr starts them: their environment and command lines, nothing that anybody must remember."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fedfr.deployment.bundle import RUN, write_bundle
from fedfr.errors import FedfrError
from fedfr.files import write_atomically

__all__ = ["Address", "environment", "register", "submit", "superlink", "supernode"]

CONNECTION = "fedfr"


@dataclass(frozen=True)
class Address:
    """Where a process listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def environment(
    home: Path, runs: Path | None = None, nodes: Path | None = None, programs: Path | None = None
) -> dict[str, str]:
    """The environment of this process with what Flower needs: a folder of its own, and no calls to anywhere else.

    For a SuperLink, ``runs`` is the folder of the experiments it may run and ``nodes`` the file that says which node is
    whose; for a SuperNode, ``programs`` are those of :mod:`fedfr.deployment.guard`.
    """
    # Flower starts its own programs by name; those of this Python are meant.
    first = [*([] if programs is None else [str(programs)]), str(Path(sys.executable).parent)]
    return {
        **os.environ,
        "PATH": os.pathsep.join([*first, os.environ.get("PATH", os.defpath)]),
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        # Else it would install packages for every run.
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        **({} if runs is None else {"FEDFR_RUNS": str(runs)}),
        **({} if nodes is None else {"FEDFR_NODES": str(nodes)}),
    }


def superlink(address: Address, tls: Path | None = None) -> list[str]:
    """The command of a SuperLink; with the certificates in ``tls`` it takes only nodes whose keys are registered.

    Without them there is no encryption either: for this machine alone.
    """
    where = ["--host", address.host, "--port", str(address.port)]
    if tls is None:
        return [_program("flower-superlink"), "--insecure", *where]
    files = {"--ssl-ca-certfile": "ca.crt", "--ssl-certfile": "server.crt", "--ssl-keyfile": "server.key"}
    certificates = [part for option, name in files.items() for part in (option, str(tls / name))]
    return [_program("flower-superlink"), "--enable-supernode-auth", *certificates, *where]


def supernode(
    link: Address, site: Path, own: Address, root: Path | None = None, key: Path | None = None
) -> list[str]:
    """The command of a site's SuperNode; ``own`` is where its processes talk to it, on its own machine.

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
        own.host,
        "--port",
        str(own.port),
        "--node-config",
        f"site={json.dumps(str(site))}",
    ]


def register(link: Address, client: str, key: Path, home: Path, root: Path) -> int:
    """Tell the SuperLink a site's public key; returns the number of the node that may come with it.

    Raises :class:`FedfrError` when the SuperLink does not take it.
    """
    return int(_ask(link, home, root, ["supernode", "register", str(key), CONNECTION, "--name", client])["node-id"])


def submit(link: Address, run: str, home: Path, root: Path | None = None) -> str:
    """Start a Flower run over the experiment ``run`` below the SuperLink's ``FEDFR_RUNS``; returns Flower's id for it.

    ``home`` is the folder where Flower's command keeps how to reach the SuperLink. Raises :class:`FedfrError` when the
    SuperLink does not take the run.
    """
    bundle = write_bundle(home / "bundle")
    setting = f"{RUN}={json.dumps(run)}"
    return str(_ask(link, home, root, ["run", str(bundle), CONNECTION, "--run-config", setting])["run-id"])


def _ask(link: Address, home: Path, root: Path | None, arguments: list[str]) -> dict[str, Any]:
    """What Flower's command answers in JSON."""
    trust: dict[str, object] = {"insecure": True} if root is None else {"root-certificates": str(root)}
    lines = [f"{name} = {json.dumps(value)}" for name, value in {"address": str(link), **trust}.items()]
    text = "\n".join([f"[superlink.{CONNECTION}]", *lines, ""])
    write_atomically(home / "config.toml", text.encode())
    command = [_program("flwr"), *arguments, "--format", "json"]
    done = subprocess.run(command, env=environment(home), capture_output=True, encoding="utf-8", check=False)
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
        if not answer["success"]:
            raise ValueError(answer)
    except (ValueError, LookupError, TypeError) as error:
        said = " ".join((done.stdout + done.stderr).split())[-300:]
        raise FedfrError(f"the SuperLink at {link} did not take `flwr {arguments[0]}`: {said}") from error
    return answer


def _program(name: str) -> str:
    """A program that comes with Flower, beside this Python; raises :class:`FedfrError` without the extra."""
    if find_spec("flwr") is None:
        raise FedfrError("clients on other machines need Flower; pip install 'fedfr[flower]'")
    return str(Path(sys.executable).parent / name)
