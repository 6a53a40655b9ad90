"""Cells of a benchmark: shared starting models, one table per cell, and recovery of a killed start."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from tests.support.tiny_experiment import SETTINGS, tiny_faces

from fedfr.cli import main
from fedfr.config.schema import parse_overrides
from fedfr.core.errors import FedfrError
from fedfr.experiments.benchmark import Benchmark
from fedfr.experiments.benchmark_plan import Cell, Plan, plan_benchmark
from fedfr.experiments.report import open_report, write_report
from fedfr.reporting.benchmark_table import results_text
from fedfr.reporting.page import page


@pytest.fixture(scope="module")
def two_rates(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    """The same federation at two learning rates: two cells, no axis."""
    folder = tmp_path_factory.mktemp("rates")
    tiny_faces(alike=0.5).save(folder / "faceset")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(parse_overrides(SETTINGS)), encoding="utf-8")
    plan = Plan(
        name="tiny",
        config=str(folder / "tiny.yaml"),
        budget="cpu",
        methods=("fedavg",),
        seeds=(0,),
        settings={"faces": {"path": str(folder / "faceset")}, "federation": {"rounds": 1}},
        cells={name: Cell(settings={"local": {"learning_rate": rate}}) for name, rate in (("a", 0.01), ("b", 0.3))},
    )
    made = Benchmark.begin(plan, folder / "out")
    made.run()
    return made


def test_a_starting_model_is_trained_once(two_rates: Benchmark) -> None:
    def events(cell: str) -> list[str]:
        lines = (two_rates.folder / cell / "seed-0" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["event"] for line in lines]

    assert events("a").count("pretrain") == 1
    assert events("b").count("pretrain") == 0
    assert events("b").count("round") == 1
    starts = {(each.cell, each.steps, each.images) for each in two_rates.results() if each.row.method == "pretrained"}
    assert starts == {("a", 2, 16), ("b", 2, 16)}, "both cells begin with what one of them trained"


def test_every_cell_has_tables_and_figures_of_its_own(two_rates: Benchmark, capsys: pytest.CaptureFixture[str]) -> None:
    report = open_report(two_rates.folder)
    ids = re.findall(r'<figure id="([^"]+)">', page(report))
    assert len(ids) == len(set(ids)) > 10
    # A DET curve is there where something is missed.
    first, second = (
        {name.removeprefix("b-") for name in ids if name.startswith("b-") == later and "det-" not in name}
        for later in (False, True)
    )
    assert first == second
    results = {
        cell: [result.row for result in two_rates.results() if result.cell == cell] for cell in two_rates.plan.cells
    }
    assert results["a"] != results["b"]
    command("report", str(two_rates.folder))
    said = capsys.readouterr().out
    for cell in ("a", "b"):
        heading = f"## Starting model: random weights, pre-trained on the public images ({cell})"
        assert f"{heading}\n{results_text(results[cell])}" in said
    command("report", str(two_rates.folder), "--json")
    told = json.loads(capsys.readouterr().out)
    assert [(row["cell"], row["value"]) for row in told] == [
        (result.cell, result.row.value) for result in two_rates.results()
    ]


def command(*arguments: str) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["fedfr", *arguments])
        patched.setattr(warnings, "showwarning", warnings.showwarning)  # main sets its own
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code


KILLED = """
import os, signal, sys
from pathlib import Path
from fedfr.experiments.benchmark import Benchmark
from fedfr.experiments.benchmark_plan import Plan
place, after = Path(sys.argv[1]), sys.argv[2]
plan = Plan.model_validate_json((place / "plan.json").read_text())
def watch(event, arguments):
    wanted = {"os.rename": 1, "open": 0}.get(event)
    if wanted is not None and after in str(arguments[wanted]):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
Benchmark.begin(plan, place / "out")
"""


@pytest.mark.parametrize("after", ["split.json", "faces.json", "pixels.npy"])
def test_a_benchmark_killed_at_its_start_continues(after: str, tmp_path: Path) -> None:
    """SIGKILL once a file of this name exists: in the first cell's import or between two cells."""
    people = tmp_path / "people"
    faces = tiny_faces()
    for number, (image, label) in enumerate(zip(faces.images(np.arange(len(faces))), faces.labels, strict=True)):
        person = people / faces.identities[label]
        person.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(person / f"{number:03d}.png"), image)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(parse_overrides(SETTINGS)), encoding="utf-8")
    cells = {name: Cell(settings={"local": {"learning_rate": rate}}) for name, rate in (("a", 0.01), ("b", 0.3))}
    plan = Plan(
        name="tiny",
        config=str(tmp_path / "tiny.yaml"),
        budget="cpu",
        methods=("pretrained",),
        seeds=(0,),
        settings={"faces": {"path": str(people)}},
        cells=cells,
    )
    out = tmp_path / "out"
    (tmp_path / "plan.json").write_text(plan.model_dump_json(), encoding="utf-8")
    child = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), after], capture_output=True, encoding="utf-8")
    assert child.returncode == -signal.SIGKILL, child.stderr
    results = Benchmark.begin(plan, out).run()
    assert {result.cell for result in results} == {"a", "b"}
    assert not list(out.rglob(".*.tmp"))


def test_a_given_empty_folder_is_unchanged_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(real)
    monkeypatch.chdir(real)
    for place in (tmp_path / "link", Path()):
        with pytest.raises(FedfrError, match=r"faces\.path is missing"):
            Benchmark.begin(plan_benchmark("lfw-fed"), place)
        assert not list(real.iterdir())
    assert (tmp_path / "link").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o700


def test_a_benchmark_of_the_starting_model_alone(tmp_path: Path) -> None:
    tiny_faces().save(tmp_path / "faceset")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(parse_overrides(SETTINGS)), encoding="utf-8")
    settings = {"faces": {"path": str(tmp_path / "faceset")}}
    plan = Plan(
        name="x",
        config=str(tmp_path / "tiny.yaml"),
        budget="cpu",
        methods=("pretrained",),
        seeds=(0,),
        settings=settings,
    )
    results = Benchmark.begin(plan, tmp_path / "out").run()
    assert {(result.row.method, result.row.model) for result in results} == {("pretrained", "pretrained")}
    assert any(result.row.value is not None for result in results)
    write_report(tmp_path / "out")
