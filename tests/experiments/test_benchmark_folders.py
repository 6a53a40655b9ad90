"""Folders that hold no benchmark are refused and unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedfr.core.errors import FedfrError
from fedfr.experiments.benchmark import Benchmark
from fedfr.experiments.benchmark_plan import plan_benchmark
from fedfr.experiments.benchmark_results import read_results


def test_other_tables_are_refused_as_results(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("method,seed\nfedavg,0\n", encoding="utf-8")
    with pytest.raises(FedfrError, match=r"is not a results\.csv of a benchmark"):
        read_results(tmp_path / "other.csv")


def test_a_folder_with_other_files_is_unchanged(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FedfrError, match="not an empty folder"):
        Benchmark.begin(plan_benchmark("orl"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(FedfrError, match="holds no benchmark"):
        Benchmark.open(tmp_path)


def test_without_faces_the_folder_is_unchanged(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        with pytest.raises(FedfrError, match=r"faces\.path is missing"):
            Benchmark.begin(plan_benchmark("lfw-fed"), out)
        assert list(tmp_path.iterdir()) in ([], [out])
        assert not out.exists() or not list(out.iterdir())
        out.mkdir(exist_ok=True)
