"""Splits of the benchmarks' definitions, on the names and counts of real faces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.support.deals import PINS, check_disjoint, deals_of, private_of

from fedfr.config.loading import read_benchmark
from fedfr.config.schema import EvaluationConfig
from fedfr.evaluation.protocols.generic import generic_verification_protocol
from fedfr.evaluation.protocols.personalized import (
    personalized_identification_protocol,
    personalized_verification_protocol,
)
from fedfr.experiments.benchmark_plan import plan_benchmark
from fedfr.faces import FaceSet, Split, make_split
from fedfr.results.intervals import FEWEST_DEALS
from fedfr.results.metric_groups import rate_of

DEALT = [
    (name, scenario) for name in ("lfw-fed", "pins-fed") for scenario in [None, *read_benchmark(name)["scenarios"]]
]


@pytest.mark.parametrize(("name", "scenario"), DEALT)
def test_nobody_on_whom_settings_are_chosen_is_tested_or_at_a_client(
    name: str, scenario: str | None, request: pytest.FixtureRequest
) -> None:
    """In no scenario, budget and deal. Within a deal, clients, public and generic people are different people."""
    faces: FaceSet = request.getfixturevalue({"lfw-fed": "lfw", "pins-fed": "lfw_and_pins"}[name])
    tuning = plan_benchmark(name, scenario="tuning").experiment(0).split.settings
    chosen_on = make_split(faces, name, **tuning)
    held_back = private_of(chosen_on) | set(chosen_on.identities["generic"])
    assert held_back >= set(chosen_on.identities["distractors"])
    plans = [plan_benchmark(name, scenario=scenario, budget=budget) for budget in ("cpu", "full")]
    given = [plan.experiment(seed, cell).split.settings for plan in plans for cell, seed in plan.runs()]
    for settings in {str(each): each for each in given if not each.get("validation")}.values():
        split = make_split(faces, name, **settings)
        public, generic = (set(split.identities[part]) for part in ("public", "generic"))
        check_disjoint([private_of(split), public, generic])
        assert generic >= set(split.identities["distractors"])
        assert not held_back & (private_of(split) | generic), settings


def test_public_people_of_the_benchmark_on_lfw(lfw: FaceSet) -> None:
    """About half of the 757 that the parts above leave aside; the others test the generic model."""
    given = plan_benchmark("lfw-fed").experiment(0).split.settings
    assert {**plan_benchmark("lfw-fed", budget="full").experiment(0).split.settings, "distractors": 400} == given
    *deals, chosen_on = deals_of(
        lfw, "lfw-fed", **{name: given[name] for name in given if name not in ("deals", "seed")}
    )
    assert {(split.identities["public"], split.public) for split in deals} == {
        (chosen_on.identities["public"], chosen_on.public)
    }
    assert (len(chosen_on.identities["public"]), len(chosen_on.public)) == (400, 1021)
    for split in deals:
        assert len(split.identities["generic"]) == 30 + (1257 - 400) // 6 + 400


def test_private_people_test_the_generic_model_where_settings_are_chosen(lfw_and_pins: FaceSet) -> None:
    """Those of the part whom no client has; most genuine pairs are theirs, as in the deals."""
    whole, chosen_on = (
        make_split(lfw_and_pins, "pins-fed", **plan_benchmark("pins-fed", scenario=each).experiment(0).split.settings)
        for each in (None, "tuning")
    )
    everyone = private_of(deals_of(lfw_and_pins, "pins-fed", **PINS)[-1])
    shares = []
    for split in (whole, chosen_on):
        faces = lfw_and_pins.subset(split.generic)
        pairs = {name: count * (count - 1) // 2 for name, count in zip(faces.identities, faces.counts(), strict=True)}
        shares.append(sum(pairs[name] for name in pairs if name.startswith("pins/")) / sum(pairs.values()))
    unseen = {name for name in chosen_on.identities["generic"] if name.startswith("pins/")}
    assert len(unseen) == 4
    assert unseen | private_of(chosen_on) == everyone
    assert not unseen & private_of(chosen_on)
    assert min(shares) > 0.75
    fewer = make_split(lfw_and_pins, "pins-fed", **PINS, deals=1, generic_identities=3, seed=0)
    assert sum(name.startswith("pins/") for name in fewer.identities["generic"]) == 3


@pytest.mark.parametrize("name", ["lfw-fed", "pins-fed"])
def test_settings_are_chosen_by_the_primary_metrics(name: str, request: pytest.FixtureRequest) -> None:
    """The people for choosing settings are enough for the strictest rates that all deals have, and for no stricter."""
    faces: FaceSet = request.getfixturevalue({"lfw-fed": "lfw", "pins-fed": "lfw_and_pins"}[name])
    primary = []
    for plan in (plan_benchmark(name), plan_benchmark(name, scenario="tuning", seeds=1)):
        configs = [plan.experiment(seed) for seed in plan.seeds]
        splits = [make_split(faces, name, **config.split.settings) for config in configs]
        every = [metrics for split in splits for metrics in metrics_of(faces, split, configs[0].evaluation)]
        refused = {metric for metrics in every for metric, value in metrics.items() if value is None}
        left = sorted({metric for metrics in every for metric in metrics} - refused, key=lambda each: rate_of(each[1]))
        primary.append(dict(reversed(left)))
    assert primary[0] == primary[1]
    assert primary[0].keys() >= {"generic-1:1", "personalized-1:1", "personalized-1:N"}


def metrics_of(faces: FaceSet, split: Split, config: EvaluationConfig) -> list[dict[tuple[str, str], float | None]]:
    """Return protocol, metric and value of the generic model and of each client, for noise in place of features."""
    noise = np.random.default_rng(5)

    def given(images: Any) -> dict[str, Any]:
        return {"features": noise.normal(size=(len(images), 4)), "labels": faces.labels[[*images]], "config": config}

    found = [[("generic-1:1", each) for each in generic_verification_protocol(**given(split.generic))]]
    for client, images in split.clients.items():
        tested = [*split.distractors, *(image for each in split.clients.values() for image in each.test)]
        own = {"own": np.isin(tested, images.test), **given(tested)}
        gallery = given(images.train)
        own |= {f"gallery_{name}": gallery[name] for name in ("features", "labels")}
        assert own["own"].sum() == len(images.test), client
        found.append([("personalized-1:1", each) for each in personalized_verification_protocol(**own)])
        found.append([("personalized-1:N", each) for each in personalized_identification_protocol(**own)])
    return [{(name, each.name): each.value for name, each in one if "(" not in each.name} for one in found]


def test_the_scenarios_of_the_gain_of_a_federation_have_enough_people(lfw_and_pins: FaceSet) -> None:
    name, faces = "pins-fed", lfw_and_pins
    found = [scenario for scenario in read_benchmark(name)["scenarios"] if scenario.startswith("worth-")]
    assert len(found) == 4
    for scenario in found:
        plan = plan_benchmark(name, scenario=scenario)
        settings = {cell: plan.experiment(plan.seeds[-1], cell).split.settings for cell in plan.cells}
        splits = {cell: make_split(faces, name, **given) for cell, given in settings.items()}
        assert len(plan.seeds) >= FEWEST_DEALS
        (steps,) = {plan.experiment(0, cell).local.steps for cell in plan.cells}
        assert (steps is None) == (scenario != "worth-images"), "more images are not more steps"
        if scenario in ("worth-images", "worth-identities", "worth-public"):
            assert len({frozenset(private_of(split)) for split in splits.values()}) == 1, "the same people everywhere"
            tested = [
                sorted(image for own in split.clients.values() for image in own.test) for split in splits.values()
            ]
            assert all(images == tested[0] for images in tested)
