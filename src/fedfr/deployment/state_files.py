"""Names of the files through which the coordinator and the process of a run exchange their state."""

from __future__ import annotations

__all__ = ["AGREEMENT", "SERVING", "SITES", "STOPPED", "SUBMITTED"]

AGREEMENT = "agreement.yaml"
"""The run's agreement; every site needs a copy."""

SUBMITTED = "submitted"
"""Exists while the run is submitted; JSON with its position in the queue."""

SITES = "sites.json"
"""Status of every site as last seen by the process of the run."""

STOPPED = "stopped.txt"
"""Reason why the run stopped; removed when the run is submitted again."""

SERVING = "serving.json"
"""In the coordinator's folder: status of its processes, and current errors."""
