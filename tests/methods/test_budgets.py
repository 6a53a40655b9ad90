"""``local.steps``: the same number of SGD steps and images for every client and method."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.tiny_experiment import BACKBONE

from fedfr.config.schema import LocalConfig, load_config
from fedfr.experiments.from_config import make_compute
from fedfr.federation.local_plan import local_plan
from fedfr.federation.round_context import ClientSettings
from fedfr.methods import METHODS
from fedfr.results.costs import round_costs
from fedfr.training.loop import Moment

STEPS, BATCH = 3, 8


@pytest.mark.parametrize("name", [name for name in METHODS.builtin if METHODS[name]({}).rounds(1)])
def test_every_method_takes_as_many_steps(run: Any, name: str) -> None:
    """The pooled participant those of both clients; a second model as many again."""
    found = run(f"method.name={name}", f"local.steps={STEPS}", "local.epochs=9", "federation.rounds=1")
    updates = [event for event in found.events() if event["event"] == "update"]
    first = [event for event in updates if event["round"] == 1]
    models = 2 if name == "ditto" else 1
    if first:
        assert {event["steps"] for event in updates} <= {STEPS * models, 2 * STEPS}
        assert sum(event["steps"] for event in first) == 2 * STEPS * models
        assert all(event["images/processed"] == BATCH * event["steps"] for event in updates)
        costs = round_costs(found.method_run.folder / "metrics.jsonl", name, 0)
        assert [cost.steps for cost in costs][:1] == [2 * STEPS * models]
        assert [cost.images for cost in costs][:1] == [2 * STEPS * models * BATCH]
    else:
        assert found.method_run.total_rounds == 0


def test_epochs_report_their_steps_and_images(run: Any) -> None:
    """Nine private images and a batch of eight: the ninth is dropped."""
    for name, models in (("fedavg", 1), ("ditto", 2)):
        events = [event for event in run(f"method.name={name}").events() if event["event"] == "update"]
        assert {(event["epochs"], event["steps"], event["images/processed"]) for event in events} == {
            (1, models, 8 * models)
        }


def test_older_events_have_no_steps(run: Any, tmp_path: Path) -> None:
    events = run("method.name=fedavg").events()
    old = [
        {name: value for name, value in event.items() if name not in ("steps", "images/processed")} for event in events
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in old), encoding="utf-8")
    assert {(cost.steps, cost.images) for cost in round_costs(tmp_path / "metrics.jsonl", "fedavg", 0)} == {
        (None, None)
    }


def test_fedrep_trains_the_head_then_the_body(run: Any) -> None:
    def changed(steps: int) -> tuple[bool, bool]:
        found = run("method.name=fedrep", f"local.steps={steps}", "federation.rounds=1")
        now = found.state("client-01").backbone
        head, body = (
            not torch.equal(now[each], found.start.weights[each]) for each in ("fc.weight", "stages.0.0.weight")
        )
        return head, body

    assert changed(1) == (False, True)
    assert changed(2) == (True, True)


def test_the_rate_falls_after_a_share_of_the_steps() -> None:
    config = load_config(None, [f"model.backbone={BACKBONE}"])

    def rates(**settings: Any) -> list[float]:
        local = LocalConfig(epochs=2, learning_rate=1.0, steps=10, **settings)
        plan = local_plan(ClientSettings(BACKBONE, 2, 0, local, config.federation, make_compute(config)), 1, "a")
        return [plan.learning_rate(Moment(0, 0.0, step)) for step in range(10)]

    assert rates() == [1.0] * 8 + [0.1] * 2
    assert rates(decay_rounding="down") == [1.0] * 7 + [0.1] * 3
    assert rates(decay_at=1.0) == [1.0] * 10
