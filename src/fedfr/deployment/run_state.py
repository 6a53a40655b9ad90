"""Files shared by the coordinator and the process that executes a run."""

from __future__ import annotations

__all__ = ["AGREEMENT", "SERVING", "SITES", "STOPPED", "SUBMITTED"]

AGREEMENT = "agreement.yaml"
"""The run's agreement, to copy to the sites."""

SUBMITTED = "submitted"
"""Present while the run is active; JSON with its place in the queue."""

SITES = "sites.json"
"""Status of every site, as last seen by the process that executes the run."""

STOPPED = "stopped.txt"
"""Reason why the run was abandoned; removed when it is submitted again."""

SERVING = "serving.json"
"""In the coordinator's folder: status of its processes and current errors."""
