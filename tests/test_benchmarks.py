"""Tables of measurements in the documentation match the newest results, and all listed scripts exist."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from fedfr.config.loading import read_benchmark
from fedfr.experiments.benchmark_results import Result
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


def test_the_papers_claims_are_judged_by_their_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    paper_claims = importlib.import_module("paper_claims")
    given = rows(
        {
            ("pretrained", "pretrained", "generic-1:1"): {0: [0.7], 1: [0.6], 2: [0.65]},
            ("fedavg", "generic", "generic-1:1"): {0: [0.63], 1: [0.54], 2: [0.58]},
            ("pretrained", "pretrained", "personalized-1:1"): {0: [0.5, 0.6], 1: [0.5, 0.4], 2: [0.5, 0.5]},
            ("fedavg", "personalized", "personalized-1:1"): {0: [0.4, 0.7], 1: [0.6, 0.3], 2: [0.5, 0.5]},
            ("fedfr-hn", "personalized", "personalized-1:1"): {0: [0.3, 0.6], 1: [0.5, 0.2], 2: [0.4, 0.4]},
            ("fedfr", "generic", "generic-1:1"): {0: [0.61], 1: [0.54], 2: [0.6]},
        }
    )
    text = paper_claims.claims_table(given).splitlines()[2:]
    verdicts = {line.split(" | ")[0].strip("| "): line.split(" | ")[-1].strip(" |") for line in text}
    assert verdicts == {
        "FedAvg alone hurts the generic model": "yes",
        "… and helps the personal one": "not settled",
        "… and help the personal one": "**no**",
        "FedFR's generic model is not behind fedavg's": "not settled",
    }
    assert "generic-1:1 TAR@FAR=1e-3: fedavg generic − pretrained | -6.7 [" in text[0]


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


def test_a_scenario_is_shown_along_its_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    methods = importlib.import_module("methods")
    given = []
    for cell, value in (("few", 0.5), ("many", 0.7)):
        figures = {
            ("pretrained", "pretrained", "generic-1:1"): {0: [0.4], 1: [0.5]},
            ("fedfr", "generic", "generic-1:1"): {0: [value], 1: [value + 0.1]},
            ("fedfr", "personalized", "personalized-1:1"): {0: [0.9, 0.8]},
        }
        given += [Result(cell, row, 1.0, 1.0, 0, 0, 0) for row in rows(figures)]
    assert methods.axis_table(given, "identities", {"few": 1, "many": 10}).splitlines() == [
        "generic-1:1 TAR@FAR=1e-3 (%)",
        "",
        "| identities | pretrained | fedfr generic |",
        "|---|---|---|",
        "| 1 | 45.0 | 55.0 |",
        "| 10 | 45.0 | 75.0 |",
    ]


def test_the_gain_of_a_federation_is_shown_from_kept_results(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    methods = importlib.import_module("methods")
    given = []
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


def test_the_benchmarks_definitions_have_the_settings_that_the_kept_trials_choose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    records = importlib.import_module("trial_records")
    for path in FOLDER.glob("*/tuning/*/trials.csv"):
        benchmark, start = path.parts[-4], path.parent.name
        assert read_benchmark(benchmark)["tuned"][start] == records.tuned(records.read_trials(path)), path
