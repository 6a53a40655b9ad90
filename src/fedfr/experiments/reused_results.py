"""Reuse of finished methods of another run with the same people, start and settings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from fedfr.config.schema import ExperimentConfig
from fedfr.core.errors import FedfrError
from fedfr.core.files import make_folder, read_json, write_atomically, write_folder_atomically, write_json
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.from_config import local_training
from fedfr.experiments.method_run import MethodRun
from fedfr.experiments.run_start import starting_inputs
from fedfr.experiments.stored_run import StoredRun
from fedfr.results.person_records import read_person_records, write_person_records
from fedfr.results.result_rows import scoring_of

__all__ = ["reuse_methods"]

# Other than what a method is compared with, how it is named in a preset, and how many processes work.
_IRRELEVANT: Any = {
    "preset": True,
    "deployment": True,
    "method": True,
    "baselines": True,
    "baseline_settings": True,
    "local": True,
    "split": True,
    "evaluation": {"scoring"},
    "runtime": {"workers"},
}


def reuse_methods(run: Experiment, folder: Path) -> list[str]:
    """Copy the finished methods of the run in ``folder`` that this run would compute again; return their names.

    A method's result depends on the split of the faces, the starting model, the settings of the run and its own. The
    scorings of this run must be among those of the other, whose further ones are left out. Nothing is copied if one of
    these differs, nor for a method that has begun here, nor from runs with secure sums or differential privacy.
    """
    if not (folder / "config.yaml").exists() or not _same_conditions(run, other := Experiment.open(folder)):
        return []
    run.reuse_start(folder)
    theirs, reused = {each.name: each for each in other.method_runs()}, []
    for mine in run.method_runs():
        there = theirs.get(mine.name)
        if there is None or mine.journal.rounds() or not other.results_file(mine.name).exists():
            continue
        if _same_method(run.config, other.config, mine, there):
            _copy_rounds(there.folder, mine.folder)
            _copy_evaluation(run, other, mine.name)
            reused.append(mine.name)
    if other.results_file("pretrained").exists() and not run.results_file("pretrained").exists():
        _copy_evaluation(run, other, "pretrained")
    return reused


def _same_conditions(run: Experiment, other: Experiment) -> bool:
    ours, theirs = run.config, other.config
    if ours.federation.secure != "off" or ours.privacy.dp != "off":
        return False
    return (
        _relevant(ours) == _relevant(theirs)
        and set(ours.evaluation.scoring) <= set(theirs.evaluation.scoring)
        and _people(run) == _people(other)
        and starting_inputs(run.components) == starting_inputs(other.components)
    )


def _relevant(config: ExperimentConfig) -> dict[str, Any]:
    tree = config.model_dump(mode="json", exclude=_IRRELEVANT)
    # The faces have a fingerprint in the split.
    del tree["faces"]
    return tree


def _people(run: StoredRun) -> dict[str, Any]:
    """Return the split of the faces without the settings by which it was made."""
    return {name: part for name, part in read_json(run.folder / "split.json").items() if name != "settings"}


def _same_method(ours: ExperimentConfig, theirs: ExperimentConfig, mine: MethodRun, there: MethodRun) -> bool:
    same_training = local_training(ours, mine.name) == local_training(theirs, mine.name)
    return same_training and mine.method.settings == there.method.settings


def _copy_rounds(source: Path, target: Path) -> None:
    """Copy what a method has left; its rounds last and at once, so that an interrupted copy is made again."""
    make_folder(target)
    if (source / "clients").exists():
        shutil.copytree(source / "clients", target / "clients", dirs_exist_ok=True)
    for name in ("metrics.jsonl", "generic.safetensors"):
        if (source / name).exists():
            write_atomically(target / name, (source / name).read_bytes())
    if (source / "rounds").exists():

        def fill(folder: Path) -> None:
            shutil.copytree(source / "rounds", folder, dirs_exist_ok=True)

        write_folder_atomically(target / "rounds", fill)


def _copy_evaluation(run: StoredRun, other: StoredRun, name: str) -> None:
    """Copy a method's evaluation with the scorings of ``run``; its rows last, which mark it as finished."""
    wanted = run.config.evaluation.scoring
    if (people := other.people_file(name)).exists():
        records = (record for record in read_person_records(people) if scoring_of(record.protocol) in wanted)
        write_person_records(run.people_file(name), records)
    for source, target in (
        (other.curves_file(name), run.curves_file(name)),
        (other.results_file(name), run.results_file(name)),
    ):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            entries = [entry for entry in read_json(source) if scoring_of(entry["protocol"]) in wanted]
        except (LookupError, TypeError, AttributeError) as error:
            raise FedfrError(f"{source} has a missing or damaged entry ({error!r}); restore it") from error
        write_json(target, entries)
