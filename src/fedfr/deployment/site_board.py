"""Status of a run's sites in a file of the run's folder, written by the run's process."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json, write_json
from fedfr.deployment.run_state import SITES
from fedfr.engines.flower.site_state import ASKED, LATE, READY, TRAINING, SiteStatus

__all__ = ["SiteBoard", "busy_elsewhere", "now", "read_board"]


def now() -> str:
    """Format the present time as in status and logs."""
    return datetime.now(UTC).isoformat(timespec="seconds")


_LASTED = re.compile(r" \(for [0-9.]+ (s|min|h)\)")


class SiteBoard:
    """Callback that records changes of a client's site status with their time; repeats are ignored.

    ``problem`` and ``problem_since`` keep the last reason for which a site was not there or was refused, until it is
    ready again.
    """

    def __init__(self, folder: Path, note: Callable[[str], None] = lambda text: None) -> None:
        self._path = folder / SITES
        self._note = note
        self._sites: dict[str, dict[str, Any]] = {}

    def __call__(self, client: str, standing: SiteStatus) -> None:
        """Write a change of a site's state or round."""
        known = self._sites.get(client, {})
        # How long something has lasted is counted from `since`: that it lasts longer is no change.
        reason = _LASTED.sub("", standing.reason)
        if (known.get("state"), known.get("round")) == (standing.state, standing.round):
            if not reason or reason == known.get("problem") or standing.state == ASKED:
                return
            site = known
        else:
            site = {**known, "state": standing.state, "round": standing.round, "since": now()}
            if standing.state == READY:
                # What kept it away is over.
                site = {name: value for name, value in site.items() if not name.startswith("problem")}
        if reason and standing.state != ASKED:
            site = {**site, "problem": reason, "problem_since": now()}
        self._sites[client] = site
        try:
            write_json(self._path, self._sites)
        except FedfrError as error:
            self._note(str(error))


def read_board(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    """Read the last status of each client; empty if the file is missing or damaged."""
    try:
        found = read_json(folder / SITES) if (folder / SITES).exists() else {}
    except (FedfrError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        client: {name: value for name, value in site.items() if isinstance(value, int if name == "round" else str)}
        for client, site in found.items()
        if isinstance(site, dict)
    }


def busy_elsewhere(folder: Path, newer: float) -> dict[str, str]:
    """Return, by client, the known round of another run that its site has not answered yet.

    What was given more than ``newer`` seconds ago is taken to be lost.
    """
    found: dict[str, str] = {}
    oldest = (datetime.now(UTC) - timedelta(seconds=newer)).isoformat(timespec="seconds")
    for other in sorted(folder.parent.glob(f"*/{SITES}")):
        if other.parent.name == folder.name:
            continue
        for client, site in read_board(other.parent).items():
            if site.get("state") in (TRAINING, LATE) and str(site.get("since")) >= oldest:
                found[client] = f"round {site.get('round')} of run {other.parent.name} since {site.get('since')}"
    return found
