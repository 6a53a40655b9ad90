"""Flower's processes as fedfr starts them: their environment and command lines, nothing that anybody must remember."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from fedfr.deployment.bundle import RUN, write_bundle
from fedfr.errors import FedfrError
from fedfr.files import write_atomically

__all__ = ["Address", "environment", "submit", "superlink", "supernode"]

CONNECTION = "fedfr"


@dataclass(frozen=True)
class Address:
    """Where a process listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def environment(home: Path, runs: Path | None = None) -> dict[str, str]:
    """The environment of this process with what Flower needs: a folder of its own, and no calls to anywhere else.

    ``runs``: for a SuperLink, the folder of the experiments it may run.
    """
    return {
        **os.environ,
        # Flower starts its own programs by name; those of this Python are meant.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        # Else it would install packages for every run.
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        **({} if runs is None else {"FEDFR_RUNS": str(runs)}),
    }


def superlink(address: Address) -> list[str]:
    """The command of a SuperLink without encryption, for this machine alone."""
    return [_program("flower-superlink"), "--insecure", "--host", address.host, "--port", str(address.port)]


def supernode(link: Address, site: Path, own: Address) -> list[str]:
    """The command of a site's SuperNode; ``own`` is where its processes talk to it, on its own machine."""
    return [
        _program("flower-supernode"),
        "--insecure",
        "--superlink",
        str(link),
        "--host",
        own.host,
        "--port",
        str(own.port),
        "--node-config",
        f"site={json.dumps(str(site))}",
    ]


def submit(link: Address, run: str, home: Path) -> str:
    """Start a Flower run over the experiment ``run`` below the SuperLink's ``FEDFR_RUNS``; returns Flower's id for it.

    ``home`` is the folder where Flower's command keeps how to reach the SuperLink. Raises :class:`FedfrError` when the
    SuperLink does not take the run.
    """
    connection = {"address": str(link), "insecure": True}
    lines = [f"{name} = {json.dumps(value)}" for name, value in connection.items()]
    text = "\n".join([f"[superlink.{CONNECTION}]", *lines, ""])
    write_atomically(home / "config.toml", text.encode())
    bundle = write_bundle(home / "bundle")
    setting = f"{RUN}={json.dumps(run)}"
    command = [_program("flwr"), "run", str(bundle), CONNECTION, "--run-config", setting, "--format", "json"]
    done = subprocess.run(command, env=environment(home), capture_output=True, encoding="utf-8", check=False)
    try:
        return str(json.loads(done.stdout)["run-id"])
    except (ValueError, LookupError, TypeError) as error:
        said = " ".join((done.stdout + done.stderr).split())[-300:]
        raise FedfrError(f"the SuperLink at {link} did not take the run: {said}") from error


def _program(name: str) -> str:
    """A program that comes with Flower, beside this Python; raises :class:`FedfrError` without the extra."""
    if find_spec("flwr") is None:
        raise FedfrError("clients on other machines need Flower; pip install 'fedfr[flower]'")
    return str(Path(sys.executable).parent / name)
