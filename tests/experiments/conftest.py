"""A finished benchmark and its report, shared by the tests of reports."""

from __future__ import annotations

import pytest
import yaml
from tests.support.report_page import ReportPage
from tests.support.tiny_experiment import SETTINGS, tiny_faces

from fedfr.config.schema import parse_overrides
from fedfr.experiments.benchmark import Benchmark
from fedfr.experiments.benchmark_plan import Plan
from fedfr.experiments.report import write_report


@pytest.fixture(scope="session")
def reported_benchmark(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    """Finished benchmark of three methods and two seeds, with every round evaluated; faces in `secret place`."""
    folder = tmp_path_factory.mktemp("benchmark")
    faces = folder / "secret place"
    tiny_faces(alike=0.6).save(faces)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(parse_overrides(SETTINGS)), encoding="utf-8")
    settings = {"faces": {"path": str(faces)}, "evaluation": {"every": 1}}
    methods = ("local", "fedavg", "fedfr")
    plan = Plan(
        name="tiny", config=str(folder / "tiny.yaml"), budget="cpu", methods=methods, seeds=(0, 1), settings=settings
    )
    made = Benchmark.begin(plan, folder / "out")
    made.run()
    return made


@pytest.fixture(scope="session")
def report_page(reported_benchmark: Benchmark) -> ReportPage:
    return ReportPage(write_report(reported_benchmark.folder).read_text(encoding="utf-8"))
