"""Search of settings in a fixed number of trials, and its record."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedfr.core.errors import FedfrError
from fedfr.experiments.benchmark_plan import plan_benchmark
from fedfr.methods import METHODS

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def load() -> Any:
    """Return a function that imports a module of benchmarks/."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(FOLDER))
        yield importlib.import_module


@pytest.fixture(scope="module")
def search(load: Callable[[str], ModuleType]) -> ModuleType:
    return load("setting_search")


def searched(
    search: ModuleType, axes: Any, score: Callable[..., float], trials: int, refine: bool = False
) -> dict[Any, float]:
    """Carry a search out; return the scores in the order of the trials."""
    done: dict[Any, float] = {}
    while points := search.proposals(axes, done, trials, refine):
        for point in points:
            assert point not in done
            done[point] = score(*(axis.value(position) for axis, position in zip(axes, point, strict=True)))
    return done


def test_a_best_rate_inside_has_two_neighbours_and_the_rest_refines_if_asked(search: ModuleType) -> None:
    rate = search.Axis("rate", 0.005, factor=2)
    done = searched(search, [rate], lambda value: -abs(value - 0.007), 7)
    assert [rate.value(position) for (position,) in done] == [0.0025, 0.005, 0.01], "steps below two are noise"
    done = searched(search, [rate], lambda value: -abs(value - 0.007), 7, refine=True)
    assert [rate.value(position) for (position,) in done] == [
        0.0025,
        0.005,
        0.01,
        0.003536,
        0.007071,
        0.005946,
        0.008409,
    ]
    assert search.best(done) == (0.5,)
    assert search.open_ends([rate], done) == {}


def test_a_best_rate_at_the_edge_widens_the_grid(search: ModuleType) -> None:
    rate = search.Axis("rate", 0.005, factor=2)
    done = searched(search, [rate], lambda value: -value, 5)
    assert [rate.value(position) for (position,) in done] == [0.0025, 0.005, 0.01, 0.00125, 0.000625]
    assert search.open_ends([rate], done) == {"rate": "at the edge"}
    assert search.open_ends([rate], searched(search, [rate], lambda value: -abs(value - 0.02), 6)) == {}


def test_own_settings_are_searched_at_the_best_rate(search: ModuleType) -> None:
    axes = [
        search.Axis("rate", 0.005, factor=2),
        search.Axis("mu", 0.01, factor=10),
        search.Axis("share", 0.5, step=0.25),
    ]
    done = searched(search, axes, lambda rate, mu, share: -abs(rate - 0.005) - abs(mu - 0.1), 7)
    tried = [tuple(axis.value(position) for axis, position in zip(axes, point, strict=True)) for point in done]
    assert tried[3:] == [(0.005, 0.001, 0.5), (0.005, 0.1, 0.5), (0.005, 1.0, 0.5), (0.005, 0.1, 0.25)]
    assert search.open_ends(axes, done) == {"share": "not identified"}
    few = dict(list(done.items())[:4])
    assert search.open_ends(axes, few) == {"mu": "at the edge", "share": "not searched"}


def test_equal_trials_choose_the_centre_and_divergence_is_the_worst(search: ModuleType) -> None:
    assert search.best({(0.0,): 0.5, (-1.0,): 0.5, (1.0,): 0.5 + 1e-12}) == (0.0,)
    assert search.best({(1.0,): 0.5, (-1.0,): 0.5}) == (-1.0,), "the smaller of two that are as near"
    rate = search.Axis("rate", 0.005, factor=2)
    done = searched(search, [rate], lambda value: float("-inf") if value > 0.004 else 1.0, 4)
    assert search.best(done) == (-1.0,)


def test_a_setting_without_influence_on_the_score_is_not_identified(search: ModuleType) -> None:
    """It keeps its default, also if trials of other settings differ."""
    axes = [search.Axis("rate", 0.005, factor=2), search.Axis("mu", 0.01, factor=10)]
    done = searched(search, axes, lambda rate, mu: -abs(rate - 0.01), 6)
    assert search.best(done) == (1.0, 0.0)
    assert search.open_ends(axes, done) == {"mu": "not identified"}
    done = searched(search, axes, lambda rate, mu: 0.9 - mu, 5)
    assert search.best(done) == (0.0, -1.0)
    assert search.open_ends(axes, done) == {"rate": "not identified", "mu": "at the edge"}


def test_limits_bracket(search: ModuleType) -> None:
    share = search.Axis("share", 0.5, step=0.25, low=0.05, high=0.95)
    done = searched(search, [share], lambda value: value, 9)
    assert max(share.value(position) for (position,) in done) <= 0.95
    assert search.open_ends([share], done) == {"share": "at the limit"}
    assert search.open_ends([share], searched(search, [share], lambda value: -abs(value - 0.5), 9)) == {}
    done = searched(search, [share], lambda value: -abs(value - 0.8), 9, refine=True)
    assert share.value(*search.best(done)) == 0.8125, "between values that are worse"
    assert search.open_ends([share], done) == {}


def test_whole_numbers_are_tried_once_and_not_below_the_lowest(search: ModuleType) -> None:
    epochs = search.Axis("epochs", 3, factor=2, low=1, whole=True)
    done = searched(search, [epochs], lambda value: -value, 9, refine=True)
    assert [epochs.value(position) for (position,) in done] == [2, 3, 6, 1]
    assert all(isinstance(epochs.value(position), int) for (position,) in done)
    assert search.open_ends([epochs], done) == {"epochs": "at the limit"}
    done = searched(search, [epochs], lambda value: -abs(value - 5.2), 9, refine=True)
    assert [epochs.value(position) for (position,) in done] == [2, 3, 6, 12, 4, 8, 5, 7]
    assert search.open_ends([epochs], done) == {}
    assert all(epochs.position(epochs.value(position)) == position for (position,) in done)


def test_eight_trials_bracket_every_setting_of_the_main_method(
    load: Callable[[str], ModuleType], search: ModuleType
) -> None:
    """Its threshold is not searched below the paper's; where trials run out, the contrastive term is left."""
    axes = load("tuned_methods").axes_of("fedfr", 0.005)

    def near(rate: float) -> Callable[..., float]:
        def score(*values: float) -> float:
            wanted = (rate, *(axis.centre for axis in axes[1:]))
            return -math.fsum(abs(value - best) / best for value, best in zip(values, wanted, strict=True))

        return score

    done = searched(search, axes, near(0.005), 8, refine=True)
    assert len(done) == 8
    assert search.open_ends(axes, done) == {"hard_negatives.threshold": "at the limit"}
    done = searched(search, axes, near(0.01), 8, refine=True)
    assert search.open_ends(axes, done) == {
        "hard_negatives.threshold": "at the limit",
        "contrastive.weight": "at the edge",
    }


@pytest.mark.parametrize("name", ["pretrained", *(entry.name for entry in METHODS if entry.name in METHODS.builtin)])
@settings(max_examples=20)
@given(scores=st.lists(st.floats(0, 1), min_size=40, max_size=40))
def test_every_method_has_the_same_number_of_trials(
    load: Callable[[str], ModuleType], search: ModuleType, name: str, scores: list[float]
) -> None:
    """Of more trials the best is better by chance alone."""
    axes = load("tuned_methods").axes_of(name, 0.005)
    done = searched(search, axes, lambda *values: scores[hash(values) % len(scores)], 8, refine=True)
    assert len(done) == (8 if axes else 0)


@given(st.lists(st.floats(0, 1), min_size=40, max_size=40), st.integers(1, 12), st.data())
def test_an_interrupted_search_makes_the_same_trials(
    search: ModuleType, scores: list[float], trials: int, data: Any
) -> None:
    """Also when the trials of a step finish in any order, and only some of them before the interruption."""
    axes = [search.Axis("rate", 0.005, factor=2), search.Axis("mu", 0.01, factor=10)]

    def score(*values: float) -> float:
        return scores[hash(values) % len(scores)]

    whole = searched(search, axes, score, trials, refine=True)
    assert len(whole) == trials
    done: dict[Any, float] = {}
    while points := search.proposals(axes, done, trials, refine=True):
        point = data.draw(st.sampled_from(points))
        done[point] = score(*(axis.value(position) for axis, position in zip(axes, point, strict=True)))
    assert done == whole
    assert all(axes[0].position(axes[0].value(position)) == position for position, _ in whole)


def test_known_rates_are_the_centres_and_other_known_settings_are_searched_or_kept(
    load: Callable[[str], ModuleType],
) -> None:
    axes_of = load("tuned_methods").known_axes
    known = {"fedfr": {"local.learning_rate": 0.00841, "hard_negatives.threshold": 0.5, "dfc.weight": 20}}
    rate, threshold, weight, contrast = axes_of("fedfr", 0.005, known, False)
    assert (rate.centre, threshold.centre, weight.centre, contrast.centre) == (0.00841, 0.4, 10, 5)
    rate, threshold, weight, contrast = axes_of("fedfr", 0.005, known, True)
    assert [axis.centre for axis in (rate, threshold, weight)] == [0.00841, 0.5, 20]
    assert [[axis.allows(step) for step in (-1.0, 0.0, 1.0)] for axis in (rate, threshold, weight, contrast)] == [
        [True, True, True],
        [False, True, False],
        [False, True, False],
        [True, True, True],
    ]
    (own,) = axes_of("fedavg-public", 0.005, known, False)
    assert (own.name, own.centre) == ("local.learning_rate", 0.00841), "that of FedFR, until it has its own"
    assert axes_of("fedfr-hn", 0.005, known, False) == ()
    search = load("setting_search")
    done = searched(search, (threshold, weight), lambda *values: 1.0, 9)
    assert list(done) == [(0.0, 0.0)]
    assert search.open_ends((threshold, weight), done) == {"hard_negatives.threshold": "given", "dfc.weight": "given"}


def test_known_settings_are_those_of_a_record_or_of_the_definition(
    load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuning, records = load("tuning"), load("trial_records")
    made = [
        records.Trial("ditto", number, {"local.learning_rate": 0.01, "lam": lam}, {"m": {"personalized": score}}, 1.0)
        for number, (lam, score) in enumerate([(0.1, 0.4), (1.0, 0.5)])
    ]
    records.write_trials(tmp_path / "trials.csv", made)
    assert tuning.known_settings(str(tmp_path / "trials.csv"), "orl", "scratch") == {"ditto": made[1].settings}
    definition = {"tuned_start": {"learning_rate": 0.01}, "tuned": {"checkpoint": {"fedfr": {"dfc": {"weight": 20}}}}}
    monkeypatch.setattr(tuning, "read_benchmark", lambda name: definition)
    found = tuning.known_settings("definition", "lfw-fed", "FILE")
    assert found == {"pretrained": {"pretrain.learning_rate": 0.01}, "fedfr": {"dfc.weight": 20}}
    with pytest.raises(FedfrError, match=r"lfw-fed has no tuned settings for --start scratch; give a trials\.csv"):
        tuning.known_settings("definition", "lfw-fed", "scratch")
    with pytest.raises(FedfrError, match=r"none\.csv: there are no trials; give a trials\.csv, or definition"):
        tuning.known_settings(str(tmp_path / "none.csv"), "orl", "scratch")
    plan = plan_benchmark("orl", scenario="tuning")
    other = tuning.Tuning(plan, tmp_path, trials=5, rate=0.007)
    other.records = made
    with pytest.raises(FedfrError, match=r"ditto at .*, which is no whole step from the centres of this search"):
        other.due("ditto")


def test_the_record_is_read_as_it_was_written(load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    records, score = load("trial_records"), {"m": {"generic": 0.4, "personalized": 0.3}}
    made = [
        records.Trial("pretrained", 1, {"pretrain.learning_rate": 0.01}, score, 0.0),
        records.Trial("distill", 1, {"share": 0.25}, score, 2.5),
        records.Trial("fedavg", 1, {"local.learning_rate": 0.005}, score, 2.5, (1.0,)),
        records.Trial("fedavg", 2, {"local.learning_rate": 0.0025}, score, 2.5, (0.0,)),
        records.Trial("fedavg", 3, {"local.learning_rate": 0.00125}, score, 2.5, (-1.0,)),
        records.Trial("fedavg", 4, {"local.learning_rate": 0.01}, {}, 2.5, (2.0,)),
        records.Trial("fedfr", 1, {"local.learning_rate": 0.01, "hard_negatives.threshold": 0.3}, score, 2.5),
    ]
    records.write_trials(tmp_path / "trials.csv", made)
    assert sorted(records.read_trials(tmp_path / "trials.csv"), key=made.index) == made
    found = records.tuned(made)
    assert "pretrained" not in found, "tuned_start has its settings"
    rate = {"local": {"learning_rate": 0.0025}}
    assert (found["fedavg"], found["finetune"], found["distill"]) == (rate, rate, {**rate, "share": 0.25})
    assert found["fedfr-hn"] == {"local": {"learning_rate": 0.01}, "hard_negatives": {"threshold": 0.3}}
    (tmp_path / "trials.csv").write_text("method,trial\nfedavg,x\n", encoding="utf-8")
    with pytest.raises(FedfrError, match="is not a record of trials"):
        records.read_trials(tmp_path / "trials.csv")
    assert records.read_trials(tmp_path / "none.csv") == []
    former = 'method,trial,settings,metrics,score,seconds,chosen\nditto,1,"{""lam"": 1}","{""m"": 0.5}",0.5,2.5,yes\n'
    (tmp_path / "trials.csv").write_text(former, encoding="utf-8")
    assert records.read_trials(tmp_path / "trials.csv")[0].score == 0.5


@pytest.mark.parametrize("name", [entry.name for entry in METHODS if entry.name in METHODS.builtin])
def test_every_axis_is_a_setting_of_its_method(load: Callable[[str], ModuleType], name: str) -> None:
    """At the centre and one step to each side."""
    axes, tree = load("tuned_methods").axes_of(name, 0.005), load("trial_records").settings_tree
    for axis in axes:
        default = METHODS[name]({}).settings.model_dump()
        for position in (-1, 0, 1):
            settings = tree({axis.name: axis.value(position)})
            if axis.name.startswith(("local.", "pretrain.")):
                continue
            METHODS[name](settings)
            if position == 0:
                for part in axis.name.split("."):
                    default = default[part]
                assert default == axis.value(0), axis.name


@pytest.mark.parametrize("benchmark", ["lfw-fed", "pins-fed"])
def test_every_method_of_the_main_comparison_has_tuned_settings(
    load: Callable[[str], ModuleType], benchmark: str
) -> None:
    """By trials of its own or as a variant; nothing else is searched."""
    variants = load("tuned_methods").VARIANTS
    trained = {name for name in plan_benchmark(benchmark).methods if METHODS[name]({}).rounds(1)}
    first, *searched_methods = plan_benchmark(benchmark, scenario="tuning").methods
    assert first == "pretrained"
    assert trained == {*searched_methods, *(name for name in trained if variants.get(name) in searched_methods)}
