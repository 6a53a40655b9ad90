"""A complete run: faces → split → pre-training → rounds of every method → evaluation → run folder."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from fedfr.config.loading import absolute_paths, first_difference
from fedfr.config.schema import ExperimentConfig, load_config
from fedfr.core.errors import FedfrError
from fedfr.core.files import (
    empty_folder,
    locked,
    make_folder,
    read_json,
    remove_leftovers,
    write_atomically,
    write_json,
)
from fedfr.evaluation import PROTOCOLS
from fedfr.experiments.components import RunComponents, local_training, make_method, with_method
from fedfr.experiments.evaluator import Evaluator, evaluate_method_run
from fedfr.experiments.events import PretrainingWatch
from fedfr.experiments.face_sources import FACE_SETS
from fedfr.experiments.method_run import EngineFactory, MethodRun
from fedfr.experiments.registration import check_portable, stored_config
from fedfr.faces import Split
from fedfr.faces.storage import is_face_set
from fedfr.federation.method import GenericModel, Method
from fedfr.models import BACKBONES
from fedfr.reporting.progress import Progress, Silent, progress_or_default
from fedfr.results.costs import RoundCost, round_costs
from fedfr.results.curve_records import Curve
from fedfr.results.result_rows import Row
from fedfr.training.classification import check_loss

__all__ = ["Experiment"]


class Experiment:
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
    """

    def __init__(
        self,
        config: ExperimentConfig,
        folder: str | Path,
        progress: Progress | None = None,
        method: type[Method] | Method | None = None,
    ) -> None:
        reporter, folder = progress or Silent(), Path(folder)
        config = stored_config(config if method is None else with_method(config, method))
        self.config = config
        self.folder = folder
        self.components = RunComponents(
            config, folder, lambda done, total: reporter.update("importing faces", done, total, unit="images")
        )

    def __repr__(self) -> str:
        method, rounds = self.config.method.name, self.config.federation.rounds
        return f"Experiment({self.folder.name!r}, {method}, {rounds} rounds, seed {self.config.seed})"

    @classmethod
    def create(
        cls,
        config: ExperimentConfig,
        folder: str | Path,
        progress: Progress | None = None,
        shared_faces: Path | None = None,
        method: type[Method] | Method | None = None,
    ) -> Experiment:
        """Begin a run in a new or empty folder after opening and checking everything in the configuration.

        ``method`` is a class, or an instance with settings, that replaces the configured method.
        ``shared_faces`` is a folder of imported faces shared with other runs; the run's own folder links to it. Raises
        :class:`FedfrError` if the folder is not empty, or if anything is missing or inconsistent; the folder is then
        left unchanged.
        """
        folder = Path(folder)
        if (folder / "config.yaml").exists():
            raise FedfrError(
                f"{folder} already holds a run; continue it with `fedfr resume {folder}` or choose another folder"
            )
        if folder.is_dir() and _is_unfinished_start(folder):
            raise FedfrError(
                f"{folder} holds what a start that was cut off before the run began has left (imported faces, no "
                "config.yaml); remove the folder and repeat the command"
            )
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise FedfrError(f"{folder} exists and is not an empty folder; choose another folder for the run")
        experiment, existed = cls(config, folder, progress, method), folder.exists()
        try:
            if shared_faces is not None and not is_face_set(experiment.config.faces.path):
                make_folder(folder)
                make_folder(shared_faces)
                (folder / "faces").symlink_to(os.path.relpath(shared_faces, folder))
            experiment._check()
            write_json(folder / "environment.json", _environment())
            # It may be read back from another working directory.
            resolved = absolute_paths(experiment.config.model_dump(mode="json"), Path.cwd())
            text = yaml.safe_dump(resolved, sort_keys=False, allow_unicode=True)
            write_atomically(folder / "config.yaml", text.encode())
        except BaseException:
            # A corrected command must find the folder unchanged.
            empty_folder(folder, remove=not existed)
            raise
        return experiment

    def _check(self) -> None:
        if self.config.runtime.workers > 1:
            check_portable(self.config)
        for name in self.config.evaluation.protocols:
            _ = PROTOCOLS[name]
        dim, pretrain = BACKBONES[self.config.model.backbone].embedding_dim, self.config.pretrain
        check_loss(pretrain.loss, pretrain.scale, pretrain.margin, dim)
        for name in (self.config.method.name, *self.config.baselines):
            method_run, local = MethodRun(self.components, name, self.folder), local_training(self.config, name)
            check_loss(local.loss, local.scale, local.margin, dim, logits=method_run.method.uses_logits)
        _ = self.components.compute
        self.components.initial_backbone()
        if not len(self.components.split.public) and self.config.pretrain.epochs > 0:
            raise FedfrError(
                "the split has no public images to pre-train on; give public faces, or set pretrain.epochs=0 and a "
                "checkpoint as model.start"
            )

    @classmethod
    def open(cls, folder: str | Path, *, workers: int | None = None) -> Experiment:
        """Open an existing run; ``workers`` may differ from before, since it does not change results."""
        folder = Path(folder)
        if not (folder / "config.yaml").is_file():
            raise FedfrError(f"{folder} holds no run (there is no config.yaml in it); give the folder of --out")
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
    ) -> Experiment:
        """:meth:`create` a run, or :meth:`open` the one that was begun in ``folder`` with the same configuration.

        Raises :class:`FedfrError` naming the first setting in which the run there differs.
        """
        folder = Path(folder)
        if not (folder / "config.yaml").exists():
            return cls.create(config, folder, progress, shared_faces, method)
        experiment = cls.open(folder)
        config = stored_config(config if method is None else with_method(config, method))
        difference = first_difference(_effective_settings(experiment.config), _effective_settings(config))
        if difference is not None:
            name, there, wanted = difference
            raise FedfrError(
                f"{folder} was begun with {name} = {there!r}, not {wanted!r}; continue it with `fedfr resume {folder}` "
                "or choose another folder"
            )
        return experiment

    def method_runs(self) -> list[MethodRun]:
        """Return the main method's run, then those of the baselines."""
        main = MethodRun(self.components, self.config.method.name, self.folder)
        return [
            main,
            *(MethodRun(self.components, name, self.folder / "baselines" / name) for name in self.config.baselines),
        ]

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
        with self._locked(), progress_or_default(progress) as reporter:
            start = self._start(reporter)
            for method_run in self.method_runs():
                method_run.erase_departed(reporter.note)
            rows: list[Row] = []
            if self.config.method.name != "pretrained":
                rows += self._finish("pretrained", 1, partial(self._evaluate_start, start), reporter, on_method)
            for method_run in self.method_runs():
                if method_run.method.privacy:
                    reporter.note(f"privacy: {method_run.method.privacy}")
                generic = method_run.run(
                    start, progress=reporter, engine=engine, on_round=self._on_round(method_run, reporter)
                )
                rows += self._finish(
                    method_run.name,
                    self._model_count(method_run),
                    partial(self._evaluate_method, method_run, generic),
                    reporter,
                    on_method,
                )
            return rows

    def pretrain(self, progress: Progress | Literal[False] | None = None) -> GenericModel:
        """Return the starting model, pre-trained if it does not exist yet; ``progress`` as in :meth:`run`."""
        with self._locked(), progress_or_default(progress) as reporter:
            return self._start(reporter)

    def reuse_start(self, folder: Path) -> bool:
        """Reuse the starting model of the run in ``folder`` if this run would make the same; return whether it did.

        It is the same if public faces, seed, model, pre-training and everything that affects the last bits are equal.
        """
        theirs, mine = (path / "pretrained" / "generic.safetensors" for path in (folder, self.folder))
        if mine.exists() or not theirs.exists():
            return False
        other = Experiment.open(folder)
        if _starting_inputs(other) != _starting_inputs(self):
            return False
        write_atomically(mine, theirs.read_bytes())
        return True

    def _start(self, reporter: Progress) -> GenericModel:
        torch.set_num_threads(self.config.runtime.threads)
        watch = PretrainingWatch(self.folder / "metrics.jsonl", self.config.pretrain.epochs, self.config.seed, reporter)
        return self.components.starting_model(watch.on_step, watch.on_epoch)

    def describe(self) -> str:
        """Return the settings that are essential for reading the results, in two lines."""
        # The counts are taken from the manifest, since the faces may have been moved.
        config, split = self.config, Split.load(self.folder / "split.json")
        train = [len(client.train) for client in split.clients.values()]
        each = f"{min(train)}" if min(train) == max(train) else f"{min(train)} to {max(train)}"
        private = f"{len(train)} clients with {each} training images"
        if any(client.elsewhere for client in split.clients.values()):
            private = f"{len(train)} clients with their faces elsewhere"
        sets = f"\nface sets: {'; '.join(part.describe() for part in split.sets)}" if split.sets else ""
        return (
            f"{config.method.name} · {config.model.backbone} from {config.model.start} · "
            f"{config.federation.rounds} rounds · BatchNorm {config.federation.batchnorm} · "
            f"{config.runtime.precision} · seed {config.seed}\n"
            f"split {split.name}: {len(split.public)} public images, {private}, "
            f"{len(split.generic)} images of people no client trained on{sets}"
        )

    def results(self) -> list[Row]:
        """Return the rows of every finished evaluation; raises :class:`FedfrError` if there are none."""
        files = [path for name in self._evaluated() if (path := self._results_file(name)).exists()]
        if not files:
            raise FedfrError(f"{self.folder} has no results yet; finish the run with `fedfr resume {self.folder}`")
        return [Row.from_dict(row) for path in files for row in read_json(path)]

    def curves(self) -> list[Curve]:
        """Return the curve records of every finished evaluation."""
        files = [path for name in self._evaluated() if (path := self._curves_file(name)).exists()]
        return [Curve.from_dict(curve) for path in files for curve in read_json(path)]

    def _evaluated(self) -> Sequence[str]:
        return list(dict.fromkeys(["pretrained", self.config.method.name, *self.config.baselines]))

    def costs(self) -> dict[str, list[RoundCost]]:
        """Return the cost of every round so far, by method."""
        seed = self.config.seed
        return {
            method_run.name: round_costs(method_run.folder / "metrics.jsonl", method_run.name, seed)
            for method_run in self.method_runs()
        }

    @property
    def finished(self) -> bool:
        """Whether every method has been evaluated."""
        return all(self._results_file(method_run.name).exists() for method_run in self.method_runs())

    def history(self) -> list[tuple[int, Row]]:
        """Return the rows of the rounds of ``evaluation.every``, of every method, oldest first, with the round.

        The round in the row of a personalized model is earlier if its client did not take part in later ones.
        """
        records = [record for method_run in self.method_runs() for record in method_run.journal.records()]
        return [(record["round"], Row.from_dict(row)) for record in records for row in record.get("evaluation", ())]

    def evaluate(self, protocols: Sequence[str] | None = None, progress: Progress | None = None) -> list[Row]:
        """Evaluate the newest models of a run, finished or not, without changing its folder."""
        reporter = progress or Silent()
        torch.set_num_threads(self.config.runtime.threads)
        if not (self.folder / "pretrained" / "generic.safetensors").exists():
            raise FedfrError(f"{self.folder} has no model yet; continue with `fedfr resume {self.folder}`")
        method_runs, rows = self.method_runs(), []
        models = sum(map(self._model_count, method_runs)) + 1
        evaluator = Evaluator(self.components, protocols, progress=reporter, models=models)
        if self.config.method.name != "pretrained":
            rows += self._evaluate_start(self.components.starting_model(), evaluator)
        for method_run in method_runs:
            entry = method_run.journal.latest()
            if entry is not None:
                rows += evaluate_method_run(method_run, entry.round, entry.generic, evaluator)
        evaluator.finish()
        return rows

    def _on_round(self, method_run: MethodRun, reporter: Progress) -> Callable[[int, GenericModel], Mapping[str, Any]]:
        every = self.config.evaluation.every

        def evaluate(number: int, generic: GenericModel) -> Mapping[str, Any]:
            if not every or number == 0 or number % every:
                return {}
            evaluator = self._evaluator(method_run.name, self._model_count(method_run), reporter)
            rows = [row.to_dict() for row in evaluate_method_run(method_run, number, generic, evaluator)]
            evaluator.finish()
            reporter.event(self._evaluation(method_run.name, number, rows))
            return {"evaluation": rows}

        return evaluate

    def _evaluate_method(self, method_run: MethodRun, generic: GenericModel, evaluator: Evaluator) -> list[Row]:
        role = method_run.method.generic_model
        if role is not None:
            self.components.save_generic(method_run.folder / "generic.safetensors", generic, role)
        if method_run.method.personal_model is not None:
            for client in self.components.split.clients:
                method_run.export_personal(client)
        return evaluate_method_run(method_run, method_run.total_rounds, generic, evaluator)

    def _model_count(self, method_run: MethodRun) -> int:
        """Return the largest number of models of a method run that are evaluated."""
        personal = 0 if method_run.method.personal_model is None else len(self.components.split.clients)
        return personal + (method_run.method.generic_model is not None)

    def _evaluator(self, name: str, models: int, reporter: Progress, *, curves: bool = False) -> Evaluator:
        return Evaluator(self.components, curves=curves, progress=reporter, models=models, work=f"evaluating {name}")

    def _evaluate_start(self, start: GenericModel, evaluator: Evaluator) -> list[Row]:
        method_run = MethodRun(self.components, "pretrained", self.folder / "pretrained")
        return evaluate_method_run(method_run, 0, start, evaluator)

    def _finish(
        self,
        name: str,
        models: int,
        evaluate: Callable[[Evaluator], list[Row]],
        reporter: Progress,
        on_method: Callable[[str], None],
    ) -> list[Row]:
        path = self._results_file(name)
        if not path.exists():
            evaluator = self._evaluator(name, models, reporter, curves=True)
            rows = evaluate(evaluator)
            evaluator.finish()
            write_json(self._curves_file(name), [curve.to_dict() for curve in evaluator.curves()])
            content = [row.to_dict() for row in rows]
            write_json(path, content)
            reporter.event(self._evaluation(name, max((row.round for row in rows), default=0), content))
            on_method(name)
            return rows
        return [Row.from_dict(row) for row in read_json(path)]

    def _evaluation(self, name: str, number: int, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        return {"event": "evaluation", "seed": self.config.seed, "method": name, "round": number, "rows": rows}

    def _results_file(self, name: str) -> Path:
        return self.folder / "evaluation" / f"{name}.json"

    def _curves_file(self, name: str) -> Path:
        return self.folder / "evaluation" / "curves" / f"{name}.json"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the run folder, on which only one process may work."""
        with locked(self.folder):
            remove_leftovers(self.folder)
            yield


def _is_unfinished_start(folder: Path) -> bool:
    """Whether a folder holds nothing but what :meth:`Experiment.create` writes before the configuration."""
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    return bool(names) and names <= {"faces", FACE_SETS, "split.json", "environment.json"}


def _effective_settings(config: ExperimentConfig) -> dict[str, Any]:
    """Return every setting that can change results, including defaults of the method."""
    tree = absolute_paths(
        config.model_dump(mode="json", exclude={"preset": True, "runtime": {"workers"}, "deployment": True}), Path.cwd()
    )
    settings = make_method(config, config.method.name).settings
    return {**tree, "method": {**tree["method"], **settings.model_dump(mode="json")}}


def _starting_inputs(run: Experiment) -> tuple[Any, ...]:
    config, split = run.config, run.components.split
    runtime = config.runtime.model_dump(exclude={"workers", "public_features"})
    return split.faces_fingerprint, split.public, config.seed, config.model, config.pretrain, runtime


def _environment() -> Mapping[str, Any]:
    packages = ("fedfr", "torch", "numpy", "safetensors", "opencv-python-headless")
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "versions": {name: _version(name) for name in packages},
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
