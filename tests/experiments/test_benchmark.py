"""A benchmark runs its methods over seeds, goes on where it stopped, and counts what they cost."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from tests.support.tiny_experiment import BACKBONE, SETTINGS, tiny_config, tiny_faces

from fedfr.cli import main
from fedfr.config.loading import BENCHMARKS, merge, read_benchmark
from fedfr.config.schema import parse_overrides
from fedfr.core.errors import FedfrError
from fedfr.experiments.benchmark import Benchmark
from fedfr.experiments.benchmark_plan import Cell, Plan, plan_benchmark
from fedfr.experiments.benchmark_results import read_results
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.from_config import local_training
from fedfr.experiments.report import open_report, write_report
from fedfr.models import BACKBONES, Contract, build_backbone, save_model
from fedfr.reporting.benchmark_table import benchmark_tables, results_text
from fedfr.reporting.page import page
from fedfr.reporting.scenario import sweep_charts


def scenarios(name: str) -> list[str]:
    return list(read_benchmark(name)["scenarios"])


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


def test_every_method_has_figures_of_every_seed(finished: Benchmark) -> None:
    found = {(result.row.method, result.row.seed) for result in finished.results()}
    assert found == {(method, seed) for method in ("pretrained", *METHODS) for seed in (0, 1)}


def test_seeds_have_splits_of_their_own(finished: Benchmark) -> None:
    first, second = ((finished.folder / "scratch" / f"seed-{seed}" / "split.json").read_bytes() for seed in (0, 1))
    assert first != second


def test_costs_are_those_of_the_messages(finished: Benchmark) -> None:
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
    assert all(0 < cost[method].client_seconds <= cost[method].wall_seconds < 60 for method in METHODS)
    assert all(cost[method].peak_bytes > 0 for method in METHODS)


def test_the_csv_holds_every_row(finished: Benchmark) -> None:
    with (finished.folder / "results.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    results = finished.results()
    assert len(lines) == len(results)
    assert read_results(finished.folder / "results.csv") == results
    for line, result in zip(lines, results, strict=True):
        assert line == {name: "" if value is None else str(value) for name, value in result.to_dict().items()}


def test_another_table_is_no_results(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("method,seed\nfedavg,0\n", encoding="utf-8")
    with pytest.raises(FedfrError, match=r"is not a results\.csv of a benchmark"):
        read_results(tmp_path / "other.csv")


def test_run_again_it_trains_nothing_and_says_the_same(finished: Benchmark) -> None:
    before = (finished.folder / "results.csv").read_bytes()
    events = [path.read_bytes() for path in sorted(finished.folder.rglob("metrics.jsonl"))]
    Benchmark.begin(finished.plan, finished.folder).run()
    assert (finished.folder / "results.csv").read_bytes() == before
    assert [path.read_bytes() for path in sorted(finished.folder.rglob("metrics.jsonl"))] == events


def test_a_seed_that_was_interrupted_is_gone_on_with(finished: Benchmark) -> None:
    before = (finished.folder / "results.csv").read_bytes()
    # As a killed process leaves it: no figures of one method, no table.
    (finished.folder / "scratch" / "seed-1" / "evaluation" / "local.json").unlink()
    (finished.folder / "results.csv").unlink()
    assert {result.row.seed for result in finished.results()} == {0}
    Benchmark.begin(finished.plan, finished.folder).run()
    assert (finished.folder / "results.csv").read_bytes() == before


def test_settings_are_laid_over_the_budgets_one_by_one() -> None:
    plan = plan_benchmark("lfw-fed", settings={"local": {"learning_rate": 0.5}})
    local = plan.experiment(0).local
    assert (local.learning_rate, local.epochs, local.batch_size) == (0.5, 2, 16)


def test_more_seeds_may_follow(finished: Benchmark, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(finished.folder, folder, symlinks=True)
    more = finished.plan.model_copy(update={"methods": finished.plan.methods, "seeds": (0, 1, 2)})
    begun = Benchmark.begin(more, folder)
    assert Benchmark.open(folder).plan == more
    assert {result.row.seed for result in begun.results()} == {0, 1}, "what is there stays"


def test_a_budget_is_under_a_cell_and_a_cell_under_the_user() -> None:
    def rates(**given: object) -> list[float]:
        plan = plan_benchmark("lfw-fed", scenario="learning-rate", settings=given)
        return [plan.experiment(0, cell).local.learning_rate for cell in plan.cells]

    assert rates() == [0.005, 0.01, 0.02]
    assert rates(local={"learning_rate": 0.3}) == [0.3] * 3


def test_settings_of_a_methods_own_reach_it_whichever_is_the_main_one() -> None:
    given = {"baseline_settings": {"fedavg": {"local": {"epochs": 3}}, "fedfr": {"dfc": {"weight": 2.0}}}}
    plan = plan_benchmark("orl", methods=["fedavg", "fedfr", "local"], settings=given)
    config = plan.experiment(0)
    assert config.method.name == "fedfr"
    assert config.method.settings["dfc"] == {"weight": 2.0}
    assert config.method.settings["hard_negatives"] == {"threshold": 0.6}, "the preset's stay"
    assert local_training(config, "fedavg").epochs == 3
    alone = plan_benchmark("orl", methods=["fedavg", "local"], settings=given).experiment(0)
    assert (alone.method.name, local_training(alone, "fedavg").epochs) == ("fedavg", 3)


def test_what_was_tuned_is_a_methods_own_and_can_be_changed() -> None:
    cell = Cell(methods={"fedavg": {"local": {"learning_rate": 0.7}}, "moon": {"local": {"learning_rate": 0.6}}})
    plan = Plan(
        name="x", config="quickstart", budget="cpu", methods=("fedavg", "fedfr"), seeds=(0,), cells={"scratch": cell}
    )
    assert local_training(plan.experiment(0), "fedavg").learning_rate == 0.7
    assert "moon" not in plan.experiment(0).baseline_settings
    changed = cell.model_copy(update={"settings": {"baseline_settings": {"fedavg": {"local": {"learning_rate": 0.1}}}}})
    plan = plan.model_copy(update={"cells": {"scratch": changed}})
    assert local_training(plan.experiment(0), "fedavg").learning_rate == 0.1


def test_a_checkpoint_to_start_from(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "method.name=pretrained")
    first = Experiment.create(config, tmp_path / "run")
    first.pretrain()
    checkpoint = tmp_path / "my face model.safetensors"
    shutil.copy(tmp_path / "run" / "pretrained" / "generic.safetensors", checkpoint)
    plan = plan_benchmark("orl", starts=["scratch", str(checkpoint)])
    assert list(plan.cells) == ["scratch", "my-face-model"]
    scratch, started = (plan.experiment(0, cell) for cell in plan.cells)
    assert (scratch.model.start, scratch.pretrain.epochs) == ("scratch", 10)
    assert (started.model.start, started.model.backbone, started.pretrain.epochs) == (str(checkpoint), BACKBONE, 0)


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
    assert all(f"<h2>{cell}</h2>" in text for cell in scenario.plan.cells)


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
        assert f"## {cell}\n{results_text(results[cell])}" in said
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
def test_killed_while_it_begins_it_goes_on(after: str, tmp_path: Path) -> None:
    """SIGKILL as soon as a file of this name is there: in the first cell's import or between two cells."""
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


def test_an_empty_place_that_was_given_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_only_the_starting_model(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 3}, "--set seed=3: the benchmark chooses this setting; use --seeds instead"),
        (
            {"split": {"settings": {"seed": 3}}},
            "--set split.settings.seed=3: the benchmark chooses this setting; use --seeds instead",
        ),
        (
            {"method": {"name": "moon"}},
            "--set method.name=moon: the benchmark chooses this setting; use --methods instead",
        ),
        (
            {"baselines": ["local"]},
            "--set baselines=['local']: the benchmark chooses this setting; use --methods instead",
        ),
        ({"baseline_settings": {"fedproxx": {"mu": 1}}}, "unknown method 'fedproxx'; did you mean 'fedprox'?"),
    ],
)
def test_what_a_benchmark_chooses_is_not_set(settings: dict[str, object], message: str) -> None:
    with pytest.raises(FedfrError) as caught:
        plan_benchmark("orl", settings=settings)
    assert message in str(caught.value)


def test_the_user_stands_above_what_was_tuned() -> None:
    definition = {**read_benchmark("orl"), "tuned": {"scratch": {"fedavg": {"local": {"learning_rate": 0.7}}}}}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("fedfr.experiments.benchmark_plan.read_benchmark", lambda name: definition)
        tuned = plan_benchmark("orl", settings={"local": {"epochs": 9}})
        set_by_hand = plan_benchmark("orl", settings={"local": {"learning_rate": 0.1}})
        untouched = plan_benchmark("lfw-fed", scenario="identities")
    assert local_training(tuned.experiment(0), "fedavg").learning_rate == 0.7
    assert local_training(tuned.experiment(0), "fedavg").epochs == 9
    assert local_training(set_by_hand.experiment(0), "fedavg").learning_rate == 0.1
    assert untouched.cells["identities-1"].methods["fedavg"]["local"] == {"learning_rate": 0.7}


def test_a_sweep_by_which_settings_are_chosen_has_none_chosen() -> None:
    definition = {**read_benchmark("lfw-fed"), "tuned": {"scratch": {"fedavg": {"local": {"learning_rate": 0.7}}}}}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("fedfr.experiments.benchmark_plan.read_benchmark", lambda name: definition)
        assert not any(cell.methods for cell in plan_benchmark("lfw-fed", scenario="learning-rate").cells.values())


@pytest.mark.parametrize(
    ("stem", "cell"),
    [
        ("faces", "faces-start"),
        ("report.html", "report.html-start"),
        ("model+v2 é", "model-v2"),
        ("plain_1", "plain_1"),
    ],
)
def test_a_checkpoint_gives_its_part_a_name_that_is_free(stem: str, cell: str, tmp_path: Path) -> None:
    path = tmp_path / f"{stem}.safetensors"
    backbone = build_backbone(BACKBONE, 0)
    contract = Contract(BACKBONE, 512, BACKBONES[BACKBONE].preprocessing, "0", "generic")
    save_model(path, dict(backbone.state_dict()), contract)
    assert list(plan_benchmark("orl", starts=[str(path)]).cells) == [cell]


def test_another_plan_needs_another_folder(finished: Benchmark) -> None:
    other = finished.plan.model_copy(update={"seeds": (0,)})
    with pytest.raises(FedfrError, match="was begun with seeds"):
        Benchmark.begin(other, finished.folder)


def test_the_table_compares_with_fedavg_and_fedfr(finished: Benchmark) -> None:
    text = "\n\n".join(
        table.for_page().markdown() for table in benchmark_tables([result.row for result in finished.results()])
    )
    table = text[text.index("**personalized-1:1, TAR@FAR=1e-1 (%)**") :].split("\n\n")[1]
    assert table.splitlines()[0] == (
        "| model | mean | worst client | seeds | − fedavg personalized [95 %] | − fedfr personalized [95 %] |"
    )
    assert "Intervals over 2 seeds and their clients" in text
    (own,) = (line for line in table.splitlines() if line.startswith("| fedavg personalized"))
    assert own.split("|")[5].strip() == ""
    assert "[" in own.split("|")[6]


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(FedfrError, match="not an empty folder"):
        Benchmark.begin(plan_benchmark("orl"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(FedfrError, match="holds no benchmark"):
        Benchmark.open(tmp_path)


def test_without_faces_the_folder_is_left_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        with pytest.raises(FedfrError, match=r"faces\.path is missing"):
            Benchmark.begin(plan_benchmark("lfw-fed"), out)
        assert list(tmp_path.iterdir()) in ([], [out])
        assert not out.exists() or not list(out.iterdir())
        out.mkdir(exist_ok=True)


@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.parametrize("budget", ["cpu", "full"])
def test_the_packages_plans_are_sound(name: str, budget: str) -> None:
    plan = plan_benchmark(name, budget=budget, methods=["fedfr", "fedavg"], seeds=2)
    config = plan.experiment(1)
    assert (config.seed, config.method.name, config.baselines) == (1, "fedfr", ("fedavg",))
    everything = plan_benchmark(name, budget=budget)
    everything.experiment(0)


@pytest.mark.parametrize(("name", "scenario"), [(name, each) for name in BENCHMARKS for each in scenarios(name)])
def test_the_packages_scenarios_are_sound(name: str, scenario: str) -> None:
    plan = plan_benchmark(name, scenario=scenario)
    for cell in plan.cells:
        config = plan.experiment(0, cell)
        settings = config.split.settings
        sizes = settings.get("identities_per_client", 1)
        assert not isinstance(sizes, list) or len(sizes) == settings.get("clients", 10)
    assert len({plan.experiment(0, cell).model_dump_json() for cell in plan.cells}) == len(plan.cells)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"name": "lfw"}, "unknown benchmark 'lfw'; known: orl, lfw-fed, pins-fed, paper"),
        ({"budget": "gpu"}, "unknown budget 'gpu'; known: cpu, full"),
        ({"methods": ["fedprx"]}, "unknown method 'fedprx'; did you mean 'fedprox'?"),
        ({"scenario": "size"}, "benchmark orl has no scenario 'size'; known: identities, unequal, participation"),
        (
            {"scenario": "unequal", "starts": ["scratch", "scratch"]},
            "two starting points have the same name; rename one checkpoint",
        ),
        ({"starts": ["/none.ckpt"]}, "/none.ckpt"),
    ],
)
def test_mistakes_are_named(mistake: dict[str, object], message: str) -> None:
    with pytest.raises(FedfrError) as caught:
        plan_benchmark(**{"name": "orl", **mistake})  # type: ignore[arg-type]
    assert message in str(caught.value)
