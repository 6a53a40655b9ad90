"""``--track``: send events and metrics while a run lasts to TensorBoard, MLflow or Prometheus."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol, Self, TypeVar

from fedfr.core.errors import FedfrError
from fedfr.core.files import write_atomically
from fedfr.core.registry import Entry, Registry
from fedfr.core.telemetry import disable_telemetry
from fedfr.reporting.progress import Progress

__all__ = ["TRACKERS", "MlflowTracker", "PrometheusTracker", "TensorBoardTracker", "Tracker", "Tracking", "scalars"]

T = TypeVar("T")
Scalar = tuple[str, str, float, int]
_NO_METRICS = frozenset({"round", "epoch", "seed", "time"})


class Tracker(Protocol):
    """Receiver of numbers; raises :class:`FedfrError` if they cannot be sent."""

    def write(self, subject: str, name: str, value: float, step: int) -> None:
        """Send one number with its subject, name, value and round (in pre-training: epoch)."""
        ...

    def close(self, *, failed: bool) -> None:
        """Finish after the last number; ``failed``: the run was interrupted."""
        ...


class TensorBoardTracker:
    """One TensorBoard run per subject below ``FOLDER/tensorboard``, so that methods and clients share their plots."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise FedfrError("--track tensorboard needs TensorBoard; pip install 'fedfr[track]'") from error
        self._new: Callable[..., Any] = SummaryWriter
        self._folder = folder / "tensorboard"
        self._writers: dict[str, Any] = {}

    def write(self, subject: str, name: str, value: float, step: int) -> None:
        """Write to the subject's event file; repeated steps of a killed process are replaced."""
        try:
            if subject not in self._writers:
                self._writers[subject] = self._new(str(self._folder / subject), purge_step=step, flush_secs=5)
            self._writers[subject].add_scalar(name, value, step)
        except OSError as error:
            raise self._write_error(error) from error

    def close(self, *, failed: bool) -> None:
        """Flush and close every file."""
        try:
            for writer in self._writers.values():
                writer.close()
        except OSError as error:
            raise self._write_error(error) from error

    def _write_error(self, error: OSError) -> FedfrError:
        reason = error.strerror or error
        return FedfrError(f"cannot write {self._folder}: {reason}; free space or make the folder writable")


class MlflowTracker:
    """One run of the experiment ``fedfr`` at the MLflow server of ``MLFLOW_TRACKING_URI``.

    The run's id is kept in ``FOLDER/mlflow-run.txt``, so that a resumed run continues it.
    """

    def __init__(self, folder: Path) -> None:
        disable_telemetry(os.environ)
        try:
            from mlflow.exceptions import MlflowException
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise FedfrError("--track mlflow needs MLflow; pip install 'fedfr[track]'") from error
        address = os.environ.get("MLFLOW_TRACKING_URI")
        if not address:
            raise FedfrError("--track mlflow: MLFLOW_TRACKING_URI is not set; give the address of an MLflow server")
        self._failures = (MlflowException, OSError)
        self._client: Any = self._call(lambda: MlflowClient(tracking_uri=address))
        self._folder = folder
        self._run: str | None = None

    def write(self, subject: str, name: str, value: float, step: int) -> None:
        """Log ``subject/name``; MLflow allows neither @ nor =, so ``TAR@FAR=1e-3`` becomes ``TAR at FAR 1e-3``."""
        if self._run is None:
            self._run = self._call(self._begin)
        key = f"{subject}/{name}".replace("@", " at ").replace("=", " ").replace("(", "-").replace(")", "")
        self._call(lambda: self._client.log_metric(self._run, key, value, step=step))

    def close(self, *, failed: bool) -> None:
        """Mark the run as finished or failed."""
        if self._run is not None:
            status = "FAILED" if failed else "FINISHED"
            self._call(lambda: self._client.set_terminated(self._run, status=status))

    def _begin(self) -> str:
        """Return the id of this folder's run, created if there is none yet."""
        kept = self._folder / "mlflow-run.txt"
        if kept.exists():
            return kept.read_text(encoding="utf-8").strip()
        experiment = self._client.get_experiment_by_name("fedfr")
        number = self._client.create_experiment("fedfr") if experiment is None else experiment.experiment_id
        name, now = self._folder.resolve().name, int(1000 * time.time())
        run: str = self._client.create_run(number, run_name=name, start_time=now).info.run_id
        write_atomically(kept, f"{run}\n".encode())
        return run

    def _call(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except self._failures as error:
            raise FedfrError(f"MLflow reports an error: {str(error).splitlines()[0]}") from error


class PrometheusTracker:
    """Newest value of every number at ``/metrics`` while the run lasts, for Prometheus to scrape.

    It listens at ``FEDFR_PROMETHEUS``, by default ``127.0.0.1:9464``, without a password: client ids, losses and
    metrics are readable by every process that reaches the port.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from prometheus_client import CollectorRegistry, Gauge, start_http_server
        except ImportError as error:
            raise FedfrError("--track prometheus needs prometheus_client; pip install 'fedfr[track]'") from error
        address = os.environ.get("FEDFR_PROMETHEUS", "127.0.0.1:9464")
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise FedfrError(f"--track prometheus: FEDFR_PROMETHEUS = {address!r}; give one such as 127.0.0.1:9464")
        registry = CollectorRegistry()
        self._value = Gauge("fedfr_value", "A number of metrics.jsonl", ["subject", "name"], registry=registry)
        self._step = Gauge(
            "fedfr_step", "Round, in pre-training epoch, of the newest number", ["subject"], registry=registry
        )
        self._time = Gauge(
            "fedfr_newest_seconds", "When the newest number came, in seconds since 1970", registry=registry
        )
        try:
            self._server, self._thread = start_http_server(int(port), host.strip("[]"), registry)
        except OSError as error:
            raise FedfrError(
                f"--track prometheus cannot listen at {address}: {error.strerror or error}; set FEDFR_PROMETHEUS"
            ) from error

    def write(self, subject: str, name: str, value: float, step: int) -> None:
        """Replace the previous value."""
        self._value.labels(subject, name).set(value)
        self._step.labels(subject).set(step)
        self._time.set_to_current_time()

    def close(self, *, failed: bool) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


TRACKERS: Registry[Callable[[Path], Tracker]] = Registry(
    "tracker",
    (
        Entry("tensorboard", TensorBoardTracker, "event files below FOLDER/tensorboard"),
        Entry("mlflow", MlflowTracker, "the server at MLFLOW_TRACKING_URI"),
        Entry("prometheus", PrometheusTracker, "/metrics at FEDFR_PROMETHEUS, 127.0.0.1:9464 by default"),
    ),
)


class Tracking:
    """Progress that is also sent to trackers; a tracker that fails is dropped with a note, and the run continues."""

    def __init__(self, reporter: Progress, names: Sequence[str], folder: Path) -> None:
        self._reporter = reporter
        self._trackers = {name: TRACKERS[name](folder) for name in names}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._each(lambda tracker: tracker.close(failed=kind is not None))

    def update(self, work: str, done: int, total: int, detail: str = "", unit: str = "") -> None:
        """Pass the call on."""
        self._reporter.update(work, done, total, detail, unit)

    def note(self, text: str) -> None:
        """Pass the call on."""
        self._reporter.note(text)

    def event(self, event: Mapping[str, Any]) -> None:
        """Send every number of the event to the trackers."""
        for scalar in scalars(event):
            self._each(partial(_write, scalar))
        self._reporter.event(event)

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                act(tracker)
            except FedfrError as error:
                del self._trackers[name]
                self._reporter.note(f"--track {name} is dropped: {error}")


def _write(scalar: Scalar, tracker: Tracker) -> None:
    tracker.write(*scalar)


def scalars(event: Mapping[str, Any]) -> Iterator[Scalar]:
    """Yield (subject, name, value, step) of every number in an event, under the names of ``metrics.jsonl``.

    Subjects are ``seed-<n>/<method>``, preceded by the cell in a benchmark and followed by a client or model. The
    metrics of an ``evaluation`` are means over clients.
    """
    subject = f"seed-{event['seed']}/{event.get('method', 'pretrained')}"
    if "cell" in event:
        subject = f"{event['cell']}/{subject}"
    step = int(event.get("round", event.get("epoch", 0)))
    if event["event"] == "evaluation":
        values: dict[tuple[str, str], list[float]] = {}
        for row in event["rows"]:
            if row["value"] is not None:
                key = row["model"], f"{row['protocol'].replace(':', '-')}/{row['metric']}"
                values.setdefault(key, []).append(row["value"])
        for (model, name), each in values.items():
            yield f"{subject}/{model}", name, fmean(each), step
        return
    if "client" in event:
        subject = f"{subject}/{event['client']}"
    for name, value in event.items():
        if name not in _NO_METRICS and isinstance(value, int | float) and not isinstance(value, bool):
            yield subject, name, float(value), step
