"""Flower app bundle, which only names the two apps of the installed package and holds no code."""

from __future__ import annotations

from pathlib import Path

from fedfr.core.files import write_atomically

__all__ = ["RUN", "write_bundle"]

RUN = "run"
"""The only setting of a Flower run: the folder below ``FEDFR_RUNS`` that it works on."""

# The version is Flower's name for this text, not the package's: nodes of any version take the same bundle.
PYPROJECT = f"""[project]
name = "fedfr"
version = "1.0.0"
description = "Federated face recognition; needs the package fedfr on every node"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "fedfr"

[tool.flwr.app.components]
serverapp = "fedfr.deployment.server_app:app"
clientapp = "fedfr.deployment.client_app:app"

[tool.flwr.app.config]
{RUN} = ""
"""


def write_bundle(folder: Path) -> Path:
    """Write the source of the bundle for ``flwr run`` to ``folder``; its bytes are always the same."""
    write_atomically(folder / "pyproject.toml", PYPROJECT.encode())
    return folder
