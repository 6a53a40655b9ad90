"""Files by which the coordinator and the process that works on a run understand each other."""

from __future__ import annotations

__all__ = ["AGREEMENT", "SERVING", "SITES", "STOPPED", "SUBMITTED"]

AGREEMENT = "agreement.yaml"
"""What its sites have agreed to, for them to have a copy of."""

SUBMITTED = "submitted"
"""There for as long as the run is to be worked on; holds its place in the queue of all runs, in JSON."""

SITES = "sites.json"
"""How every site stands, as the process that works on the run last saw it."""

STOPPED = "stopped.txt"
"""Why the run was given up, until it is submitted again."""

SERVING = "serving.json"
"""In the coordinator's folder: how the processes stand that it keeps running, and what fails."""
