"""Flower ServerApp of the coordinator, which executes a run with clients over Flower.

A Flower run names a folder below ``FEDFR_RUNS`` and resumes the experiment there where its journal ends. If it is ended
for any reason, the next Flower run of the same folder continues. ``flwr log`` shows its output.
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
from fedfr.core.files import read_json, write_atomically
from fedfr.core.locks import is_locked
from fedfr.deployment.agreement import Agreement
from fedfr.deployment.bundle import RUN
from fedfr.deployment.logs import log_to
from fedfr.deployment.site_status_file import SiteStatusFile, busy_with_other_runs
from fedfr.deployment.state_files import AGREEMENT, STOPPED, SUBMITTED
from fedfr.engines.flower.grid_engine import FlowerEngine
from fedfr.engines.flower.requests import Clock
from fedfr.engines.flower.site_state import StatusCallback
from fedfr.engines.flower.sum_engine import FlowerSumEngine
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.method_run import EngineFactory, MethodRun
from fedfr.experiments.secure_sums import RECORDS, sum_terms, uses_secure_sum
from fedfr.reporting.progress import PlainProgress
from fedfr.reporting.tracking import Tracking

__all__ = ["app", "flower_engine", "owners_in", "run_folder"]

RUNS, NODES, TRACK = "FEDFR_RUNS", "FEDFR_NODES", "FEDFR_TRACK"

_log = logging.getLogger("fedfr.server")

Owners = Callable[[], Mapping[int, str]]
"""Returns the client id for which each node's key is registered, by node id."""

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run or resume the experiment; record in its folder that it has ended, or why it cannot continue.

    If this process is killed, the run stays submitted and the coordinator starts it again. A run that was withdrawn
    before this process started is not executed if a coordinator service manages the queue (``FEDFR_NODES`` is set).
    """
    folder = run_folder(os.environ, context.run_config)
    log_to(folder, run=folder.name)
    progress = PlainProgress(sys.stdout)

    def log(text: str) -> None:
        progress.note(text)
        _log.warning("%s", text)

    submitted = _read_marker(folder)
    if submitted is None and NODES in os.environ:
        _log.warning("the run was withdrawn before it started")
        return
    trackers = [name for name in os.environ.get(TRACK, "").split(",") if name]
    try:
        experiment = Experiment.open(folder)
        with Tracking(progress, trackers, folder) as shown:
            on_status = SiteStatusFile(folder, _log.warning)
            experiment.run(shown, engine=flower_engine(grid, log, owners=owners_in(os.environ), on_status=on_status))
    except Exception as error:
        if isinstance(error, InUseError) and is_locked(folder):
            # Another process executes the run and will record its result.
            _log.warning("%s", error)
            raise
        if submitted is not None and _read_marker(folder) != submitted:
            # It may have been submitted again; leave its marker alone.
            _log.warning("the run was withdrawn and ends (%s)", type(error).__name__)
            raise
        # The error would occur again; restarting the run every minute would waste the sites' training.
        reason = str(error) if isinstance(error, FedfrError) else f"{type(error).__name__}; see its log.jsonl"
        _log.error("%s", reason, exc_info=not isinstance(error, FedfrError))
        try:
            if folder.is_dir():
                write_atomically(folder / STOPPED, f"{reason}\n".encode())
        finally:
            # Even if the reason cannot be written, as on a full disk.
            (folder / SUBMITTED).unlink(missing_ok=True)
        raise
    (folder / SUBMITTED).unlink(missing_ok=True)


def _read_marker(folder: Path) -> bytes | None:
    """Return the content of a submitted run's marker, which tells submissions apart; None if it is not submitted."""
    try:
        return (folder / SUBMITTED).read_bytes()
    except OSError:
        return None


def run_folder(environment: Mapping[str, str], settings: Mapping[str, Any]) -> Path:
    """Return the folder named in a Flower run's settings, which must be directly below ``FEDFR_RUNS``.

    Raises :class:`FedfrError` for other names: a person who may submit runs must not reach other folders.
    """
    runs, name = environment.get(RUNS), settings.get(RUN)
    if not runs:
        raise FedfrError(f"{RUNS} is not set where the SuperLink was started; set it to the folder of the runs")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise FedfrError(f"{RUN} = {name!r}; give the name of a folder in {runs}")
    return Path(runs) / name


def owners_in(environment: Mapping[str, str]) -> Owners | None:
    """Return a reader of the file ``FEDFR_NODES`` with the client of each node; None if keys are not required."""
    if NODES not in environment:
        return None
    path = Path(environment[NODES])
    return lambda: {int(node): str(client) for node, client in read_json(path).items()} if path.exists() else {}


def flower_engine(
    grid: Grid,
    log: Callable[[str], None],
    clock: Clock = time,
    owners: Owners | None = None,
    on_status: StatusCallback = lambda client, status: None,
) -> EngineFactory:
    """Return the engine factory of a method's run over ``grid``.

    ``log`` receives a line per rejected or lost message, ``on_status`` the status of each site. ``owners``: see
    :class:`~fedfr.engines.flower.grid_engine.FlowerEngine`.
    """

    def connect(method_run: MethodRun) -> FlowerEngine | FlowerSumEngine:
        secure = uses_secure_sum(method_run)
        agreement = Agreement.of(method_run, pinned_keys(method_run.components.folder) if secure else {})
        sums = agreement.sums
        engine = FlowerEngine(
            grid,
            agreement.clients,
            agreement.fingerprint,
            agreement.public,
            method_run.components.config.deployment,
            reveals_identities=method_run.method.reveals_identities,
            log=log,
            clock=clock,
            owners=owners,
            busy=lambda: busy_with_other_runs(
                method_run.components.folder.resolve(), method_run.components.config.deployment.deadline
            ),
            on_status=on_status,
            least=None if sums is None else sums.fewest,
        )
        if sums is None:
            return engine
        backbone = method_run.components.new_backbone()
        federation, plan = method_run.components.config.federation, agreement.person_plan()
        terms = sum_terms(sums, method_run.method, federation, backbone, plan)
        return FlowerSumEngine(engine, method_run.folder / RECORDS, terms)

    return connect


def pinned_keys(folder: Path) -> Mapping[str, str]:
    """Return the sites' keys for secure sums in the agreement of a run, none if it has none.

    They are those of its submission, whatever is registered since.
    """
    path = folder / AGREEMENT
    secure = Agreement.load(path).secure if path.exists() else None
    return {} if secure is None else secure.keys
