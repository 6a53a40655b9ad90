"""Costs read from events, also where clients report none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fedfr.core.errors import FedfrError
from fedfr.experiments.events import PretrainingWatch
from fedfr.reporting.progress import Silent
from fedfr.results.costs import (
    DealCost,
    EpochCost,
    RoundCost,
    deal_costs,
    epoch_costs,
    round_costs,
    starting_cost,
    total,
    write_epoch_costs,
)

MEASURED = {"cpu_seconds": 2.5, "peak_rss_bytes": 4e8, "steps": 6, "images/processed": 48}


def events(folder: Path, *updates: dict[str, Any]) -> Path:
    sent = [{"event": "update", "round": 1, "bytes/up": 100, "bytes/down": 300, **update} for update in updates]
    path = folder / "metrics.jsonl"
    path.write_text(
        "".join(f"{json.dumps(event)}\n" for event in [*sent, {"event": "round", "round": 1, "seconds": 4.0}])
    )
    return path


def test_costs_of_clients_are_summed(tmp_path: Path) -> None:
    assert round_costs(events(tmp_path, MEASURED, MEASURED), "fedfr", 3) == [
        RoundCost("fedfr", 3, 1, 4.0, 5.0, 200, 600, 400_000_000, 12, 96)
    ]


def test_a_client_is_charged_with_all_public_features(tmp_path: Path) -> None:
    """One client computed 0.5 of the 2 seconds of features, the other 1.5; alone each would need 2."""
    first = MEASURED | {"feature_seconds": 0.5, "feature_seconds_alone": 2.0}
    second = MEASURED | {"feature_seconds": 1.5, "feature_seconds_alone": 2.0}
    (found,) = round_costs(events(tmp_path, first, second), "fedfr", 3)
    assert (found.client_seconds, found.alone_seconds, found.charged_seconds) == (5.0, 7.0, 7.0)
    later = RoundCost("fedfr", 3, 2, client_seconds=4.0, alone_seconds=4.5)
    assert total([found, later]).charged_seconds == 11.5
    assert deal_costs([found, later]).methods["fedfr"].alone_seconds == 11.5
    for unknown in (MEASURED, {**MEASURED, "feature_seconds": 0.0}):
        (found,) = round_costs(events(tmp_path, first, unknown), "fedfr", 3)
        assert (found.alone_seconds, found.charged_seconds) == (None, 5.0)
        assert total([found, later]).charged_seconds == 9.0, "all rounds as measured"


@pytest.mark.parametrize("missing", [[*MEASURED], ["cpu_seconds", "peak_rss_bytes"]])
def test_a_cost_that_one_site_does_not_report_is_unknown(tmp_path: Path, missing: list[str]) -> None:
    """In a round, in the sum over rounds, and in the mean over deals."""
    rest = {name: value for name, value in MEASURED.items() if name not in missing}
    (found,) = round_costs(events(tmp_path, rest, MEASURED), "fedfr", 3)
    assert (found.client_seconds, found.peak_bytes, found.bytes_up, found.wall_seconds) == (None, None, 200, 4.0)
    assert (found.steps, found.images) == ((None, None) if "steps" in missing else (12, 96))
    known = RoundCost("fedfr", 3, 2, 1.0, 7.0, 50, 60, 10, 2, 16)
    every = total([found, known])
    assert (every.client_seconds, every.peak_bytes, every.bytes_down) == (None, None, 660)
    cost = deal_costs([found, known]).of("fedfr")
    assert isinstance(cost, DealCost)
    assert (cost.client_seconds, cost.bytes_up) == (None, 250)


def test_the_cost_of_a_start_is_the_sum_of_its_epochs(tmp_path: Path) -> None:
    path = tmp_path / "cost.json"
    assert starting_cost(path, 3, trained=False) == RoundCost("pretrained", 3, 0, 0.0, 0, steps=0, images=0)
    unknown = starting_cost(path, 3)
    assert (unknown.client_seconds, unknown.steps, unknown.images) == (None, None, None)
    write_epoch_costs(path, [EpochCost(2.5, 1.5, 6, 48), EpochCost(2.0, 1.0, 6, 48)])
    assert starting_cost(path, 3) == RoundCost("pretrained", 3, 0, 4.5, 2.5, steps=12, images=96)
    path.write_text('[{"seconds": 2.5}]', encoding="utf-8")
    with pytest.raises(FedfrError, match=r"cost\.json is damaged: entry cpu_seconds is missing or invalid"):
        starting_cost(path, 3)


def test_an_epoch_of_pretraining_that_is_repeated_counts_once(tmp_path: Path) -> None:
    """Killed after the second epoch was reported and before its weights were written."""
    path = tmp_path / "cost.json"
    for epochs in ((0, 1), (1, 2)):
        watch = PretrainingWatch(tmp_path / "metrics.jsonl", 3, 0, Silent(), 8, path)
        for epoch in epochs:
            for step in range(5):
                watch.on_step(epoch, step, 5)
            watch.on_epoch(epoch, {"total": 1.0}, 0.1)
    found = starting_cost(path, 0)
    assert (len(epoch_costs(path)), found.steps, found.images) == (3, 15, 120)
