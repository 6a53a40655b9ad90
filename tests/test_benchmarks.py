"""Tables of measurements in the documentation match the newest results, and all listed scripts exist."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from fedfr.config.loading import BENCHMARKS, read_benchmark
from fedfr.config.schema import validate
from fedfr.experiments.benchmark_plan import Plan
from fedfr.experiments.benchmark_results import Result, read_results, write_results
from fedfr.reporting.audit_table import audit_page_table
from fedfr.reporting.table import column_title
from fedfr.reporting.verdict import METRIC, QUESTIONS
from fedfr.results.audit_rows import AuditRow
from fedfr.results.metric_groups import shared_metrics
from fedfr.results.result_rows import Row
from fedfr.results.stored_records import records_of
from tests.support.drawn_rows import rows_of

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def everything() -> ModuleType:
    spec = importlib.util.spec_from_file_location("all_benchmarks", FOLDER / "all.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_script_exists(everything: ModuleType) -> None:
    assert [name for name in everything.SCRIPTS if not (FOLDER / f"{name}.py").is_file()] == []


def test_tables_do_not_drift(everything: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without results there is no table; with them every document has the newest."""
    if not list((FOLDER / "results").glob("*.json")):
        assert everything.BEGIN not in (FOLDER / "README.md").read_text(encoding="utf-8")
        return
    monkeypatch.syspath_prepend(str(FOLDER))
    for document, content in everything.contents():
        assert content in document.read_text(encoding="utf-8")
    methods = importlib.import_module("methods")
    kept = [FOLDER / name for name in everything.WORTH if (FOLDER / name / "results.csv").exists()]
    assert all(methods.worth_figure(folder).is_file() for folder in kept)


def test_kept_galleries_keep_their_promise_and_the_planted_fault_breaks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """At least 20 galleries of every model and size; those calibrated on the people of the training are found out."""
    monkeypatch.syspath_prepend(str(FOLDER))
    door = importlib.import_module("door_galleries")
    kept = json.loads((FOLDER / "door" / "promise.json").read_text(encoding="utf-8"))
    trials = [door.Trial(**each) for each in kept["trials"]]
    for model in ("generic", "frozen-head", "fedfr"):
        for people in (5, 15, 60, 150):
            mine = [trial for trial in trials if (trial.model, trial.enrolled) == (model, people)]
            assert len([trial for trial in mine if trial.normalization == "none"]) >= 20
            honest = [trial for trial in mine if trial.calibrated_on == "strangers"]
            assert all(trial.tested >= 1000 for trial in honest)
            for normalization in {trial.normalization for trial in honest}:
                found = door.judge([trial for trial in honest if trial.normalization == normalization])
                assert found["mean"] <= door.PROMISE
                assert found["broken"] == 0
        planted = [trial for trial in trials if trial.model == model and trial.calibrated_on == "public faces"]
        assert bool(planted) == (model != "generic")
        if planted:
            assert door.judge(planted)["mean"] > door.PROMISE
            assert door.judge(planted)["broken"] > 0
    everything = door.judge([trial for trial in trials if trial.calibrated_on == "strangers"])
    assert everything["own_differ"] == 0
    assert abs(everything["own_rejected"] - everything["own_expected"]) < 0.002


def test_the_example_of_a_privacy_audit_is_its_stored_result() -> None:
    page = (FOLDER.parent / "docs" / "explanation" / "privacy-audit.md").read_text(encoding="utf-8")
    stored = FOLDER / "privacy-audit" / "example.json"
    rows = records_of(AuditRow, json.loads(stored.read_text(encoding="utf-8")), stored)
    table = [f"| {' | '.join(line)} |" for line in audit_page_table(rows).lines]
    assert "\n".join(table) in page
    assert all(row.positive_control > 0.9 for row in rows if row.positive_control is not None)


def test_the_kept_secure_sums_are_within_their_limits() -> None:
    """40 sites of 52.8 M values: three models of memory at the server beside the broadcast, ten seconds a site."""
    rounds = json.loads((FOLDER / "privacy" / "secure_sums.json").read_text(encoding="utf-8"))["rounds"]
    members = "sites in the sum, equal to the plain sum to the bit"
    assert [(each["sites that drop out before their vectors"], each[members]) for each in rounds] == [(0, 40), (13, 27)]
    for each in rounds:
        assert each["server: largest memory beside the broadcast, models"] <= 3
        assert each["a site in all: largest, s"] <= 10
        assert each["sent by a site, models"] < 1.001


def test_different_shares_of_rejected_own_images_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tolerance: a share outside the interval is outside it, and Fisher's exact test judges the difference."""
    monkeypatch.syspath_prepend(str(FOLDER))
    door = importlib.import_module("door_galleries")
    kept = json.loads((FOLDER / "door" / "promise.json").read_text(encoding="utf-8"))["trials"]
    given = dict(next(each for each in kept if each["enrolled"] == 150))
    given |= {"own_images": 300, "own_rejected": 0.0, "own_expected": 0.01, "own_low": 0.003, "own_high": 0.03}
    slightly = door.Trial(**given)
    assert not slightly.own_inside
    assert slightly.own_p_value == pytest.approx(0.24874791)  # 0 and 3 of 300
    largely = door.Trial(**given | {"own_rejected": 0.1})
    assert largely.own_p_value == pytest.approx(7.514574e-7)
    assert door.judge([slightly, largely])["own_differ"] == 1


def test_every_scenario_of_the_gain_has_its_place_in_the_documentation(everything: ModuleType) -> None:
    page = (FOLDER.parent / "docs" / "explanation" / "federation.md").read_text(encoding="utf-8")
    named = {f"{name}/{each}" for name in BENCHMARKS for each in read_benchmark(name).get("scenarios", {})}
    assert {each for each in named if "/worth-" in each} == set(everything.WORTH)
    assert all(f"<!-- worth of {name} -->" in page for name in everything.WORTH)


def test_results_of_a_scenario_are_kept_drawn_and_written(
    everything: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored results give the figure and, between its marks, the table."""
    monkeypatch.syspath_prepend(str(FOLDER))
    methods = importlib.import_module("methods")
    monkeypatch.setattr(methods, "HERE", tmp_path / "benchmarks")
    folder = tmp_path / "benchmarks" / "pins-fed" / "worth-images"
    folder.mkdir(parents=True)
    (tmp_path / "docs" / "_static").mkdir(parents=True)
    write_results(folder / "results.csv", gain_results())
    cells = {"few": {"at": 5.0, "methods": {"fedfr": {}}}, "many": {"at": 60.0}}
    plan = {"name": "pins-fed", "config": "pins-fed", "budget": "cpu", "methods": ["fedfr"], "seeds": [0]}
    text = yaml.safe_dump({**plan, "axis": "images", "cells": cells})
    (folder / "plan.yaml").write_text(text, encoding="utf-8")
    about = {"command": "fedfr benchmark", "machine": "a machine", "date": "today", "commit": "abc"}
    (folder / "about.json").write_text(json.dumps({**about, "deals": {"people": 42, "shared": 0}}), encoding="utf-8")
    text = methods.worth(folder)
    assert "![Gain of the federation against images](../_static/pins-fed-worth-images.svg)" in text
    assert text.endswith("`fedfr benchmark`; a machine, today, commit abc; settings of no method are tuned (many)")
    methods.draw_worth(folder)
    assert b"<svg" in (tmp_path / "docs" / "_static" / "pins-fed-worth-images.svg").read_bytes()[:500]


def test_costs_are_per_client_and_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    methods = importlib.import_module("methods")

    def result(method: str, number: int, client: str, seconds: float, up: int) -> Result:
        row = Row(method, 0, number, client, "generic", "personalized-1:1", "TAR@FAR=1e-1", 0.5, 10, 100)
        return Result("scratch", row, seconds, seconds, up, 2 * up, 3_000_000_000)

    given = [result(*each) for each in (("fedavg", 5, "a", 10.0, 80_000_000), ("fedavg", 5, "b", 10.0, 80_000_000))]
    given += [result("finetune", 6, "a", 12.0, 80_000_000), result("centralized", 3, "a", 15.0, 0)]
    assert methods.costs_table(given).splitlines()[2:] == [
        "| fedavg | 8.0 | 16.0 | 1.0 | 3.0 |",
        "| finetune | 6.7 | 13.3 | 1.2 | 3.0 |",
        "| centralized | 0.0 | 0.0 | 1.5 | 3.0 |",
    ]


def test_cells_are_compared_seed_by_seed_and_client_by_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    methods = importlib.import_module("methods")
    given = []
    for cell, generic, personal, up in (("full", 0.7, 0.5, 80), ("int8", 0.69, 0.6, 20)):
        figures = {
            ("pretrained", "pretrained", "generic-1:1"): {0: [0.1], 1: [0.1], 2: [0.1]},
            ("fedavg", "generic", "generic-1:1"): {0: [generic], 1: [generic + 0.1], 2: [1.1 * generic + 0.03]},
            ("fedavg", "personalized", "personalized-1:1"): {
                0: [1.01 * personal - 0.005, 0.3],
                1: [personal + 0.2, 0.3],
                2: [personal + 0.2, 0.3],
            },
        }
        given += [Result(cell, row, 1.0, 1.0, up * 10**6, 0, 0) for row in rows_of(figures)]
    assert methods.changes_table(given).splitlines() == [
        "| model | metric | full | int8 − full [95 %] |",
        "|---|---|---|---|",
        "| fedavg generic | generic-1:1 TAR@FAR=1e-3 | 76.7 | -1.0 [-1.2, -0.9] |",
        "| fedavg personalized | personalized-1:1 TAR@FAR=1e-3 | 46.7 | +5.0 [+4.9, +5.1] |",
        "| fedavg | bytes sent up by the clients | 80 MB | 25 % |",
    ]


def gain_results() -> list[Result]:
    given: list[Result] = []
    for cell, better in (("few", 0.1), ("many", 0.0)):
        figures = {
            ("pretrained", "pretrained", "generic-1:1"): {0: [0.4], 1: [0.5], 2: [0.45]},
            ("fedfr", "generic", "generic-1:1"): {0: [0.5], 1: [0.61], 2: [0.55]},
            ("fedfr", "personalized", "personalized-1:1"): {0: [0.9, 0.8], 1: [0.9, 0.8], 2: [0.9, 0.8]},
            ("local-fedfr", "personalized", "personalized-1:1"): {
                seed: [0.9 - better, 0.8 - better - 1e-5 * seed] for seed in range(3)
            },
        }
        given += [Result(cell, row, 1.0, 30.0, 10**7, 2 * 10**7, 0) for row in rows_of(figures)]
    return given


def test_the_gain_of_a_federation_is_shown_from_kept_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    methods = importlib.import_module("methods")
    given = gain_results()
    plan = {"axis": "images", "cells": {"few": {"at": 5.0}, "many": {"at": 60.0}}}
    table, note = methods.worth_table(given, plan).split("\n\n")
    head, _, *lines = table.splitlines()
    assert head.startswith(
        "| images | fedfr | best alternative | without federation | gain [95 %] | rise from the point above [95 %] "
    )
    assert [line.split(" | ")[4] for line in lines] == [
        "**+10.3 [+8.9, +11.8]**",
        "**+10.3 [+8.9, +11.8]**",
        "**+10.0 [+10.0, +10.0]**",
        "+0.0 [+0.0, +0.0]",
    ]
    assert lines[2] == (
        "| 5, personalized | 85.0 | local-fedfr personalized | 75.0 | **+10.0 [+10.0, +10.0]** |  | 3 "
        "| 5.0 | 10.0 | 15 | 15 |"
    )
    assert "t intervals over deals with different people" in note


@pytest.mark.parametrize(
    "path", sorted(FOLDER.glob("*/*/plan.yaml")), ids=lambda path: f"{path.parts[-3]}-{path.parts[-2]}"
)
def test_kept_plans_are_complete(path: Path) -> None:
    """Former definitions remain in the plans kept with their results, which today's code can run."""
    plan = validate(Plan, yaml.safe_load(path.read_text(encoding="utf-8")), str(path))
    results = read_results(path.with_name("results.csv"))
    assert {(result.cell, result.row.seed) for result in results} == set(plan.runs())
    for cell in plan.cells:
        assert plan.experiment(plan.seeds[0], cell).seed == plan.seeds[0]


def test_the_benchmarks_definitions_have_the_settings_that_the_kept_trials_choose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    records = importlib.import_module("trial_records")
    for path in FOLDER.glob("*/tuning/*/trials.csv"):
        benchmark, start = path.parts[-4], path.parent.name
        definition, trials = read_benchmark(benchmark), records.read_trials(path)
        assert definition["tuned"][start] == records.tuned(trials), path
        if start != "scratch":
            best = records.chosen_start(trials)
            assert best, f"{path}: no trials of the starting model, from which all others begin"
            assert definition["tuned_start"] == {**definition["tuned_start"], **best}, path
            plan = yaml.safe_load(path.with_name("plan.yaml").read_text(encoding="utf-8"))
            assert all(cell["settings"]["pretrain"] == definition["tuned_start"] for cell in plan["cells"].values())


def test_kept_trials_were_judged_by_the_primary_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the kept comparison from the same start that has deals, for which settings are chosen."""
    monkeypatch.syspath_prepend(str(FOLDER))
    records = importlib.import_module("trial_records")
    for path in FOLDER.glob("*/tuning/*/trials.csv"):
        compared = FOLDER / path.parts[-4] / path.parent.name
        if (compared / "plan.yaml").exists() and "deals:" in (compared / "plan.yaml").read_text(encoding="utf-8"):
            rows = [result.row for result in read_results(compared / "results.csv")]
            protocols = ("generic-1:1", "personalized-1:1", "personalized-1:N")
            primary = {f"{name} {metric}" for name in protocols for metric in shared_metrics(rows, name)[:1]}
            assert {metric for trial in records.read_trials(path) for metric in trial.metrics} == primary, path


def test_the_quickstart_is_measured_on_several_processors() -> None:
    """The kept results answer the questions that the command asks, in at least twelve runs."""
    results = json.loads((FOLDER / "quickstart" / "results.json").read_text(encoding="utf-8"))
    runs = results["runs"]
    assert len(runs) >= 12
    assert len({run["instructions"] for run in runs}) >= 4
    assert {run["threads"] for run in runs} == {1, 2}
    asked = [(column_title(*one.one), column_title(*one.other), one.protocol) for one in QUESTIONS]
    for run in runs:
        assert [(each["one"], each["other"], each["protocol"]) for each in run["answers"]] == asked
        assert {each["metric"] for each in run["answers"]} == {METRIC}
    assert max(run["cpu_seconds"] for run in runs if run["instructions"] == "native") < 180


def test_quickstarts_are_replications_with_seeds_that_chose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    quickstart_cpus = importlib.import_module("quickstart_cpus")
    counted = [run for run in quickstart_cpus.RUNS if run[2] not in quickstart_cpus.CHOSEN_WITH]
    assert len(counted) == len({seed for *_, seed in counted}) == 12
    assert {run[:2] for run in counted} == {(name, threads) for name in quickstart_cpus.SETS for threads in (1, 2)}
    assert [seed for *_, seed in quickstart_cpus.RUNS if seed in quickstart_cpus.CHOSEN_WITH] == [0], "what users get"


def test_only_what_holds_on_every_processor_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    quickstart_cpus = importlib.import_module("quickstart_cpus")

    def answers(*differences: float) -> list[dict[str, object]]:
        named = {"other": "start", "protocol": "personalized-1:1", "low": 0.0, "high": 0.0}
        return [
            {"one": name, "difference": value, "answer": "better" if value > 0 else "not settled", **named}
            for name, value in zip("abc", differences, strict=True)
        ]

    # a holds; b is not above 0 in two of ten runs; c is always positive, but its range over seeds contains 0.
    runs = [{"seed": seed // 2, "answers": answers(0.1, 0.1 if seed > 1 else -0.01, 0.001)} for seed in range(8)]
    runs += [{"seed": 4, "answers": answers(0.12, 0.1, 0.5)} for _ in range(2)]
    others = "b − start, the clients' own people: +7.8 [+1.7, +13.9], 8 of 10 positive; "
    others += "c − start, the clients' own people: +10.1 [-17.6, +37.8], 10 of 10 positive"
    seen = {"seed": 0, "counted": False, "answers": answers(-0.5, -0.5, -0.5)}
    shown, unsettled = quickstart_cpus.summary({"runs": [seen, *runs]})
    variation = "mean [variation over deals of these 40 people]"
    assert unsettled == f"Not positive in nine tenths of the runs and in the whole bracket, {variation}: {others}."
    assert shown.splitlines() == [
        f"| difference in points | people | {variation} | positive | settled by the run alone |",
        "|---|---|---|---|---|",
        "| a − start | the clients' own | +10.4 [+9.3, +11.5] | 10 of 10 | 10 of 10 |",
    ]
