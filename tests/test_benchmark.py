"""A benchmark runs its methods over seeds, goes on where it stopped, and counts what they cost."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

from fedfr.benchmark import Benchmark, Plan, plan_benchmark
from fedfr.config import parse_overrides
from fedfr.config_source import BENCHMARKS
from fedfr.errors import FedfrError
from fedfr.models import build_backbone
from fedfr.reporting.standings import standings_tables
from tests.tiny import SETTINGS, tiny_faces

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
    first, second = ((finished.folder / f"seed-{seed}" / "split.json").read_bytes() for seed in (0, 1))
    assert first != second


def test_costs_are_those_of_the_messages(finished: Benchmark) -> None:
    cost = {result.row.method: result for result in finished.results() if result.row.seed == 0}
    state = build_backbone("slimface", 0).state_dict()
    model = sum(value.numel() * value.element_size() for value in state.values())
    prototypes = 4 * 4 * 512
    assert cost["fedavg"].bytes_up == 2 * model
    assert cost["fedavg"].bytes_down == 2 * (model + prototypes)
    assert cost["fedfr"].bytes_up == 2 * (model + prototypes)
    assert cost["local"].bytes_up == cost["pretrained"].bytes_up == cost["pretrained"].bytes_down == 0
    assert cost["lg-fedavg"].bytes_up == 2 * sum(
        value.numel() * value.element_size() for name, value in state.items() if name.startswith(("fc.", "features."))
    )
    assert all(cost[method].client_seconds > 0 and cost[method].peak_bytes > 0 for method in METHODS)


def test_the_csv_holds_every_row(finished: Benchmark) -> None:
    with (finished.folder / "results.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    results = finished.results()
    assert len(lines) == len(results)
    for line, result in zip(lines, results, strict=True):
        assert line == {name: "" if value is None else str(value) for name, value in result.to_dict().items()}


def test_run_again_it_trains_nothing_and_says_the_same(finished: Benchmark) -> None:
    before = (finished.folder / "results.csv").read_bytes()
    events = [path.read_bytes() for path in sorted(finished.folder.rglob("metrics.jsonl"))]
    Benchmark.begin(finished.plan, finished.folder).run()
    assert (finished.folder / "results.csv").read_bytes() == before
    assert [path.read_bytes() for path in sorted(finished.folder.rglob("metrics.jsonl"))] == events


def test_a_seed_that_was_interrupted_is_gone_on_with(finished: Benchmark) -> None:
    before = (finished.folder / "results.csv").read_bytes()
    # As a killed process leaves it: no figures of one method, no table.
    (finished.folder / "seed-1" / "evaluation" / "local.json").unlink()
    (finished.folder / "results.csv").unlink()
    assert {result.row.seed for result in finished.results()} == {0}
    Benchmark.begin(finished.plan, finished.folder).run()
    assert (finished.folder / "results.csv").read_bytes() == before


def test_settings_are_laid_over_the_budgets_one_by_one() -> None:
    plan = plan_benchmark("lfw-fed", settings={"local": {"learning_rate": 0.5}})
    local = plan.experiment(0).local
    assert (local.learning_rate, local.epochs) == (0.5, 2)


def test_another_plan_needs_another_folder(finished: Benchmark) -> None:
    other = finished.plan.model_copy(update={"seeds": (0,)})
    with pytest.raises(FedfrError, match="was begun with seeds"):
        Benchmark.begin(other, finished.folder)


def test_the_table_compares_with_fedavg_and_fedfr(finished: Benchmark) -> None:
    text = "\n\n".join(table.markdown() for table in standings_tables([result.row for result in finished.results()]))
    table = text[text.index("**personalized-1:1, TAR@FAR=1e-1**") :].split("\n\n")[1]
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


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"name": "lfw"}, "unknown benchmark 'lfw'; known: orl, lfw-fed, paper"),
        ({"budget": "gpu"}, "unknown budget 'gpu'; known: cpu, full"),
        ({"methods": ["fedprx"]}, "unknown method 'fedprx'; did you mean 'fedprox'?"),
    ],
)
def test_mistakes_are_named(mistake: dict[str, object], message: str) -> None:
    with pytest.raises(FedfrError) as caught:
        plan_benchmark(**{"name": "orl", **mistake})  # type: ignore[arg-type]
    assert message in str(caught.value)
