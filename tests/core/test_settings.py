"""Error messages for invalid settings of every type."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from fedfr.core.errors import FedfrError
from fedfr.core.settings import Settings, allowed, validate


class Inner(Settings):
    power: Annotated[int, Field(ge=1)] = 3
    names: tuple[str, ...] = ()


class Outer(Settings):
    schedule: Literal["cosine", "step"] = "cosine"
    epochs: Literal["adaptive"] | Annotated[int, Field(ge=1)] = "adaptive"
    rates: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (0.1,)
    clip: Annotated[float, Field(gt=0)] | None = None
    flip: bool = True
    path: str | None = None
    inner: Inner = Inner()
    free: dict[str, Any] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "a whole number"),
        (float, "a number"),
        (bool, "true or false"),
        (str, "text (a number in quotes)"),
        (Literal["one"], "'one'"),
        (Literal["a", "b", "c"], "'a', 'b' or 'c'"),
        (Annotated[float, Field(ge=-1, le=1)], "a number of at least -1 and at most 1"),
        (Annotated[int, Field(gt=0, lt=9)] | None, "a whole number above 0 and below 9 or null"),
        (tuple[int, ...], "a list, each a whole number"),
    ],
)
def test_descriptions_of_types(annotation: Any, words: str) -> None:
    assert allowed(annotation) == words


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"schedule": "linear"}, "schedule = 'linear': give 'cosine' or 'step'"),
        ({"epochs": 0}, "epochs = 0: give 'adaptive' or a whole number of at least 1"),
        ({"epochs": "often"}, "epochs = 'often': give 'adaptive' or a whole number of at least 1"),
        ({"rates": 0.1}, "rates = 0.1: give a list, for example [0.1]"),
        ({"rates": []}, "rates = []: give a list of one or more values, each a number above 0 and below 1"),
        ({"rates": None}, "rates = None: give a list of one or more values, each a number above 0 and below 1"),
        ({"rates": [0.5, 2]}, "rates.1 = 2: give a number above 0 and below 1"),
        ({"clip": "large"}, "clip = 'large': give a number above 0 or null"),
        ({"clip": float("inf")}, "clip = inf: give a number above 0 or null"),
        ({"flip": "perhaps"}, "flip = 'perhaps': give true or false"),
        ({"path": 2024}, "path = 2024: give text (a number in quotes) or null"),
        ({"inner": 3}, "inner = 3: give its settings by name, for example inner.power=3"),
        ({"inner": "x"}, "inner = 'x': give its settings by name, for example inner.power=3"),
        ({"inner": {"names": "anna"}}, "inner.names = 'anna': give a list, for example [anna]"),
        ({"inner": {"power": 0.5}}, "inner.power = 0.5: give a whole number of at least 1"),
        ({"inner": {"powr": 1}}, "unknown setting 'inner.powr'; known here: power, names"),
        ({"free": 3}, "free = 3: give settings by name"),
        ({"colour": 1}, "unknown setting 'colour'; known here: schedule, epochs, rates, clip, flip, path, inner, free"),
    ],
)
def test_errors_of_invalid_settings(content: dict[str, Any], message: str) -> None:
    with pytest.raises(FedfrError) as caught:
        validate(Outer, content, "run.yaml")
    assert str(caught.value) == f"run.yaml: {message}"


class Needed(Settings):
    backbone: str
    rounds: Annotated[int, Field(ge=1)]
    inner: Inner


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {},
            (
                "missing are backbone (text (a number in quotes)), rounds (a whole number of at least 1), "
                "inner (its settings by name, for example inner.power=3); give them"
            ),
        ),
        ({"backbone": "a", "inner": {}}, "missing is rounds (a whole number of at least 1); give it"),
    ],
)
def test_all_missing_settings_are_named(content: dict[str, Any], message: str) -> None:
    with pytest.raises(FedfrError) as caught:
        validate(Needed, content, "run.yaml")
    assert str(caught.value) == f"run.yaml: {message}"
