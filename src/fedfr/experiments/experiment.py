"""A complete run: faces → split → pre-training → rounds of every method → evaluation → run folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

from fedfr.config.schema import ExperimentConfig, load_config
from fedfr.core.errors import FedfrError
from fedfr.core.files import remove_leftovers, write_atomically
from fedfr.core.locks import locked
from fedfr.experiments.components import RunComponents
from fedfr.experiments.evaluator import Evaluator, evaluate_method_run
from fedfr.experiments.events import PretrainingWatch
from fedfr.experiments.from_config import with_loss, with_method
from fedfr.experiments.method_run import EngineFactory
from fedfr.experiments.person_privacy import accept_round, is_private
from fedfr.experiments.registration import stored_config
from fedfr.experiments.run_evaluation import RunEvaluation, evaluate_start
from fedfr.experiments.run_sets import check_sets
from fedfr.experiments.run_start import (
    begin_run,
    new_run_folder,
    note_changed_code,
    note_machine,
    refuse_other_settings,
    refuse_used_folder,
    starting_inputs,
)
from fedfr.experiments.secure_sums import uses_secure_sum
from fedfr.experiments.stored_run import StoredRun
from fedfr.federation.method import GenericModel, Method
from fedfr.reporting.progress import Progress, Silent, progress_or_default
from fedfr.results.audit_rows import AUDIT_FILE
from fedfr.results.costs import STARTING_COST
from fedfr.results.result_rows import Row

__all__ = ["Experiment"]


class Experiment(StoredRun):
    """A configured run in a folder. :meth:`create` starts one, :meth:`open` finds one again.

    The folder holds ``config.yaml``, ``environment.json``, ``split.json``, ``faces/``, ``pretrained/``, the main
    method's ``rounds/``, ``clients/`` and ``metrics.jsonl``, ``evaluation/*.json``, and ``baselines/<method>/`` with
    the same inside. It contains private faces and private states of every simulated client: protect it accordingly.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from fedfr import Experiment, FaceSet, load_config
    >>> place = tempfile.TemporaryDirectory()
    >>> folder = Path(place.name)
    >>> pixels = np.random.default_rng(0).integers(0, 256, (32, 112, 112, 3), np.uint8)
    >>> faces = FaceSet(pixels, np.repeat(np.arange(8), 4), [f"person-{number}" for number in range(8)])
    >>> faces.save(folder / "faces")
    >>> split = {"public_identities": 3, "clients": 2, "identities_per_client": 2}
    >>> settings = {"faces": {"path": str(folder / "faces")}, "split": {"settings": split}, "pretrain": {"epochs": 0}}
    >>> run = Experiment.create(load_config(None, settings), folder / "run")
    >>> run
    Experiment('run', fedfr, 20 rounds, seed 0)
    >>> [method_run.name for method_run in run.method_runs()], run.finished
    (['fedfr', 'local', 'centralized'], False)
    >>> Experiment.open(folder / "run").config == run.config  # run.run() starts or resumes it
    True
    >>> place.cleanup()

    ``Experiment(config)`` begins in :meth:`run`. Without ``folder`` it creates the next free one of
    ``runs/<method>-1``, ``runs/<method>-2``, … in the working directory; resume it with :meth:`open`. ``method``, a
    class or an instance with its settings, and ``loss``, a function as ``local.loss`` names it, replace those of the
    configuration.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        folder: str | Path | None = None,
        progress: Progress | None = None,
        method: type[Method] | Method | None = None,
        loss: Callable[..., torch.Tensor] | None = None,
    ) -> None:
        reporter, config = progress or Silent(), _stored(config, method, loss)
        self._reserved = folder is None
        place = new_run_folder(config.method.name) if folder is None else Path(folder)

        def on_import(done: int, total: int) -> None:
            reporter.update("importing faces", done, total, unit="images")

        super().__init__(config, place, RunComponents(config, place, on_import))

    @classmethod
    def create(
        cls,
        config: ExperimentConfig,
        folder: str | Path,
        progress: Progress | None = None,
        shared_faces: Path | None = None,
        method: type[Method] | Method | None = None,
        loss: Callable[..., torch.Tensor] | None = None,
    ) -> Experiment:
        """Begin a run in a new or empty folder after opening and checking everything in the configuration.

        ``method`` and ``loss`` replace those of the configuration, as in the constructor.
        ``shared_faces`` is a folder of imported faces shared with other runs; the run's own folder links to it. Raises
        :class:`FedfrError` if the folder is not empty, or if anything is missing or inconsistent; the folder is then
        left unchanged.
        """
        folder = Path(folder)
        refuse_used_folder(folder)
        experiment = cls(config, folder, progress, method, loss)
        begin_run(experiment.components, shared_faces=shared_faces)
        return experiment

    @classmethod
    def open(cls, folder: str | Path, *, workers: int | None = None) -> Experiment:
        """Open an existing run; ``workers`` may differ from before, since it does not change results."""
        folder = Path(folder)
        if not (folder / "config.yaml").is_file():
            hint = "give the folder of --out"
            if (folder / "benchmark.yaml").is_file():
                hint = "it holds a benchmark: repeat the command that began it, or give a folder of one of its runs"
            raise FedfrError(f"{folder} holds no run (there is no config.yaml in it); {hint}")
        overrides = [] if workers is None else [f"runtime.workers={workers}"]
        return cls(load_config(folder / "config.yaml", overrides), folder)

    @classmethod
    def begin(
        cls,
        config: ExperimentConfig,
        folder: str | Path,
        progress: Progress | None = None,
        shared_faces: Path | None = None,
        method: type[Method] | Method | None = None,
        loss: Callable[..., torch.Tensor] | None = None,
    ) -> Experiment:
        """:meth:`create` a run, or :meth:`open` the one that was begun in ``folder`` with the same configuration.

        Raises :class:`FedfrError` naming the first setting in which the run there differs.
        """
        folder = Path(folder)
        if not (folder / "config.yaml").exists():
            return cls.create(config, folder, progress, shared_faces, method, loss)
        refuse_other_settings(folder, _stored(config, method, loss))
        return cls.open(folder)

    def run(
        self,
        progress: Progress | Literal[False] | None = None,
        engine: EngineFactory | None = None,
        on_method: Callable[[str], None] = lambda name: None,
    ) -> list[Row]:
        """Run, or resume an interrupted run; returns all results as tidy rows.

        ``progress`` is by default automatic: lines below a notebook's cell, bars on a terminal, plain lines on standard
        error elsewhere; False shows nothing. ``engine`` connects the clients, which are on this machine by default.
        ``on_method`` is called with the name of each method evaluated by this call. Raises :class:`FedfrError` for
        faulty input and below the quorum; finished work is kept and resumed.
        """
        self._begin()
        with self._locked(), progress_or_default(progress) as reporter:
            if not self.finished:
                check_sets(self.components)
                note_changed_code(self.components, reporter.note)
                note_machine(self.components, clients_elsewhere=engine is not None)
            start = self._start(reporter)
            for method_run in self.method_runs():
                method_run.erase_departed(reporter.note)
            evaluation = RunEvaluation(self, reporter, on_method)
            rows = evaluation.start(start)
            for method_run in self.method_runs():
                if method_run.method.privacy:
                    reporter.note(f"privacy: {method_run.method.privacy}")
                generic = method_run.run(
                    start, progress=reporter, engine=engine, on_round=evaluation.of_round(method_run)
                )
                if is_private(self.config, method_run.name):
                    accept_round(self.config, method_run.folder, method_run.total_rounds)
                rows += evaluation.method(method_run, generic)
            return rows

    def pretrain(self, progress: Progress | Literal[False] | None = None) -> GenericModel:
        """Return the starting model, pre-trained if it does not exist yet; ``progress`` as in :meth:`run`."""
        self._begin()
        with self._locked(), progress_or_default(progress) as reporter:
            return self._start(reporter)

    def rewind(self, round_number: int) -> None:
        """Return to the main method's generic model after an earlier round; :meth:`run` continues from there.

        ``round_number``: a round whose model is kept, or 0 for the starting model. Later rounds and the method's
        results are removed. Clients continue from their states before the next round, or without one. Raises
        :class:`FedfrError` for a run with secure sums or differential privacy.
        """
        (method_run, *_), name = self.method_runs(), self.config.method.name
        if uses_secure_sum(method_run):
            raise FedfrError(
                f"{self.folder} has secure sums and cannot return to an earlier round: its clients take part in each "
                "round once; begin a new run"
            )
        if self.config.privacy.dp != "off":
            raise FedfrError(
                f"{self.folder} has differential privacy and cannot return to an earlier round: what a round revealed "
                "is spent; begin a new run"
            )
        with self._locked():
            audit = self.folder / AUDIT_FILE
            for path in (self.results_file(name), self.curves_file(name), self.people_file(name), audit):
                path.unlink(missing_ok=True)
            method_run.journal.rewind(round_number if round_number in method_run.journal.kept() else -1)

    def reuse_start(self, folder: Path) -> bool:
        """Reuse the starting model of the run in ``folder`` if this run would make the same; return whether it did.

        It is the same if public faces, seed, model, pre-training and everything that affects the last bits are equal.
        """
        source, target = (path / "pretrained" / "generic.safetensors" for path in (folder, self.folder))
        if target.exists() or not source.exists():
            return False
        other = Experiment.open(folder)
        if starting_inputs(other.components) != starting_inputs(self.components):
            return False
        for name in (STARTING_COST, target.name):
            if (known := source.with_name(name)).exists():
                write_atomically(target.with_name(name), known.read_bytes())
        return True

    def _begin(self) -> None:
        """Begin the run if it has not begun; a run in the folder must have the same settings."""
        if (self.folder / "config.yaml").exists():
            refuse_other_settings(self.folder, self.config)
        else:
            begin_run(self.components, reserved=self._reserved)

    def _start(self, reporter: Progress) -> GenericModel:
        torch.set_num_threads(self.config.runtime.threads)
        config, cost = self.config, self.folder / "pretrained" / STARTING_COST
        batch = min(config.pretrain.batch_size, len(self.components.split.public))
        events = self.folder / "metrics.jsonl"
        watch = PretrainingWatch(events, config.pretrain.epochs, config.seed, reporter, batch, cost)
        return self.components.starting_model(watch.on_step, watch.on_epoch)

    def evaluate(self, protocols: Sequence[str] | None = None, progress: Progress | None = None) -> list[Row]:
        """Evaluate the newest models of a run, finished or not, without changing its folder."""
        reporter = progress or Silent()
        torch.set_num_threads(self.config.runtime.threads)
        if not (self.folder / "pretrained" / "generic.safetensors").exists():
            raise FedfrError(f"{self.folder} has no model yet; continue with `fedfr resume {self.folder}`")
        method_runs, rows = self.method_runs(), []
        models = sum(method_run.model_count for method_run in method_runs) + 1
        evaluator = Evaluator(self.components, protocols, progress=reporter, models=models)
        if self.config.method.name != "pretrained":
            rows += evaluate_start(self.components, self.components.starting_model(), evaluator)
        for method_run in method_runs:
            entry = method_run.journal.latest()
            if entry is not None:
                rows += evaluate_method_run(method_run, entry.round, entry.generic, evaluator)
        evaluator.finish()
        return rows

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the run folder, on which only one process may work."""
        with locked(self.folder):
            remove_leftovers(self.folder)
            yield


def _stored(
    config: ExperimentConfig, method: type[Method] | Method | None, loss: Callable[..., torch.Tensor] | None
) -> ExperimentConfig:
    """Return the configuration with the given method and loss, under the names that other processes can import."""
    config = config if method is None else with_method(config, method)
    return stored_config(config if loss is None else with_loss(config, loss))
