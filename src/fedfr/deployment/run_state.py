"""Files in a run's folder, by which the coordinator and the process that works on the run understand each other."""

from __future__ import annotations

__all__ = ["AGREEMENT", "STOPPED", "SUBMITTED"]

AGREEMENT = "agreement.yaml"
"""What its sites have agreed to, for them to have a copy of."""

SUBMITTED = "submitted"
"""There for as long as the run is to be worked on."""

STOPPED = "stopped.txt"
"""Why the run was given up, until it is submitted again."""
