"""Compressed updates: size, error, error feedback, and refusal of invalid updates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.support.tiny_experiment import tiny_config

from fedfr.core.errors import FedfrError
from fedfr.experiments.experiment import Experiment
from fedfr.experiments.method_run import local_engine
from fedfr.federation.messages import Broadcast, Update, decode_update, encode, size_of
from fedfr.federation.update_format import BLOCK, CODECS, SMALL, compress, restore
from fedfr.models import BACKBONES, build_backbone

GENERATOR = torch.Generator().manual_seed(0)
BEFORE = Broadcast(
    3,
    {
        "conv": torch.randn(40, 3, 3, 3, generator=GENERATOR),
        "bias": torch.randn(SMALL - 1, generator=GENERATOR),
        "counter": torch.tensor(7),
    },
    torch.randn(9, 128, generator=GENERATOR),
)
KINDS = ("bf16", "int8")


def moved(step: float = 0.01, seed: int = 1) -> Update:
    """An update whose tensors moved by a normal ``step``."""
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: value + 1 if name == "counter" else value + step * torch.randn(value.shape, generator=generator)
        for name, value in BEFORE.weights.items()
    }
    public = BEFORE.prototypes + step * torch.randn(BEFORE.prototypes.shape, generator=generator)
    return Update(3, "client-01", weights, public, 12, {"loss/total": 1.0})


def tensors(update: Update) -> dict[str, torch.Tensor]:
    assert update.prototypes is not None
    return {**update.weights, "prototypes": update.prototypes}


def over_the_wire(update: Update) -> Update:
    return decode_update(encode(update))


def test_full_updates_are_unchanged() -> None:
    update = moved()
    sent = compress(update, BEFORE, "full", {})
    assert sent.update is update
    assert sent.residual == {}
    received = tensors(restore(over_the_wire(update), BEFORE, "full"))
    assert all(torch.equal(received[name], value) for name, value in tensors(update).items())


@pytest.mark.parametrize("kind", KINDS)
def test_the_residual_equals_the_error(kind: str) -> None:
    """Bit for bit: the server restores what the client assumes it sent, and the residual is the difference."""
    trained = tensors(moved())
    sent = compress(moved(), BEFORE, kind, {})
    received = tensors(restore(over_the_wire(sent.update), BEFORE, kind))
    before = {**BEFORE.weights, "prototypes": BEFORE.prototypes}
    assert sent.residual.keys() == {"conv", "prototypes"}
    for name in ("bias", "counter"):
        assert torch.equal(received[name], trained[name])
    for name, rest in sent.residual.items():
        change = trained[name] - before[name]
        assert torch.equal(received[name], before[name] + (change - rest))
        bound = change.abs() / 256 if kind == "bf16" else change.abs().max() / 254
        assert bool((rest.abs() <= bound * 1.0001).all())
        assert bool(rest.any())


@given(
    arrays.arrays(np.float32, st.integers(SMALL, 3 * SMALL), elements=st.floats(-(2.0**60), 2.0**60, width=32)),
    st.sampled_from(KINDS),
)
def test_errors_are_bounded_by_the_scale_of_the_block(values: np.ndarray, kind: str) -> None:
    """For blocks of zeros, blocks with a single large value, and a partial last block."""
    trained = torch.from_numpy(values.copy())
    nothing = Broadcast(1, {"w": torch.zeros_like(trained)}, torch.zeros(1, 2))
    sent = compress(Update(1, "a", {"w": trained}, None, 1), nothing, kind, {})
    found = restore(over_the_wire(sent.update), nothing, kind).weights["w"]
    error = (found - trained).abs()
    for start in range(0, len(trained), BLOCK):
        block = trained[start : start + BLOCK].abs()
        bound = block.max() / 254 if kind == "int8" else block / 256
        assert bool((error[start : start + BLOCK] <= bound * 1.001 + 1e-38).all())


SMALLEST, LARGEST = float(np.finfo(np.float32).smallest_subnormal), float(np.finfo(np.float32).max)


@settings(deadline=None, max_examples=300)
@given(
    arrays.arrays(
        np.float32,
        st.integers(1, BLOCK + 9),
        elements=st.one_of(
            st.floats(width=32, allow_nan=False, allow_infinity=False),
            st.integers(-400, 400).map(lambda steps: steps * SMALLEST),
            st.sampled_from([0.0, -0.0, LARGEST, -LARGEST, SMALLEST, 190 * SMALLEST]),
        ),
        fill=st.just(0.0),
    ),
    st.sampled_from(KINDS),
)
@example(np.array([255 * SMALLEST], np.float32), "int8")
def test_every_float_is_encoded_to_within_one_step(values: np.ndarray, kind: str) -> None:
    """No value wraps or becomes infinite, from subnormal to the largest numbers."""
    change = torch.from_numpy(values.copy())
    code = CODECS[kind]
    assert code is not None
    carried, scales = code.encode(change)
    found = code.decode(carried, scales)
    assert bool(torch.isfinite(found).all())
    assert scales is None or bool((torch.isfinite(scales) & (scales >= 0)).all())
    error = (found.double() - change.double()).abs()
    for start in range(0, len(change), BLOCK):
        block = change[start : start + BLOCK].double().abs()
        step = block.max() / 127 if kind == "int8" else block / 128
        least = SMALLEST if kind == "int8" else 2.0**-133
        # A scale among the smallest numbers is itself a step of them too large.
        assert bool((error[start : start + BLOCK] <= (step + least) / 2 * (1 + 1e-5)).all())


@pytest.mark.parametrize("kind", KINDS)
def test_error_feedback_transmits_every_change(kind: str) -> None:
    """The same small change in every round: with error feedback, the sum of what is sent is exact up to a rounding.

    One value of the block moves a thousand times further, so that in eight bits every other change rounds to nothing.
    """
    change = torch.full((SMALL,), 1e-3)
    change[0] = 1.0
    nothing = Broadcast(1, {"w": torch.zeros(SMALL)}, torch.zeros(1, 2))
    update = Update(1, "a", {"w": change}, None, 1)
    rest: dict[str, torch.Tensor] = {}
    arrived = torch.zeros(SMALL)
    rounds = 200
    for _ in range(rounds):
        sent = compress(update, nothing, kind, rest)
        rest = dict(sent.residual)
        arrived += restore(sent.update, nothing, kind).weights["w"]
    assert bool(((arrived - rounds * change).abs() <= 1.0 / 254 + 1e-4).all())
    alone = rounds * restore(compress(update, nothing, kind, {}).update, nothing, kind).weights["w"]
    if kind == "int8":
        assert bool((alone[1:BLOCK] == 0).all())


@pytest.mark.parametrize("kind", KINDS)
def test_a_round_without_a_tensor_keeps_its_residual(kind: str) -> None:
    sent = compress(moved(), BEFORE, kind, {})
    part = replace(moved(), weights={"bias": moved().weights["bias"]}, prototypes=None)
    assert torch.equal(compress(part, BEFORE, kind, sent.residual).residual["conv"], sent.residual["conv"])


@pytest.mark.parametrize("backbone", ["mobilefacenet", "mobilefacenet-112x96", "slimface"])
def test_a_quarter_of_the_bytes(backbone: str) -> None:
    """Including all tensors: at most 30 % of a full update with int8, 55 % with bf16.

    Measured on the smallest network, which has the largest share of small tensors.
    """
    weights = {name: value.clone() for name, value in build_backbone(backbone, 0).state_dict().items()}
    given = Broadcast(1, weights, torch.randn(100, BACKBONES[backbone].embedding_dim))
    update = Update(1, "a", weights, given.prototypes, 1)
    full = size_of(update)
    assert size_of(compress(update, given, "int8", {}).update) <= 0.30 * full
    assert size_of(compress(update, given, "bf16", {}).update) <= 0.55 * full


Spoil = Callable[[Update], Update]


def with_weight(value: Callable[[torch.Tensor], torch.Tensor]) -> Spoil:
    return lambda update: replace(update, weights={**update.weights, "conv": value(update.weights["conv"])})


def with_scales(value: Callable[[torch.Tensor], torch.Tensor]) -> Spoil:
    return lambda update: replace(update, scales={**update.scales, "conv": value(update.scales["conv"])})


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (with_weight(lambda value: value.float()), r"conv is torch.float32 of shape .*expected a change as torch.int8"),
        (with_weight(lambda value: value[1:]), r"conv is torch.int8 of shape \(39, 3, 3, 3\), expected"),
        (with_weight(lambda value: value.view(-1)), r"conv is torch.int8 of shape \(1080,\), expected"),
        (with_scales(lambda value: value[1:]), r"the scales of conv are torch.float32 of shape \(4,\), expected 5"),
        (with_scales(lambda value: value.double()), r"the scales of conv are torch.float64 .*expected 5 of"),
        (with_scales(lambda value: value * float("nan")), "the scales of conv hold a negative or non-finite number"),
        (with_scales(lambda value: value / 0), "the scales of conv hold a negative or non-finite number"),
        (with_scales(lambda value: -value), "the scales of conv hold a negative or non-finite number"),
        (lambda update: replace(update, scales={}), "the scales of conv are missing, expected 5"),
        (
            lambda update: replace(update, scales={**update.scales, "bias": torch.ones(4)}),
            r"scales of \['bias'\] belong to no compressed tensor",
        ),
    ],
)
def test_mismatching_updates_are_refused_by_name(spoil: Spoil, reason: str) -> None:
    with pytest.raises(FedfrError, match=f"update of client-01 for round 3 refused: {reason}"):
        restore(spoil(compress(moved(), BEFORE, "int8", {}).update), BEFORE, "int8")


def test_changes_where_full_updates_are_expected_are_refused() -> None:
    sent = compress(moved(), BEFORE, "int8", {}).update
    with pytest.raises(FedfrError, match=r"scales of \['conv', 'prototypes'\] belong to no compressed tensor"):
        restore(sent, BEFORE, "full")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_a_run_counts_fewer_bytes_and_resumes_to_the_bit(kind: str, tmp_path: Path) -> None:
    """The residual is part of the private state, so a run killed after its first round ends with equal bits."""
    overrides = (f"federation.updates={kind}", "federation.rounds=3", "federation.keep_rounds=3")
    whole = Experiment.create(tiny_config(tmp_path, *overrides), tmp_path / "whole")
    whole.run()
    method_run = whole.method_runs()[0]
    ends = method_run.journal.latest()
    assert ends is not None

    class KilledError(Exception):
        pass

    def tap(direction: str, client: str, data: bytes) -> None:
        # The first client of the third round has trained and kept its state; the round never ends.
        if direction == "up" and decode_update(data).round == 3:
            raise KilledError

    broken = Experiment.create(tiny_config(tmp_path, *overrides), tmp_path / "broken")
    with pytest.raises(KilledError):
        broken.run(engine=partial(local_engine, tap=tap))
    again = Experiment.open(tmp_path / "broken")
    again.run()
    found = again.method_runs()[0].journal.latest()
    assert found is not None
    assert all(torch.equal(found.generic.weights[name], value) for name, value in ends.generic.weights.items())
    for client in ("client-01", "client-02"):
        states = [each.method_runs()[0].store(client).latest() for each in (whole, again)]
        assert states[0] is not None
        assert states[1] is not None
        assert states[0].residual.keys() == states[1].residual.keys() != set()
        assert all(torch.equal(states[1].residual[name], value) for name, value in states[0].residual.items())

    full = Experiment.create(tiny_config(tmp_path, "federation.rounds=1"), tmp_path / "full")
    full.run()
    sizes = {}
    for run in (full, whole):
        entry = run.method_runs()[0].journal.latest()
        assert entry is not None
        sizes[run.folder.name] = entry.record["clients"][0]["bytes/up"]
    assert sizes["whole"] < (0.30 if kind == "int8" else 0.55) * sizes["full"]
