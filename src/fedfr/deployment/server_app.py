"""Flower ServerApp of the coordinator, which runs the experiment of a folder with clients over Flower.

A Flower run names a folder below ``FEDFR_RUNS`` and goes on with the experiment there where its journal ends, so that
after anything that ended a run another one takes over. Its own output is what ``flwr log`` shows.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedfr.core.client_ids import NAME
from fedfr.core.errors import FedfrError, InUseError
from fedfr.core.files import is_locked, read_json, write_atomically
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.bundle import RUN
from fedfr.deployment.logs import log_to
from fedfr.deployment.run_state import STOPPED, SUBMITTED
from fedfr.deployment.site_board import SiteBoard, busy_elsewhere
from fedfr.engines.flower.grid_engine import FlowerEngine
from fedfr.engines.flower.requests import Clock
from fedfr.engines.flower.site_state import StatusCallback
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.method_run import EngineFactory, MethodRun
from fedfr.reporting.progress import PlainProgress
from fedfr.reporting.tracking import Tracking

__all__ = ["app", "flower_engine", "owners_in", "run_folder"]

RUNS, NODES, TRACK = "FEDFR_RUNS", "FEDFR_NODES", "FEDFR_TRACK"

_log = logging.getLogger("fedfr.server")

Owners = Callable[[], Mapping[int, str]]
"""Returns the client that each node's key is registered for."""

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run or resume the experiment; record in its folder that it has ended, or why it cannot continue.

    Whatever kills this process leaves the folder as submitted: the coordinator begins anew. A run that a coordinator
    (one that says whose node is whose) has withdrawn by now is not begun.
    """
    folder = run_folder(os.environ, context.run_config)
    log_to(folder, run=folder.name)
    progress = PlainProgress(sys.stdout)

    def note(text: str) -> None:
        progress.note(text)
        _log.warning("%s", text)

    submitted = _mark(folder)
    if submitted is None and NODES in os.environ:
        _log.warning("the run was withdrawn before it started")
        return
    trackers = [name for name in os.environ.get(TRACK, "").split(",") if name]
    try:
        experiment = Experiment.open(folder)
        with Tracking(progress, trackers, folder) as shown:
            board = SiteBoard(folder, _log.warning)
            experiment.run(shown, engine=flower_engine(grid, note, owners=owners_in(os.environ), board=board))
    except Exception as error:
        if isinstance(error, InUseError) and is_locked(folder):
            # Another process executes the run: it continues, and reports the result itself.
            _log.warning("%s", error)
            raise
        if submitted is not None and _mark(folder) != submitted:
            # It may have been submitted again meanwhile; that must not be undone.
            _log.warning("the run was withdrawn and ends (%s)", type(error).__name__)
            raise
        # The error would happen again: a run restarted every minute would waste the sites' training.
        reason = str(error) if isinstance(error, FedfrError) else f"{type(error).__name__}; see its log.jsonl"
        _log.error("%s", reason, exc_info=not isinstance(error, FedfrError))
        try:
            if folder.is_dir():
                write_atomically(folder / STOPPED, f"{reason}\n".encode())
        finally:
            # On a full disk, too, where no reason can be written.
            (folder / SUBMITTED).unlink(missing_ok=True)
        raise
    (folder / SUBMITTED).unlink(missing_ok=True)


def _mark(folder: Path) -> bytes | None:
    """Return the marker of an active run with its start; None if the run is not active."""
    try:
        return (folder / SUBMITTED).read_bytes()
    except OSError:
        return None


def run_folder(environment: Mapping[str, str], settings: Mapping[str, Any]) -> Path:
    """Return the folder named in a Flower run's settings, which must be directly below ``FEDFR_RUNS``.

    Raises :class:`FedfrError`: whoever may submit a run chooses among the runs, not among the machine's folders.
    """
    runs, name = environment.get(RUNS), settings.get(RUN)
    if not runs:
        raise FedfrError(f"{RUNS} is not set where the SuperLink was started; set it to the folder of the runs")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise FedfrError(f"{RUN} = {name!r}; give the name of a folder in {runs}")
    return Path(runs) / name


def owners_in(environment: Mapping[str, str]) -> Owners | None:
    """Return the client of each node's key from the file ``FEDFR_NODES``; None where keys are not required."""
    if NODES not in environment:
        return None
    path = Path(environment[NODES])
    return lambda: {int(node): str(client) for node, client in read_json(path).items()} if path.exists() else {}


def flower_engine(
    grid: Grid,
    note: Callable[[str], None],
    clock: Clock = time,
    owners: Owners | None = None,
    board: StatusCallback = lambda client, standing: None,
) -> EngineFactory:
    """Create the engine factory of a method's run; ``board`` receives the status of each site."""

    def connect(method_run: MethodRun) -> FlowerEngine:
        agreement = Agreement.of(method_run)
        return FlowerEngine(
            grid,
            agreement.clients,
            agreement.fingerprint,
            agreement.public,
            method_run.components.config.deployment,
            reveals_identities=method_run.method.reveals_identities,
            note=note,
            clock=clock,
            owners=owners,
            busy=lambda: busy_elsewhere(
                method_run.components.folder.resolve(), method_run.components.config.deployment.deadline
            ),
            watch=board,
        )

    return connect
