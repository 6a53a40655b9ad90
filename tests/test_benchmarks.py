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
from fedfr.reporting.table import column_title
from fedfr.reporting.verdict import METRIC, QUESTIONS
from fedfr.results.comparison import Deals
from fedfr.results.result_rows import Row

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
    (folder / "plan.yaml").write_text("axis: images\ncells: {few: {at: 5.0}, many: {at: 60.0}}\n", encoding="utf-8")
    about = {"command": "fedfr benchmark", "machine": "a machine", "date": "today", "commit": "abc"}
    (folder / "about.json").write_text(json.dumps({**about, "deals": {"people": 42, "shared": 0}}), encoding="utf-8")
    text = methods.worth(folder)
    assert "![Gain of the federation against images](../_static/pins-fed-worth-images.svg)" in text
    assert text.endswith("`fedfr benchmark`; a machine, today, commit abc")
    methods.draw_worth(folder)
    assert b"<svg" in (tmp_path / "docs" / "_static" / "pins-fed-worth-images.svg").read_bytes()[:500]


def rows(values: dict[tuple[str, str, str], dict[int, list[float]]]) -> list[Row]:
    """By (method, model, protocol) and seed, the clients' figures; of a generic protocol one."""
    found = []
    for (method, model, protocol), seeds in values.items():
        metric = "TPIR@FPIR=1e-2" if protocol.endswith("N") else "TAR@FAR=1e-3"
        for seed, figures in seeds.items():
            for number, value in enumerate(figures):
                client = "" if protocol.startswith("generic") else f"client-{number}"
                found.append(Row(method, seed, 1, client, model, protocol, metric, value, 100, 10_000))
    return found


def verdicts(table: str) -> dict[str, str]:
    """By claim, the last cell."""
    lines = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    return {cells[0]: cells[-1].strip(" |") for cells in lines}


def test_the_papers_claims_are_judged_by_their_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    paper_claims = importlib.import_module("paper_claims")
    given = rows(
        {
            ("pretrained", "pretrained", "generic-1:1"): {0: [0.7], 1: [0.6], 2: [0.65]},
            ("fedavg", "generic", "generic-1:1"): {0: [0.63], 1: [0.54], 2: [0.58]},
            ("pretrained", "pretrained", "personalized-1:1"): {0: [0.5, 0.6], 1: [0.5, 0.4], 2: [0.5, 0.5]},
            ("fedavg", "personalized", "personalized-1:1"): {0: [0.4, 0.7], 1: [0.6, 0.3], 2: [0.5, 0.4]},
            ("fedfr-hn", "personalized", "personalized-1:1"): {0: [0.3, 0.6], 1: [0.5, 0.2], 2: [0.4, 0.29]},
            ("fedfr", "generic", "generic-1:1"): {0: [0.61], 1: [0.54], 2: [0.6]},
            ("fedfr", "personalized", "personalized-1:1"): {0: [0.6, 0.6], 1: [0.7, 0.4], 2: [0.6, 0.5]},
            ("centralized", "centralized", "generic-1:1"): {0: [0.611], 1: [0.541], 2: [0.602]},
            ("fedavg", "generic", "personalized-1:1"): {0: [0.5, 0.7], 1: [0.6, 0.4], 2: [0.5, 0.5]},
        }
    )
    table = paper_claims.claims_table(given)
    assert verdicts(table) == {
        "FedAvg alone hurts the generic model, 1:1": "**returns**",
        "FedAvg alone helps the personal one, 1:1": "not settled",
        "hard negatives help the personal one, 1:1": "**reversed**",
        "FedFR's generic model is not behind pooled training, 1:1": "**returns, equal within 1 point**",
        "FedFR is ahead of fedavg, 1:1": "not settled",
        "FedFR's generic model is not behind fedavg's, 1:1": "not settled",
    }
    assert "generic-1:1 TAR@FAR=1e-3: fedavg generic − pretrained | -6.7 [" in table.splitlines()[2]
    assert "personalized-1:1 TAR@FAR=1e-3: fedfr personalized − fedavg generic |" in table, "its better model"
    two = [row for row in given if row.seed < 2]
    assert set(verdicts(paper_claims.claims_table(two)).values()) == {"not settled"}
    shared = paper_claims.claims_table(given, deals=Deals(people=10, shared=1))
    assert set(verdicts(shared).values()) == {"not settled"}
    assert "+" in shared
    assert "-6.7 |" in shared


@pytest.mark.parametrize(
    ("sign", "differences", "verdict"),
    [
        (1, [0.05, 0.06, 0.05, 0.04], "returns"),
        (-1, [0.05, 0.06, 0.05, 0.04], "reversed"),
        (1, [0.05, -0.06, 0.05, 0.04], "not settled"),
        (1, [0.001, -0.001, 0.002, -0.001], "equal within 1 point"),
        (-1, [0.003, 0.004, 0.003, 0.004], "reversed, equal within 1 point"),
        (0, [0.02, 0.05, 0.03, 0.04], "returns"),
        (0, [-0.05, -0.06, -0.05, -0.04], "reversed"),
        (0, [-0.05, 0.06, -0.05, 0.04], "not settled"),
        (0, [-0.001, -0.002, -0.001, -0.001], "returns, equal within 1 point"),
    ],
)
def test_a_verdict_follows_from_the_interval(
    sign: int, differences: list[float], verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    paper_claims = importlib.import_module("paper_claims")
    one, other = ("fedfr", "personalized"), ("fedavg", "personalized")
    claim = paper_claims.Claim("it", "personalized-1:1", one, other, sign)
    given = rows(
        {
            (*one, "personalized-1:1"): {seed: [0.5 + value] for seed, value in enumerate(differences)},
            (*other, "personalized-1:1"): {seed: [0.5] for seed in range(len(differences))},
        }
    )
    assert verdicts(paper_claims.claims_table(given, [claim]))["it"].strip("*") == verdict


def test_a_verdict_is_bold_where_it_holds_for_all_claims_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    paper_claims = importlib.import_module("paper_claims")
    base, clear, weak = (("base", "generic"), ("clear", "generic"), ("weak", "generic"))
    given = rows(
        {
            (*base, "generic-1:1"): {seed: [0.5] for seed in range(4)},
            (*clear, "generic-1:1"): {seed: [0.6 + 0.001 * seed] for seed in range(4)},
            (*weak, "generic-1:1"): dict(enumerate([[0.52], [0.55], [0.56], [0.53]])),
        }
    )
    made = paper_claims.Claim
    claims = [made(str(number), "generic-1:1", key, base, 1) for number, key in enumerate([clear, weak, weak, weak])]
    assert verdicts(paper_claims.claims_table(given, claims)) == {
        "0": "**returns**",
        "1": "returns",
        "2": "returns",
        "3": "returns",
    }


def test_the_papers_figure_has_intervals_and_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    paper_claims = importlib.import_module("paper_claims")

    def cell(fedfr: float, fedface: float, central: float) -> list[Row]:
        figures = {
            ("pretrained", "pretrained"): [0.40, 0.41, 0.42],
            ("fedface", "generic"): [fedface, fedface + 0.01, fedface + 0.02],
            ("fedfr", "generic"): [fedfr, fedfr + 0.011, fedfr + 0.02],
            ("centralized", "centralized"): [central, central + 0.012, central + 0.02],
        }
        return rows({(*key, "generic-1:1"): {n: [v] for n, v in enumerate(values)} for key, values in figures.items()})

    table = paper_claims.figure_table({1.0: cell(0.40, 0.41, 0.42), 5.0: cell(0.50, 0.45, 0.50)}, "identities")
    title, _, head, _, one, five = table.splitlines()
    assert title == "generic-1:1 TAR@FAR=1e-3 (%)"
    assert head.startswith("| identities | pretrained | fedface | fedfr | centralized | fedfr − fedface |")
    assert [cells.strip() for cells in one[2:-2].split("|")] == [
        "1",
        "41.0",
        "42.0",
        "41.0",
        "43.1",
        "-1.0 [-1.1, -0.8] reversed",
        "-2.0 [-2.2, -1.9] reversed",
        "",
    ]
    cells = [cell.strip() for cell in five.strip("| ").split("|")]
    assert cells[5].endswith("] returns")
    assert cells[6].endswith("] returns, equal within 1 point")
    assert cells[7] == "+10.0 [+10.0, +10.0] returns"


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
            ("fedavg", "generic", "generic-1:1"): {0: [generic], 1: [generic + 0.1], 2: [generic + 0.1]},
            ("fedavg", "personalized", "personalized-1:1"): {
                0: [personal, 0.3],
                1: [personal + 0.2, 0.3],
                2: [personal + 0.2, 0.3],
            },
        }
        given += [Result(cell, row, 1.0, 1.0, up * 10**6, 0, 0) for row in rows(figures)]
    assert methods.changes_table(given).splitlines() == [
        "| model | metric | full | int8 − full [95 %] |",
        "|---|---|---|---|",
        "| fedavg generic | generic-1:1 TAR@FAR=1e-3 | 76.7 | -1.0 [-1.0, -1.0] |",
        "| fedavg personalized | personalized-1:1 TAR@FAR=1e-3 | 46.7 | +5.0 [+5.0, +5.0] |",
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
                seed: [0.9 - better, 0.8 - better] for seed in range(3)
            },
        }
        given += [Result(cell, row, 1.0, 30.0, 10**7, 2 * 10**7, 0) for row in rows(figures)]
    return given


def test_the_gain_of_a_federation_is_shown_from_kept_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    methods = importlib.import_module("methods")
    given = gain_results()
    plan = {"axis": "images", "cells": {"few": {"at": 5.0}, "many": {"at": 60.0}}}
    table, note = methods.worth_table(given, plan).split("\n\n")
    head, _, *lines = table.splitlines()
    assert head.startswith("| images | fedfr | best alternative | without federation | gain [95 %] | deals | MB up |")
    assert [line.split(" | ")[4] for line in lines] == [
        "**+10.3 [+8.9, +11.8]**",
        "**+10.3 [+8.9, +11.8]**",
        "**+10.0 [+10.0, +10.0]**",
        "+0.0 [+0.0, +0.0]",
    ]
    assert lines[2] == (
        "| 5, personalized | 85.0 | local-fedfr personalized | 75.0 | **+10.0 [+10.0, +10.0]** | 3 "
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
    assert {result.cell for result in results} == set(plan.cells)
    assert {result.row.seed for result in results} == set(plan.seeds)
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
        if (best := records.chosen(trials).get("pretrained")) is not None:
            assert definition["tuned_start"]["learning_rate"] == best.settings["pretrain.learning_rate"]


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


def test_only_what_holds_on_every_processor_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    quickstart_cpus = importlib.import_module("quickstart_cpus")

    def answers(*differences: float) -> list[dict[str, object]]:
        named = {"other": "start", "protocol": "personalized-1:1", "low": 0.0, "high": 0.0}
        return [
            {"one": name, "difference": value, "answer": "better" if value > 0 else "not settled", **named}
            for name, value in zip("abc", differences, strict=True)
        ]

    # a holds; b is not settled by two of ten runs; c is always positive, but its interval over seeds contains 0.
    runs = [{"seed": seed // 2, "answers": answers(0.1, 0.1 if seed > 1 else -0.01, 0.001)} for seed in range(8)]
    runs += [{"seed": 4, "answers": answers(0.12, 0.1, 0.5)} for _ in range(2)]
    others = "b − start, the clients' own people: +7.8 [+1.7, +13.9], 8 of 10 positive; "
    others += "c − start, the clients' own people: +10.1 [-17.6, +37.8], 10 of 10 positive"
    shown, unsettled = quickstart_cpus.summary({"runs": runs})
    assert unsettled == f"Not settled by nine tenths of the runs: {others}."
    assert shown.splitlines() == [
        "| difference in points | people | mean [95 %] | positive | settled by the run alone |",
        "|---|---|---|---|---|",
        "| a − start | the clients' own | +10.4 [+9.3, +11.5] | 10 of 10 | 10 of 10 |",
    ]
