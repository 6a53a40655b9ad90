"""Benchmarks: methods over seeds, resuming, and costs."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from tests.support.tiny_experiment import BACKBONE, SETTINGS, tiny_faces

from fedfr.config.loading import merge
from fedfr.config.schema import parse_overrides
from fedfr.core.errors import FedfrError
from fedfr.experiments.benchmark import Benchmark
from fedfr.experiments.benchmark_plan import Cell, Plan
from fedfr.experiments.benchmark_results import read_results
from fedfr.experiments.deals import deals_of
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.report import open_report
from fedfr.models import build_backbone
from fedfr.reporting.benchmark_table import benchmark_tables
from fedfr.reporting.page import page
from fedfr.reporting.progress import Silent
from fedfr.reporting.scenario import sweep_charts
from fedfr.results.metric_groups import Deals
from fedfr.results.result_rows import Row

METHODS = ("fedavg", "lg-fedavg", "fedfr", "local")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    """Four methods, two seeds."""
    folder = tmp_path_factory.mktemp("benchmark")
    tiny_faces().save(folder / "faceset")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(parse_overrides(SETTINGS)), encoding="utf-8")
    settings = {"faces": {"path": str(folder / "faceset")}, "federation": {"rounds": 1}}
    plan = Plan(
        name="tiny",
        config=str(folder / "tiny.yaml"),
        budget="cpu",
        methods=METHODS,
        seeds=(0, 1),
        settings=settings,
    )
    made = Benchmark.begin(plan, folder / "out")
    made.run()
    return made


def test_every_method_has_metrics_of_every_seed(finished: Benchmark) -> None:
    found = {(result.row.method, result.row.seed) for result in finished.results()}
    assert found == {(method, seed) for method in ("pretrained", *METHODS) for seed in (0, 1)}


def test_every_seed_has_its_own_split(finished: Benchmark) -> None:
    first, second = ((finished.folder / "scratch" / f"seed-{seed}" / "split.json").read_bytes() for seed in (0, 1))
    assert first != second


def test_costs_equal_the_sizes_of_messages(finished: Benchmark) -> None:
    cost = {result.row.method: result for result in finished.results() if result.row.seed == 0}
    state = build_backbone(BACKBONE, 0).state_dict()
    model = sum(value.numel() * value.element_size() for value in state.values())
    prototypes = 4 * 4 * 512
    assert cost["fedavg"].bytes_up == 2 * model
    assert cost["fedavg"].bytes_down == 2 * (model + prototypes)
    assert cost["fedfr"].bytes_up == 2 * (model + prototypes)
    assert cost["local"].bytes_up == cost["pretrained"].bytes_up == cost["pretrained"].bytes_down == 0
    assert cost["lg-fedavg"].bytes_up == 2 * sum(
        value.numel() * value.element_size() for name, value in state.items() if name.startswith(("fc.", "features."))
    )
    # One worker: its clients' seconds are part of the round's.
    assert all(0 < (cost[method].client_seconds or 0) <= cost[method].wall_seconds < 60 for method in METHODS)
    assert all((cost[method].peak_bytes or 0) > 0 for method in METHODS)


def test_the_csv_holds_every_row(finished: Benchmark) -> None:
    with (finished.folder / "results.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    results = finished.results()
    assert len(lines) == len(results)
    assert read_results(finished.folder / "results.csv") == results
    for line, result in zip(lines, results, strict=True):
        assert line == {name: "" if value is None else str(value) for name, value in result.to_dict().items()}


def test_a_finished_benchmark_trains_nothing_when_repeated(finished: Benchmark) -> None:
    before = (finished.folder / "results.csv").read_bytes()
    events = [path.read_bytes() for path in sorted(finished.folder.rglob("metrics.jsonl"))]
    Benchmark.begin(finished.plan, finished.folder).run()
    assert (finished.folder / "results.csv").read_bytes() == before
    assert [path.read_bytes() for path in sorted(finished.folder.rglob("metrics.jsonl"))] == events


def test_methods_without_tuned_settings_are_named_in_a_run_and_in_its_report(finished: Benchmark) -> None:
    notes = []

    class Notes(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    Benchmark.open(finished.folder).run(Notes())
    (expected,) = finished.plan.untuned()
    assert expected == "settings of no method are tuned (scratch)"
    assert expected in notes
    assert expected in open_report(finished.folder).description


def test_an_interrupted_seed_is_resumed(finished: Benchmark) -> None:
    before = (finished.folder / "results.csv").read_bytes()
    # As a killed process leaves it: no figures of one method, no table.
    (finished.folder / "scratch" / "seed-1" / "evaluation" / "local.json").unlink()
    (finished.folder / "results.csv").unlink()
    assert {result.row.seed for result in finished.results()} == {0}
    Benchmark.begin(finished.plan, finished.folder).run()
    assert (finished.folder / "results.csv").read_bytes() == before


def test_seeds_can_be_added(finished: Benchmark, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished.folder, folder, symlinks=True)
    more = finished.plan.model_copy(update={"methods": finished.plan.methods, "seeds": (0, 1, 2)})
    begun = Benchmark.begin(more, folder)
    assert Benchmark.open(folder).plan == more
    assert {result.row.seed for result in begun.results()} == {0, 1}, "what is there stays"


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    """Two clients of one and of three identities, read from a folder of images; every third person is public."""
    folder = tmp_path_factory.mktemp("scenario")
    faces = tiny_faces(alike=0.5)
    for image, label in zip(faces.images(np.arange(len(faces))), faces.labels, strict=True):
        person = folder / "people" / faces.identities[label]
        person.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(person / f"{len(list(person.iterdir()))}.png"), image[..., ::-1])
    settings = merge(
        parse_overrides(SETTINGS),
        {"faces": {"path": str(folder / "people")}, "federation": {"rounds": 1}, "local": {"batch_size": 2}},
    )
    settings["split"] = {"recipe": "general", "settings": {**settings["split"]["settings"], "generic_identities": 4}}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    sizes = {"one": 1, "three": 3, "uneven": [1, 3]}
    plan = Plan(
        name="tiny",
        config=str(folder / "tiny.yaml"),
        budget="cpu",
        methods=("fedface", "fedfr", "centralized"),
        seeds=(0,),
        scenario="identities",
        axis="identities per client",
        cells={
            name: Cell(
                at=None if name == "uneven" else float(str(size)),
                group="uneven" if name == "uneven" else "even",
                settings={"split": {"settings": {"identities_per_client": size}}},
            )
            for name, size in sizes.items()
        },
    )
    made = Benchmark.begin(plan, folder / "out")
    made.run()
    return made


def test_a_scenario_varies_the_federation(scenario: Benchmark) -> None:
    splits = {cell: Experiment.open(scenario.folder / cell / "seed-0").components.split for cell in scenario.plan.cells}
    sizes = {
        cell: [len(split.identities[client]) for client in sorted(split.clients)] for cell, split in splits.items()
    }
    assert sizes == {"one": [1, 1], "three": [3, 3], "uneven": [1, 3]}
    found = {(result.cell, result.row.method) for result in scenario.results()}
    assert found == {
        (cell, name) for cell in scenario.plan.cells for name in ("pretrained", "fedface", "fedfr", "centralized")
    }


def test_faces_are_imported_once(scenario: Benchmark) -> None:
    assert len([path for path in scenario.folder.rglob("pixels.npy") if not path.parent.is_symlink()]) == 1
    assert all((scenario.folder / cell / "seed-0" / "faces").is_symlink() for cell in scenario.plan.cells)


def test_a_moved_folder_keeps_its_faces(scenario: Benchmark, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(scenario.folder, moved, symlinks=True)
    assert len(Experiment.open(moved / "one" / "seed-0").components.faces) == 70


def test_the_same_start_is_made_once(scenario: Benchmark, finished: Benchmark) -> None:
    def trained(run: Path) -> bool:
        lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return any(json.loads(line)["event"] == "pretrain" for line in lines)

    # In this recipe the public people come after the private ones: other sizes, other people, another start.
    assert all(trained(scenario.folder / cell / "seed-0") for cell in scenario.plan.cells)
    first = finished.folder / "scratch" / "seed-0"
    twin = Experiment.create(finished.plan.experiment(0), finished.folder.parent / "twin")
    other = Experiment.create(finished.plan.experiment(1), finished.folder.parent / "other")
    assert not other.reuse_start(first), "another seed, another start"
    assert twin.reuse_start(first)
    assert not twin.reuse_start(first), "it has one now"
    path = Path("pretrained") / "generic.safetensors"
    assert (twin.folder / path).read_bytes() == (first / path).read_bytes()


def test_a_scenarios_page_draws_what_varies(scenario: Benchmark) -> None:
    report = open_report(scenario.folder)
    generic, personal = sweep_charts(report.axis, report.sections)
    head, *lines = generic.table
    assert head[:4] == ("method", "model", "group", "identities per client")
    rows = [(result.cell, result.row) for result in scenario.results()]
    value = next(
        row.value
        for cell, row in rows
        if (cell, row.method, row.model, row.protocol, row.metric)
        == ("three", "fedfr", "generic", "generic-1:1", "TAR@FAR=1e-1")
    )
    assert ("fedfr", "generic", "even", 3.0, value, None, 1) in lines
    assert ("fedfr", "generic", "uneven", "uneven") in [line[:4] for line in lines]
    assert {line[:2] for line in personal.table[1:]} == {
        ("pretrained", "pretrained"),
        ("fedface", "personalized"),
        ("fedfr", "personalized"),
        ("centralized", "centralized"),
    }
    assert 1.0 not in {line[3] for line in personal.table}, "a client of one identity is refused for want of impostors"
    text = page(report)
    assert '<figure id="sweep-generic-1-1">' in text
    assert all(f"<h2>{scenario.plan.axis}: {cell}</h2>" in text for cell in scenario.plan.cells)


def test_another_plan_needs_another_folder(finished: Benchmark) -> None:
    other = finished.plan.model_copy(update={"seeds": (0,)})
    with pytest.raises(FedfrError, match="was begun with seeds") as caught:
        Benchmark.begin(other, finished.folder)
    for option in ("--start", "--methods", "--scenario", "--budget", "--set", "--seeds"):
        assert option in str(caught.value)


def test_the_table_compares_with_fedavg_and_fedfr(finished: Benchmark) -> None:
    rows = [result.row for result in finished.results()]
    # Tiny faces are nearly all recognized; near saturation there would be no intervals.
    rows = [replace(row, value=row.value and 0.4 * row.value + 0.3 + n * n % 13 / 400) for n, row in enumerate(rows)]
    third = [replace(row, seed=2, value=row.value and 0.9 * row.value) for row in rows if row.seed == 0]

    def text(rows: Sequence[Row], deals: Deals) -> str:
        every = "\n\n".join(table.for_page().markdown() for table in benchmark_tables(rows, deals))
        return every[every.index("**personalized-1:1, TAR@FAR=1e-1 (%)**") :]

    head, _, *lines = text([*rows, *third], Deals(people=18)).split("\n\n")[1].splitlines()
    assert re.fullmatch(
        r"\| model \| mean \| worst client \| seeds \| − fedavg (generic|personalized) \[95 %\] "
        r"\| − fedfr personalized \[95 %\] \|",
        head,
    )
    assert "t intervals over 3 seeds with different people" in text([*rows, *third], Deals(people=18))
    compared = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[5:7]] for line in lines}
    best = head.split("− ")[1].split(" [")[0]
    assert compared[best][0] == "", "of the method itself"
    assert "[" in compared[best][1]
    (other,) = {"fedavg generic", "fedavg personalized"} - {best}
    assert compared[other] == ["", ""], "only the better model of a method is compared"
    assert "[" in compared["pretrained"][0]
    for given, shared, reason in (
        (rows, 0, "2 seeds are too few for an interval, which needs 3; the order may be chance.\n"),
        (
            rows,
            6,
            "2 seeds are too few for an interval, which needs 3; the order may be chance. The seeds share 6 of 18",
        ),
        (
            [*rows, *third],
            6,
            "No intervals: 6 of the 18 people whom clients train on belong to several of the 3 seeds (two share up to",
        ),
    ):
        without = text(given, Deals(people=18, shared=shared, shared_by_two=4 if shared else 0))
        assert reason in without
        assert "[" not in without.split("\n\n")[1]


def test_people_shared_by_seeds_are_counted(finished: Benchmark) -> None:
    """Two seeds of 6 of 14 people each: those in both train in both."""
    (runs,) = finished.finished().values()
    trained, generic = [], []
    for run in runs:
        images = [image for client in run.components.split.clients.values() for image in client.train]
        trained.append({run.components.faces.labels[image] for image in images})
        generic.append({run.components.faces.labels[image] for image in run.components.split.generic})
    deals = deals_of(runs)
    assert (deals.people, deals.shared) == (len(trained[0] | trained[1]), len(trained[0] & trained[1]))
    assert deals.shared == deals.shared_by_two > 0
    tested = (trained[0] & generic[1]) | (trained[1] & generic[0])
    assert deals.tested == len(tested) > 0
    assert deals_of(runs[:1]) == Deals()
