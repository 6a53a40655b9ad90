"""Flower app bundle (FAB) that names the two apps of the installed package and holds no code."""

from __future__ import annotations

from pathlib import Path

from fedfr.core.files import write_atomically

__all__ = ["RUN", "write_bundle"]

RUN = "run"
"""Only setting of a Flower run: the name of the run's folder below ``FEDFR_RUNS``."""

# The version belongs to this file, not to the package: nodes with any version of fedfr accept the same bundle.
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
    """Write the source of the bundle for ``flwr run`` to ``folder`` and return it; the content never changes."""
    write_atomically(folder / "pyproject.toml", PYPROJECT.encode())
    return folder
