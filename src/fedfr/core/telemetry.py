"""Switching off of the telemetry of libraries that fedfr uses.

ONNX Runtime (from 1.29) and MLflow (from 3.2) report to their makers by default, among other things hashes of the
models that are opened. A process that handles faces must not do so without consent.
"""

from __future__ import annotations

from collections.abc import MutableMapping

__all__ = ["disable_telemetry"]

_VARIABLES = {
    "ORT_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "FLWR_TELEMETRY_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}


def disable_telemetry(environment: MutableMapping[str, str]) -> None:
    """Disable telemetry in ``environment``; variables that are set already are kept.

    This affects libraries that are imported afterwards and processes that are started with this environment.
    """
    for name, value in _VARIABLES.items():
        environment.setdefault(name, value)
