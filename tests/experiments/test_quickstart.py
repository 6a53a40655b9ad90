"""The plan of the quickstart: five deals that give all 40 people of ORL one turn as private."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from fedfr.core.errors import FedfrError
from fedfr.experiments.quickstart import quickstart_plan
from fedfr.faces import FaceSet, import_orl, make_split

ONE_RUN = "`fedfr train quickstart --out RUN`"


def private(faces: FaceSet, seed: int) -> list[set[str]]:
    plan, found = quickstart_plan(seed=seed), []
    for number in plan.seeds:
        split = plan.experiment(number).split
        made = make_split(faces, split.recipe, **split.settings)
        found.append({name for client in made.clients for name in made.identities[client]})
    return found


def test_every_person_of_orl_is_private_once() -> None:
    orl_faces = import_orl()
    first, second = private(orl_faces, 0), private(orl_faces, 1)
    for people in (first, second):
        assert [len(deal) for deal in people] == [8] * 5
        assert set.union(*people) == {*orl_faces.identities}
    assert not [deal for deal in second if deal in first]


def test_settings_of_the_user_are_above_the_plans() -> None:
    plan = quickstart_plan({"local": {"epochs": 1}, "split": {"settings": {"deals": 4}}})
    config = plan.experiment(0)
    assert (config.local.epochs, config.split.settings["deals"], config.evaluation.people) == (1, 4, True)
    assert (config.method.name, config.baselines) == ("fedfr", ("local",))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 3}, "--set seed=3: the quickstart chooses this setting; use --seed instead"),
        (
            {"method": {"name": "moon"}},
            f"--set method.name=moon: the quickstart chooses this setting; use {ONE_RUN} instead",
        ),
    ],
)
def test_what_the_quickstart_chooses_is_not_set(settings: Mapping[str, Any], message: str) -> None:
    with pytest.raises(FedfrError) as caught:
        quickstart_plan(settings)
    assert str(caught.value) == message
