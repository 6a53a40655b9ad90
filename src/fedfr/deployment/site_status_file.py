"""File with the status of a run's sites (``sites.json``), written by the process of the run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json, write_json
from fedfr.deployment.state_files import SITES
from fedfr.engines.flower.site_state import ASKED, LATE, READY, TRAINING, SiteStatus

__all__ = ["SiteStatusFile", "busy_with_other_runs", "read_site_statuses", "timestamp"]


def timestamp() -> str:
    """Return the present UTC time in ISO format with seconds, as used in status files."""
    return datetime.now(UTC).isoformat(timespec="seconds")


_DURATION = re.compile(r" \(for [0-9.]+ (s|min|h)\)")


class SiteStatusFile:
    """Callback that writes changes of a site's status with their time to ``sites.json`` in a run's folder.

    ``problem`` and ``problem_since`` keep the last reason for which a site was missing or refused, until it is ready
    again. ``log`` receives errors of writing.
    """

    def __init__(self, folder: Path, log: Callable[[str], None] = lambda text: None) -> None:
        self._path = folder / SITES
        self._log = log
        self._sites: dict[str, dict[str, Any]] = {}

    def __call__(self, client: str, status: SiteStatus) -> None:
        """Write the status if state, round or reason changed."""
        known = self._sites.get(client, {})
        # A longer duration is no change; it follows from `since`.
        reason = _DURATION.sub("", status.reason)
        if (known.get("state"), known.get("round")) == (status.state, status.round):
            if not reason or reason == known.get("problem") or status.state == ASKED:
                return
            entry = known
        else:
            entry = {**known, "state": status.state, "round": status.round, "since": timestamp()}
            if status.state == READY:
                # The last problem is solved.
                entry = {name: value for name, value in entry.items() if not name.startswith("problem")}
        if reason and status.state != ASKED:
            entry = {**entry, "problem": reason, "problem_since": timestamp()}
        self._sites[client] = entry
        try:
            write_json(self._path, self._sites)
        except FedfrError as error:
            self._log(str(error))


def read_site_statuses(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    """Return the last status of each client's site; empty if the file is missing or damaged."""
    try:
        content = read_json(folder / SITES) if (folder / SITES).exists() else {}
    except (FedfrError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {
        client: {name: value for name, value in entry.items() if isinstance(value, int if name == "round" else str)}
        for client, entry in content.items()
        if isinstance(entry, dict)
    }


def busy_with_other_runs(folder: Path, max_age: float) -> dict[str, str]:
    """Return, by client, a description of the round of another run that its site has not answered yet.

    ``folder``: the run's folder, beside the others. Rounds sent more than ``max_age`` seconds ago are ignored as lost.
    """
    found: dict[str, str] = {}
    oldest = (datetime.now(UTC) - timedelta(seconds=max_age)).isoformat(timespec="seconds")
    for other in sorted(folder.parent.glob(f"*/{SITES}")):
        if other.parent.name == folder.name:
            continue
        for client, entry in read_site_statuses(other.parent).items():
            if entry.get("state") in (TRAINING, LATE) and str(entry.get("since")) >= oldest:
                found[client] = f"round {entry.get('round')} of run {other.parent.name} since {entry.get('since')}"
    return found
