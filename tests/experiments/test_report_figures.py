"""Figures and tables of a report: their values are those of the results."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import pytest
from tests.support.report_page import ReportPage, figure_rows
from tests.support.tiny_experiment import tiny_config

from fedfr.experiments.benchmark import Benchmark
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.report import write_report
from fedfr.reporting.benchmark_table import overview_table
from fedfr.results.costs import round_costs
from fedfr.results.result_rows import Row


@pytest.mark.parametrize("name", ["roc-personalized-1-1", "roc-generic-1-1", "search-personalized-1-N", "clients"])
def test_figures_have_a_legend_entry_for_every_line(report_page: ReportPage, name: str) -> None:
    assert ("figure", {"id": name}) in report_page.elements
    ids = {values.get("id") for tag, values in report_page.elements if tag == "g"}
    labelled = [number for number, line in enumerate(report_page.figures[name]["lines"]) if line["label"]]
    assert len(labelled) > 1
    for number in labelled:
        assert {f"{name}--{number}-key", f"{name}--{number}-text"} <= ids


def test_all_kinds_of_figures_are_drawn_with_unique_ids(report_page: ReportPage, reported_benchmark: Benchmark) -> None:
    assert {name.partition("-")[0] for name in report_page.figures} == {
        "roc",
        "det",
        "search",
        "clients",
        "rounds",
        "bytes",
        "time",
        "scores",
    }
    # The elements of a line, its markers and its bars share one id.
    ids = [str(values["id"]) for _, values in report_page.elements if "id" in values]
    once = [each for each in ids if not re.search(r"--\d+$", each)]
    assert len(once) == len(set(once))
    assert (reported_benchmark.folder / "report.html").stat().st_size < 1_500_000


def test_curves_pass_through_the_results(report_page: ReportPage, reported_benchmark: Benchmark) -> None:
    rows = [result.row for result in reported_benchmark.results()]
    compared = 0
    for method, model in (("pretrained", "pretrained"), ("local", "local"), ("fedfr", "personalized")):
        exact = fmean(
            row.value
            for row in rows
            if (row.method, row.model, row.protocol, row.metric) == (method, model, "personalized-1:1", "TAR@FAR=1e-1")
            and row.value is not None
        )
        (drawn,) = (
            float(line["TAR"])
            for line in figure_rows(report_page, "roc-personalized-1-1")
            if (line["method"], line["model"], float(line["FAR"])) == (method, model, 0.1)
        )
        # Two clients in two seeds with 3 genuine pairs each: one pair of one client may share a bin with the threshold.
        assert drawn == pytest.approx(exact, abs=1 / 12 + 1e-6)
        assert 0 < exact < 1
        compared += 1
    assert compared == 3


def test_client_lines_start_at_pretrained_and_end_at_personalized(
    report_page: ReportPage, reported_benchmark: Benchmark
) -> None:
    rows = {
        (row.method, row.model, str(row.seed), row.client): row.value
        for row in (result.row for result in reported_benchmark.results())
        if (row.protocol, row.metric) == ("personalized-1:1", "TAR@FAR=1e-1")
    }
    lines = figure_rows(report_page, "clients")
    assert len(lines) == 4
    for line in lines:
        where = line["seed"], line["client"]
        assert float(line["pretrained"]) == rows["pretrained", "pretrained", *where]
        assert float(line["fedfr"]) == rows["fedfr", "personalized", *where]


def test_round_curves_start_at_pretrained_and_end_at_the_result(
    report_page: ReportPage, reported_benchmark: Benchmark
) -> None:
    lines = [line for line in figure_rows(report_page, "rounds-generic-1-1") if line["method"] == "fedavg"]
    assert [line["round"] for line in lines] == ["0", "1", "2"]
    rows = [
        result.row
        for result in reported_benchmark.results()
        if (result.row.protocol, result.row.metric) == ("generic-1:1", "TAR@FAR=1e-1")
    ]

    def mean(method: str) -> float:
        return fmean(row.value for row in rows if row.method == method and row.value is not None)

    values = [float(line["TAR@FAR=1e-1"]) for line in lines]
    assert values[0] == pytest.approx(mean("pretrained"))
    assert values[2] == pytest.approx(mean("fedavg"))


def test_bytes_match_the_messages(report_page: ReportPage, reported_benchmark: Benchmark) -> None:
    spent = {
        line["method"]: float(line["sent up and down, all clients (MB)"])
        for line in figure_rows(report_page, "bytes-generic-1-1")
    }
    cost = {result.row.method: result.bytes_up + result.bytes_down for result in reported_benchmark.results()}
    assert spent["fedfr"] == pytest.approx(cost["fedfr"] / 1e6)
    assert spent["fedavg"] == pytest.approx(cost["fedavg"] / 1e6)


def test_histograms_count_all_pairs(report_page: ReportPage, reported_benchmark: Benchmark) -> None:
    counted = sum(
        int(line["count"])
        for line in figure_rows(report_page, "scores-personalized-1-1")
        if (line["method"], line["model"]) == ("fedfr", "personalized")
    )
    rows = [
        result.row
        for result in reported_benchmark.results()
        if (result.row.method, result.row.model, result.row.protocol) == ("fedfr", "personalized", "personalized-1:1")
    ]
    assert counted == sum(row.genuine + row.impostor for row in rows if row.metric == "TAR@FAR=1e-1")


def test_incomplete_event_line_is_ignored(reported_benchmark: Benchmark, tmp_path: Path) -> None:
    events = reported_benchmark.folder / "scratch" / "seed-0" / "metrics.jsonl"
    half = tmp_path / "metrics.jsonl"
    half.write_bytes(events.read_bytes() + b'{"time": 17')
    whole = round_costs(events, "fedfr", 0)
    assert round_costs(half, "fedfr", 0) == whole
    assert [cost.round for cost in whole] == [1, 2]
    assert all(cost.wall_seconds > 0 for cost in whole)


def test_history_has_the_evaluated_rounds(tmp_path: Path) -> None:
    """With participation 0.5 some personalized models are older than the evaluated round."""
    more = ["method.name=fedavg", "federation.rounds=3", "federation.participation=0.5", "evaluation.every=2"]
    run = Experiment.create(tiny_config(tmp_path, *more, alike=0.6), tmp_path / "run")
    run.run()
    history = run.history()
    assert {number for number, _ in history} == {2}
    assert {row.round for _, row in history if row.model == "personalized"} - {2}, "some clients did not take part"
    lines = figure_rows(
        ReportPage(write_report(tmp_path / "run").read_text(encoding="utf-8")), "rounds-personalized-1-1"
    )
    assert [line["round"] for line in lines if line["model"] == "personalized"] == ["0", "2", "3"]


def test_tables_state_their_intervals(report_page: ReportPage) -> None:
    assert "personalized-1:1, TAR@FAR=1e-1 (%)" in report_page.text
    assert "2 seeds are too few for an interval, which needs 3; the order may be chance." in report_page.text
    assert "fedfr personalized" in report_page.text


def test_overview_uses_the_strictest_rate_that_all_models_have(reported_benchmark: Benchmark) -> None:
    rows = [result.row for result in reported_benchmark.results()]
    head, lines = overview_table(rows)
    assert head[0] == "model"
    assert "personalized-1:1 TAR@FAR=1e-1" in head
    assert not [title for title in head if "released" in title]
    place = head.index("personalized-1:1 TAR@FAR=1e-1")
    (cell,) = (cells[place] for cells in lines if cells[0] == "fedfr personalized")
    values = [
        [row.value for row in rows if row.seed == seed and _is_fedfr_tar(row) and row.value is not None]
        for seed in (0, 1)
    ]
    means = [fmean(each) for each in values]
    worst = min(value for each in values for value in each)
    assert cell == f"{100 * fmean(means):.1f} ± {100 * stdev(means):.1f} ({100 * worst:.1f})"
    # If one model lacks the strict rate, all are shown at the laxer one.
    strict = [replace(row, metric="TAR@FAR=1e-2") for row in rows if row.metric == "TAR@FAR=1e-1"]
    both = [*rows, *strict]
    assert "personalized-1:1 TAR@FAR=1e-2" in overview_table(both)[0]
    both.remove(next(row for row in strict if row.protocol == "personalized-1:1"))
    assert "personalized-1:1 TAR@FAR=1e-1" in overview_table(both)[0]
    without = [*rows, *(replace(row, value=None) if row.method == "local" else row for row in strict)]
    assert "personalized-1:1 TAR@FAR=1e-1" in overview_table(without)[0], "one model has no value at it"


def _is_fedfr_tar(row: Row) -> bool:
    where = row.method, row.model, row.protocol, row.metric
    return where == ("fedfr", "personalized", "personalized-1:1", "TAR@FAR=1e-1")
