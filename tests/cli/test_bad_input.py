"""Invalid input to every command: one error line, exit code 2, and unchanged files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.cli.conftest import Fedfr
from tests.cli.test_commands import content
from tests.support import bad_coordinators, bad_faces, bad_input, bad_models, bad_sites, bad_verification_sets
from tests.support.bad_input import Case, Given
from tests.support.tiny_experiment import SETTINGS as TINY_SETTINGS

from fedfr.config.schema import load_config
from fedfr.experiments.experiment import Experiment

# What is damaged here are files of a backbone of fedfr.
SETTINGS = [*TINY_SETTINGS, "model.backbone=slimface-small"]

CASES = [
    *bad_input.CASES,
    *bad_faces.CASES,
    *bad_models.CASES,
    *bad_verification_sets.CASES,
    *bad_coordinators.CASES,
    *bad_sites.CASES,
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, faceset: Path) -> Path:
    """A finished run of one round."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    config = load_config(None, [*SETTINGS, f"faces.path={faceset}", "federation.rounds=1"])
    Experiment.create(config, folder).run()
    return folder


@pytest.fixture
def given(tmp_path: Path, finished: Path, faceset: Path) -> Given:
    run, faces = tmp_path / "a run", tmp_path / "faces"
    shutil.copytree(finished, run)
    shutil.copytree(faceset, faces)
    # Their path alone is changed in the text: parsing YAML takes longer than most cases.
    config = (run / "config.yaml").read_text(encoding="utf-8")
    assert config.count(str(faceset)) == 1
    (run / "config.yaml").write_text(config.replace(str(faceset), str(faces)), encoding="utf-8")
    place = tmp_path / "plâce with spaces"
    place.mkdir()
    return Given(place, run, faces, SETTINGS)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_error_is_one_line_and_changes_nothing(case: Case, given: Given, fedfr: Fedfr, tmp_path: Path) -> None:
    arguments = case.prepare(given)
    before = content(tmp_path)
    answer = fedfr(*arguments)
    lines = answer.err.splitlines()
    expected = case.message
    for name in ("place", "run", "faceset"):
        expected = expected.replace(f"{{{name}}}", str(getattr(given, name)))
    assert lines[-1] == f"fedfr: {expected}"
    assert answer.code == 2
    assert answer.out == ""
    assert "Traceback" not in answer.err
    after = content(tmp_path)
    after.pop("a run/.lock", None)
    before.pop("a run/.lock", None)
    assert after == before


def test_the_number_of_cases() -> None:
    assert len(CASES) >= 40
    assert len({case.message for case in CASES}) >= 35
