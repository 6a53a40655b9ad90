"""Reuse of finished methods of another benchmark: the rows of a run of their own, and nothing under other terms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.tiny_experiment import SETTINGS, tiny_faces

from fedfr import Experiment
from fedfr.config.schema import parse_overrides
from fedfr.experiments.benchmark import Benchmark
from fedfr.experiments.benchmark_plan import Cell, Plan
from fedfr.experiments.reused_results import reuse_methods
from fedfr.results.result_rows import scoring_of


def plan(folder: Path, methods: tuple[str, ...], scoring: list[str], **cells: dict[str, Any]) -> Plan:
    own = {"faces": {"path": str(folder / "faceset")}, "federation": {"rounds": 1}}
    return Plan(
        name="tiny",
        config=str(folder / "tiny.yaml"),
        budget="cpu",
        methods=methods,
        seeds=(0,),
        settings={**own, "evaluation": {"people": True, "scoring": scoring}},
        cells={name: Cell(settings=settings) for name, settings in cells.items()},
    )


@pytest.fixture(scope="module")
def main(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    """A finished comparison of two methods with two scorings."""
    folder = tmp_path_factory.mktemp("reused")
    tiny_faces(alike=0.9).save(folder / "faceset")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(parse_overrides(SETTINGS)), encoding="utf-8")
    made = Benchmark.begin(plan(folder, ("fedavg", "local"), ["plain", "flip"], whole={}), folder / "main")
    made.run()
    return made


def test_the_cell_that_equals_the_main_comparison_is_copied(main: Benchmark, tmp_path: Path) -> None:
    """And gives what a run of its own gives."""
    folder = main.folder.parent
    points = plan(folder, ("local",), ["plain"], same={}, rate={"local": {"learning_rate": 0.3}})
    made = Benchmark.begin(points, tmp_path / "points")
    made.run(reuse=main.folder)
    own = Experiment.create(points.experiment(0, "same"), tmp_path / "own")
    rows = {cell: [result.row for result in made.results() if result.cell == cell] for cell in points.cells}
    assert rows["same"] == own.run(progress=False)
    assert {scoring_of(row.protocol) for row in rows["same"]} == {"plain"}
    assert rows["rate"] != rows["same"]
    source, copied = main.folder / "whole" / "seed-0", made.folder / "same" / "seed-0"
    assert (copied / "metrics.jsonl").read_bytes() == (source / "baselines/local/metrics.jsonl").read_bytes()
    assert not [*(made.folder / "rate").rglob("*.tmp")]
    records = {
        (record.method, record.protocol, record.client) for record in made.finished()["same"][0].person_records()
    }
    assert records == {(record.method, record.protocol, record.client) for record in own.person_records()}


@pytest.mark.parametrize(
    "other",
    [
        {"federation": {"rounds": 2}},
        {"split": {"settings": {"test_count": 1}}},
        {"local": {"learning_rate": 0.02}},
        {"pretrain": {"epochs": 2}},
        {"evaluation": {"scoring": ["plain", "as-norm"]}},
        {"evaluation": {"fars": [0.2]}},
    ],
)
def test_nothing_is_copied_under_other_terms(main: Benchmark, tmp_path: Path, other: dict[str, Any]) -> None:
    points = plan(main.folder.parent, ("fedavg",), ["plain"], other=other)
    run = Experiment.create(points.experiment(0, "other"), tmp_path / "run")
    assert reuse_methods(run, main.folder / "whole" / "seed-0") == []
    assert not (run.folder / "rounds").exists()
    assert not run.results_file("fedavg").exists()
    # The start does not depend on local training.
    assert run.results_file("pretrained").exists() == ("local" in other)
