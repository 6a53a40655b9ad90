"""Benchmarks kept in the repository: complete, with outcomes by person, and shown where every result has its place."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml

from fedfr.config.schema import parse_overrides
from fedfr.core.errors import FedfrError
from fedfr.evaluation.person_outcomes import PersonOutcomes
from fedfr.experiments.benchmark import Benchmark
from fedfr.experiments.benchmark_plan import Plan
from fedfr.experiments.benchmark_results import read_results
from fedfr.experiments.deals import deals_of
from fedfr.results.comparison import compare
from fedfr.results.metric_groups import metric_groups
from fedfr.results.person_records import PersonRecord
from fedfr.results.primary_family import Primary
from tests.support.drawn_rows import rows_of
from tests.support.tiny_experiment import SETTINGS, tiny_faces

KEY = ("method", "seed", "client", "model", "protocol", "metric")
FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def benchmarks_path() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(FOLDER))
        yield


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    module = importlib.import_module("kept")
    monkeypatch.setattr(module, "HERE", tmp_path / "benchmarks")
    return module


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    """Two seeds of one cell that keep outcomes by person."""
    folder = tmp_path_factory.mktemp("kept")
    tiny_faces(alike=0.9).save(folder / "faceset")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(parse_overrides(SETTINGS)), encoding="utf-8")
    more = {"faces": {"path": str(folder / "faceset")}, "federation": {"rounds": 1}}
    more |= {"evaluation": {"people": True, "scoring": ["plain", "flip"]}}
    plan = Plan(
        name="tiny",
        config=str(folder / "tiny.yaml"),
        budget="cpu",
        methods=("fedavg",),
        seeds=(0, 1),
        settings=more,
        primary=Primary(method="fedavg", against=("pretrained",), protocols=("generic-1:1",)),
    )
    made = Benchmark.begin(plan, folder / "out")
    made.run()
    return made


def test_outcomes_by_person_are_kept_and_give_the_same_deals(kept: ModuleType, tiny: Benchmark) -> None:
    target = kept.keep(tiny.folder, "tiny/checkpoint", "fedfr benchmark")
    runs = tiny.finished()["scratch"]
    metrics = kept.strict_metrics([[row for run in runs for row in run.results()]])
    assert ("personalized-1:1", "TAR@FAR=1e-1") in metrics
    assert not [protocol for protocol, _ in metrics if "flip" in protocol]
    made, found = deals_of(runs), kept.kept_deals(target, "scratch")
    assert replace(found, outcomes={}) == replace(made, outcomes={})
    assert made.tested
    assert found.outcomes == {place: models for place, models in made.outcomes.items() if place in metrics}
    assert kept.kept_deals(target, "another").outcomes == {}
    assert kept.kept_primary(target) == tiny.plan.primary is not None
    assert kept.kept_primary(FOLDER / "lfw-fed" / "scratch") is None, "made before families were declared"


def test_the_outcomes_of_every_rate_and_scoring_are_kept(kept: ModuleType, tiny: Benchmark) -> None:
    """Run folders are deleted; what they hold for each person is in two archives, once."""
    archive = importlib.import_module("people_archive")
    target = kept.keep(tiny.folder, "tiny/checkpoint", "fedfr benchmark")

    def found(records: Iterable[tuple[str, PersonRecord]]) -> dict[tuple[object, ...], PersonOutcomes]:
        return {(cell, *(getattr(each, name) for name in KEY)): each.outcomes for cell, each in records}

    strict, others = (found(archive.read_people(target / name)) for name in (kept.PEOPLE, kept.OTHERS))
    made = found(("scratch", record) for run in tiny.finished()["scratch"] for record in run.person_records())
    assert not strict.keys() & others.keys()
    assert (strict | others).keys() == made.keys()
    assert any("flip" in str(key[-2]) for key in others)
    for key, outcomes in (strict | others).items():
        for field in fields(PersonOutcomes):
            np.testing.assert_array_equal(getattr(outcomes, field.name), getattr(made[key], field.name))
    assert next(iter(others.values())).genuine_accepted.dtype == np.int64


def test_archives_of_earlier_versions_are_read(kept: ModuleType) -> None:
    """Kept before with all columns of every record; its numbers of impostors and people are those of its results."""
    folder = FOLDER / "lfw-fed" / "prototypes"
    deals = kept.kept_deals(folder, "share")
    assert set(deals.outcomes) >= {("generic-1:1", "TAR@FAR=1e-4"), ("personalized-1:1", "TAR@FAR=1e-3")}
    results = [result.row for result in read_results(folder / "results.csv") if result.cell == "share"]
    archive = importlib.import_module("people_archive")
    values = {
        tuple(getattr(each, name) for name in KEY): each.outcomes.value
        for cell, each in archive.read_people(folder / kept.PEOPLE)
        if cell == "share"
    }
    assert len(values) == 84
    given = {tuple(getattr(row, name) for name in KEY): row.value for row in results}
    assert values == pytest.approx({key: given[key] for key in values})


def test_an_unfinished_benchmark_is_not_kept(kept: ModuleType, tiny: Benchmark, tmp_path: Path) -> None:
    """Neither with a run that never began, nor with one whose last method was not evaluated."""
    more = tiny.plan.model_copy(update={"seeds": (0, 1, 2)})
    Benchmark.begin(more, tiny.folder)
    try:
        with pytest.raises(FedfrError, match=r"1 of 3 runs are not finished, the first is scratch, seed 2; repeat"):
            kept.keep(tiny.folder, "tiny/checkpoint", "fedfr benchmark")
    finally:
        content = yaml.safe_dump(tiny.plan.model_dump(mode="json"))
        (tiny.folder / "benchmark.yaml").write_text(content, encoding="utf-8")
    file = tiny.folder / "scratch" / "seed-1" / "evaluation" / "fedavg.json"
    file.rename(tmp_path / "aside")
    try:
        with pytest.raises(FedfrError, match=r"1 of 2 runs are not finished, the first is scratch, seed 1"):
            kept.keep(tiny.folder, "tiny/checkpoint", "fedfr benchmark")
    finally:
        (tmp_path / "aside").rename(file)
    assert not (tmp_path / "benchmarks").exists()


def test_every_method_is_compared_and_declared_differences_have_one_verdict_everywhere() -> None:
    """One line per method, its better model; the family alone has verdicts; other scorings have no part in it."""
    tables = importlib.import_module("difference_table")
    deals = {seed: 0.001 * (-1) ** seed for seed in range(4)}

    def values(level: float, places: int) -> dict[int, list[float]]:
        return {seed: [level + (place + 1) * move for place in range(places)] for seed, move in deals.items()}

    figures = {
        ("pretrained", "pretrained", "generic-1:1"): values(0.5, 1),
        ("pretrained", "pretrained", "personalized-1:1"): values(0.6, 2),
        ("fedfr", "generic", "generic-1:1"): {seed: [0.6 + 3 * each] for seed, each in deals.items()},
        ("fedfr", "generic", "personalized-1:1"): values(0.85, 2),
        ("fedfr", "personalized", "personalized-1:1"): {seed: [0.8, 0.8 + 5 * each] for seed, each in deals.items()},
        ("fedavg", "generic", "personalized-1:1"): {seed: [0.7, 0.7 + 2 * each] for seed, each in deals.items()},
        ("fedavg", "personalized", "personalized-1:1"): values(0.65, 2),
        ("fedavg", "generic", "personalized-1:1 flip"): values(0.9, 2),
    }
    given = rows_of(figures)
    primary = Primary(method="fedfr", against=("fedavg", "pretrained"), protocols=("generic-1:1", "personalized-1:1"))
    plain = tables.differences_table(given)
    title, generic, personal, note = plain.split("\n\n")
    assert title.startswith("Descriptive differences")
    assert [line.split(" | ")[0].strip("| ") for line in personal.splitlines()[2:]] == [
        "pretrained",
        "fedfr personalized",
        "fedavg generic",
    ]
    assert "flip" not in plain
    assert "**" not in plain
    group = next(each for each in metric_groups(given) if each.protocol == "personalized-1:1")
    difference = compare(group, ("fedavg", "generic"), ("fedfr", "personalized"))
    assert difference is not None
    assert difference.low is not None
    assert difference.high is not None
    ends = f"{100 * difference.low:+.1f}, {100 * difference.high:+.1f}"
    assert personal.splitlines()[4].split(" | ")[2] == f"-10.0 [{ends}]"
    assert generic.splitlines()[2].startswith("| pretrained | 50.0 | -10.0")
    assert note.count("Descriptive: ") == 1
    text = tables.differences_table(given, primary=primary)
    assert text.endswith(plain)
    _, declared, about = text.removesuffix(plain).strip().split("\n\n")
    verdicts = [line.strip("| ").split(" | ")[-2:] for line in declared.splitlines()[2:]]
    assert [word for _, word in verdicts] == ["ahead", "ahead", "ahead"]
    assert "corrected for all 3 (Holm)" in about
    assert "fedavg in generic-1:1" in about
    short = tables.headline_table(given, primary=primary).split("\n\n")
    lines = [line.strip("|").split("|") for line in short[0].splitlines()[2:]]
    start, fedavg, fedfr = [[cell.strip() for cell in line] for line in lines]
    assert fedavg == ["FedAvg", "–", "", "70.0", verdicts[1][0]]
    assert start == ["starting model", "50.0", verdicts[0][0], "60.0", verdicts[2][0]]
    assert fedfr == ["FedFR", "60.0", "", "80.0", ""]
    assert short[1] == about
    alone = tables.headline_table(given)
    assert alone.count("(descriptive) |") == 3
    assert "**" not in alone


def test_every_kept_result_has_a_table_and_every_table_a_place() -> None:
    everything = importlib.import_module("all")
    kept = {str(path.parent.relative_to(FOLDER)) for path in FOLDER.glob("*/**/plan.yaml")}
    assert kept <= {name for name, _, _ in everything.METHOD_TABLES}
    for name, kind, document in everything.METHOD_TABLES:
        assert f"<!-- {kind} of {name} -->\n" in document.read_text(encoding="utf-8"), (name, kind)


def test_a_kept_search_is_shown_with_what_it_did_not_bracket(tmp_path: Path) -> None:
    records, methods = importlib.import_module("trial_records"), importlib.import_module("methods")
    made = [
        records.Trial("ditto", number, {"local.learning_rate": 0.01, "lam": lam}, {"m": {"personalized": score}}, 1.0)
        for number, (lam, score) in enumerate([(0.1, 0.4), (1.0, 0.5)])
    ]
    records.write_trials(tmp_path / "trials.csv", made)
    about = {"command": "python benchmarks/tune.py", "machine": "a machine", "date": "today", "commit": "abc"}
    text = json.dumps({**about, "open": {"ditto": {"lam": "at the edge"}}})
    (tmp_path / "about.json").write_text(text, encoding="utf-8")
    table, place = methods.trials(tmp_path).split("\n\n")
    assert table.splitlines()[2] == "| ditto | local.learning_rate 0.01, lam 1 | 2 | 50.00 | lam: at the edge |"
    assert place == "`python benchmarks/tune.py`; a machine, today, commit abc"
