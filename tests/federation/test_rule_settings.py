"""Settings of rules of aggregation, checked before a run, and rules of other packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.federation.test_server import CLIENTS, START, Arithmetic, server

from fedfr.config.schema import FederationConfig
from fedfr.core.errors import FedfrError
from fedfr.experiments.aggregation_check import check_aggregation
from fedfr.faces import ClientFaces, Split
from fedfr.federation.messages import Broadcast, Update
from fedfr.federation.method import Method
from fedfr.federation.rule_registry import AGGREGATIONS, AggregationRule
from fedfr.methods.centralized import Centralized
from fedfr.methods.fedavg import FedAvg
from fedfr.methods.fedface import FedFace

HERE = "tests.federation.test_rule_settings"


def midrange(values: torch.Tensor) -> torch.Tensor:
    """A rule of another package."""
    return (values.amin(dim=0) + values.amax(dim=0)) / 2


def whole_block(values: torch.Tensor) -> torch.Tensor:
    return values[0] * values.mean()


def one_number(values: torch.Tensor) -> torch.Tensor:
    return values.mean()


def failing(values: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    raise ValueError("a rule\nthat fails")


def of_images(images: torch.Tensor) -> torch.Tensor:
    return images


def honest_updates() -> list[Update]:
    found = Arithmetic().exchange(Broadcast(1, START.weights, START.prototypes), CLIENTS, {}, {})
    return [update for update in found if isinstance(update, Update)]


def split_of(clients: int) -> Split:
    ids = [f"client-{number:02d}" for number in range(1, clients + 1)]
    return Split("test", 0, "", [], {name: ClientFaces([number], []) for number, name in enumerate(ids)}, [], [])


TOO_FEW = (
    "with federation.trim = 3 needs the updates of at least 7 clients, and 6 take part in a round of m (6 clients, "
    "federation.participation = 1); lower federation.trim, let more take part, or use another rule"
)


@pytest.mark.parametrize(
    ("settings", "method", "clients", "reason"),
    [
        ({"aggregation": "median"}, FedFace, 5, "does not cover the private prototypes that m sends, each from one"),
        ({"aggregation": "median", "updates": "int8"}, FedAvg, 5, "cannot be used with federation.updates = int8: "),
        ({"aggregation": "trimmed", "updates": "int8"}, FedAvg, 5, "cannot be used with federation.updates = int8: "),
        ({"aggregation": "median"}, FedAvg, 2, "needs the updates of at least 3 clients, and 2 take part in a round"),
        ({"aggregation": "trimmed", "trim": 3}, FedAvg, 6, TOO_FEW),
        ({"aggregation": "trimmed", "participation": 0.4}, FedAvg, 5, "at least 3 clients, and 2 take part in a round"),
        ({"aggregation": "norm-clipped"}, FedAvg, 2, "needs the updates of at least 3 clients, and 2 take part"),
        ({"aggregation": f"{HERE}:whole_block"}, FedAvg, 5, "gives a block other values than its parts; it must treat"),
        ({"aggregation": f"{HERE}:one_number"}, FedAvg, 5, "returns () of torch.float32; expected (8,) of"),
        ({"aggregation": f"{HERE}:failing"}, FedAvg, 5, "fails: ValueError: a rule that fails"),
        ({"aggregation": f"{HERE}:of_images"}, FedAvg, 5, "is a function; give a function of values and some of"),
        ({"aggregation": "mediam"}, FedAvg, 5, "unknown aggregation rule 'mediam'; did you mean 'median'"),
    ],
)
def test_combinations_that_make_no_sense_are_refused_before_the_run(
    settings: dict[str, Any], method: type[Method], clients: int, reason: str
) -> None:
    with pytest.raises(FedfrError) as refused:
        check_aggregation(FederationConfig.model_validate(settings), {"m": method({})}, split_of(clients))
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "method", "clients"),
    [
        ({"aggregation": "mean", "updates": "int8"}, FedFace, 1),
        ({"aggregation": "norm-clipped", "updates": "int8"}, FedAvg, 3),
        ({"aggregation": "norm-clipped", "clip_norm": 3.0}, FedAvg, 1),
        ({"aggregation": "median", "updates": "bf16"}, FedAvg, 3),
        ({"aggregation": "trimmed", "trim": 2}, FedAvg, 5),
        ({"aggregation": "trimmed", "trim": 2}, Centralized, 5),
        ({"aggregation": f"{HERE}:midrange"}, FedAvg, 1),
    ],
)
def test_other_combinations_are_accepted(settings: dict[str, Any], method: type[Method], clients: int) -> None:
    check_aggregation(FederationConfig.model_validate(settings), {"m": method({})}, split_of(clients))


def test_a_rule_of_another_package(tmp_path: Path) -> None:
    found = server(tmp_path, Arithmetic(), rounds=1, aggregation=f"{HERE}:midrange").run(START)
    every = torch.stack([update.weights["w"] for update in honest_updates()])
    assert torch.equal(found.weights["w"], midrange(every))
    assert AGGREGATIONS[f"{HERE}:midrange"] == AggregationRule(midrange)
    assert AGGREGATIONS.name_of(midrange) == f"{HERE}:midrange"
