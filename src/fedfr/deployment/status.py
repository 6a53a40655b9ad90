"""Status of runs and sites, read from their folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fedfr
from fedfr.core.errors import FedfrError
from fedfr.core.files import read_json, read_json_lines
from fedfr.core.locks import is_locked
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.coordinator import Coordinator
from fedfr.deployment.logs import last_error
from fedfr.deployment.site import Site
from fedfr.deployment.site_gallery import gallery_states
from fedfr.deployment.site_service import RUNNING
from fedfr.deployment.site_status_file import read_site_statuses
from fedfr.deployment.state_files import AGREEMENT, SERVING, STOPPED
from fedfr.engines.flower.site_state import ANSWERED, LATE, READY, REFUSED
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.from_config import make_method
from fedfr.federation.private_store import PrivateStore

__all__ = ["site_status", "status_of", "table"]

NUMBERS = ("process", "starts", "port")
"""Integer fields of a process's status; all others are texts."""


def status_of(coordinator: Coordinator) -> dict[str, Any]:
    """Return the coordinator's status as JSON values: its processes, and every run with its rounds and sites.

    A damaged run is listed with the state ``damaged`` and the reason.
    """
    queue, running = coordinator.submitted(), is_locked(coordinator.folder)
    return {
        "name": coordinator.config.name,
        "running": running,
        **({"processes": _processes(coordinator.folder / SERVING)} if running else {}),
        "sites": list(coordinator.sites()),
        "queue": queue,
        "runs": {name: _run_status(coordinator.runs / name, queue) for name in coordinator.run_names()},
    }


def _run_status(folder: Path, queue: Sequence[str]) -> dict[str, Any]:
    try:
        return _read_run_status(folder, queue)
    except FedfrError as error:
        why = str(error)
    except (ValueError, LookupError, TypeError) as error:
        why = f"{folder / 'metrics.jsonl'} cannot be read ({error!r})"
    # One damaged run must not hide the others.
    return {"method": "unknown", "round": 0, "rounds": 0, "state": f"damaged: {why}", "sites": {}}


def _read_run_status(folder: Path, queue: Sequence[str]) -> dict[str, Any]:
    config = Experiment.open(folder).config
    method = config.method.name
    total = make_method(config, method).rounds(config.federation.rounds)
    # From the agreement, because opening the split would read the faces at every call.
    sites: dict[str, dict[str, Any]] = {client: {"refused": 0} for client in Agreement.load(folder / AGREEMENT).clients}
    rounds = 0
    try:
        for event in read_json_lines(folder / "metrics.jsonl"):
            if event["event"] == "round":
                rounds = int(event["round"])
            elif event["event"] in ("update", "refused"):
                site = sites.setdefault(str(event["client"]), {"refused": 0})
                if event["event"] == "refused":
                    site["refused"] += 1
                    site["reason"] = event["reason"]
                else:
                    # Under the weights `equal`, the count is 1 whatever the number of images.
                    images = None if config.federation.weights == "equal" else event["count"]
                    site |= {"round": event["round"], "seconds": event.get("seconds"), "images": images}
                    site |= {"bytes_up": event["bytes/up"], "bytes_down": event["bytes/down"]}
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise FedfrError(f"{folder / 'metrics.jsonl'} has a damaged entry ({error!r}); restore it") from error
    run = {"method": method, "round": rounds, "rounds": total, "sites": sites}
    active, stopped, position = is_locked(folder), folder / STOPPED, _position(folder.name, queue)
    for client, last_status in read_site_statuses(folder).items():
        site = sites.setdefault(client, {"refused": 0})
        # The status from before the run's process ended is outdated.
        names = ("state", "since", "problem", "problem_since") if active else ("problem", "problem_since")
        site |= {name: last_status[name] for name in names if name in last_status}
    if stopped.exists():
        return {**run, "state": f"stopped: {stopped.read_text(encoding='utf-8').strip()}"}
    if active:
        # The round continues without sites that were refused or late.
        done = (READY, ANSWERED, REFUSED, LATE)
        missing = [client for client, site in sites.items() if site.get("state", READY) not in done]
        return {**run, "state": "running" if position else "withdrawn, stopping", "waiting_for": missing}
    if position:
        return {**run, "state": "waiting", "position": position}
    return {**run, "state": "ended" if rounds == total else "withdrawn"}


def _position(name: str, queue: Sequence[str]) -> int:
    """Return the position in the queue, counted from 1; 0 for a run that is not queued."""
    return queue.index(name) + 1 if name in queue else 0


def table(status: Mapping[str, Any], width: int = 80) -> str:
    """Format the result of :func:`status_of` as text; in less than ``width``, ids of sites have lines of their own."""
    lines = [f"{status['name']}: {'running' if status['running'] else 'not running'}; {len(status['sites'])} sites"]
    for name, process in status.get("processes", {}).items():
        if process.get("next_start"):
            start = (process.get("starts") or 0) + 1
            lines.append(f"{name} is down since {process.get('since')}, start {start} at {process['next_start']}")
        if process.get("problem"):
            lines.append(f"{name}, last problem ({process.get('problem_since')}): {process['problem']}")
    for name, run in status["runs"].items():
        lines.append(
            f"\n{name}: {run['method']}, round {run['round']} of {run['rounds']}, {_describe_state(run, status)}"
        )
        names = max(map(len, run["sites"]), default=0)
        head = f"{'round':>6}{'seconds':>9}{'images':>8}{'MB up':>8}{'MB down':>9}{'refused':>9}"
        column = max(24, names) if len(head) + max(24, names) + 2 <= width else 2
        lines.append(f"  {'site':<{column}}{head}" if column > 2 else f"  site\n    {head}")
        for client, site in run["sites"].items():
            cells = [client.ljust(column) if column > 2 else f"{client}\n    ", str(site.get("round", "–")).rjust(6)]
            cells += [_cell(site.get("seconds"), 9, 1), _cell(site.get("images"), 8, 0)]
            cells += [_cell(site.get(key), width, 1, 1e6) for key, width in (("bytes_up", 8), ("bytes_down", 9))]
            lines.append("  " + "".join([*cells, str(site["refused"]).rjust(9)]))
            if "state" in site:
                lines.append(f"    {site['state']} since {site.get('since')}")
            if "reason" in site:
                lines.append(f"    last refusal: {site['reason']}")
            if "problem" in site and site["problem"] not in site.get("reason", ""):
                lines.append(f"    last problem ({site.get('problem_since')}): {site['problem']}")
    return "\n".join(lines)


def _describe_state(run: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    """Describe the state of a run, including what it waits for."""
    state = str(run["state"])
    if run.get("waiting_for"):
        return f"{state}, waiting for {', '.join(run['waiting_for'])}"
    position = run.get("position", 0)
    if position > 1:
        return f"{state}, number {position} in the queue, behind {status['queue'][position - 2]}"
    if position == 1:
        return f"{state}, next in the queue" + ("" if status["running"] else ": the server does not run")
    return state


def _cell(value: float | None, width: int, digits: int, unit: float = 1.0) -> str:
    return ("–" if value is None else f"{value / unit:.{digits}f}").rjust(width)


def site_status(path: Path) -> dict[str, Any]:
    """Return the status of a site as JSON values: client, process, last error, and rounds with private states.

    ``path``: its ``site.yaml``. Raises :class:`FedfrError` for an unusable configuration or agreement.
    """
    site = Site.open(path)
    rounds = PrivateStore(site.private, site.config.client).rounds()
    running = is_locked(path.parent)
    return {
        "client": site.config.client,
        "server": site.config.server or "",
        "running": running,
        **(_process(path.parent) if running else {}),
        "training": is_locked(site.private),
        "rounds_kept": rounds,
        **({"galleries": _galleries(site, path.parent)} if site.config.galleries else {}),
        "last_error": last_error(path.parent),
        "agreement": site.agreement.fingerprint[:12],
        "version": fedfr.__version__,
    }


def _galleries(site: Site, folder: Path) -> dict[str, str]:
    """Return for each gallery of the site whether it has the site's newest model."""
    return {str(state.gallery): state.describe(folder) for state in gallery_states(site)}


def _process(folder: Path) -> dict[str, Any]:
    """Return the status of the site's process from its supervisor; empty if there is none yet."""
    status = _valid_fields(_read_status_file(folder / RUNNING))
    if not status:
        return {}
    process, since = status.get("process"), status.get("since")
    state = f"process {process} since {since}" if process else f"down since {since}"
    entries = {"node": state, "port": status.get("port"), "starts": status.get("starts")}
    if status.get("problem"):
        entries["last_problem"] = f"{status.get('problem_since')} {status['problem']}"
    if status.get("next_start"):
        entries["next_start"] = status["next_start"]
    return entries


def _processes(path: Path) -> dict[str, dict[str, Any]]:
    """Return the status of the coordinator's processes from their supervisors."""
    return {
        name: _valid_fields(process) for name, process in _read_status_file(path).items() if isinstance(process, dict)
    }


def _valid_fields(process: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that have the expected type."""
    return {name: value for name, value in process.items() if isinstance(value, int | None if name in NUMBERS else str)}


def _read_status_file(path: Path) -> dict[str, Any]:
    """Read the status file of a running process; empty if it is missing or damaged."""
    try:
        return dict(read_json(path))
    except (FedfrError, TypeError, ValueError):
        return {}
