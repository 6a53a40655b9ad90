"""Rules of aggregation: equal to plain NumPy, bounded memory, the same bits in any order, resume, attackers."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.federation.test_server import CLIENTS, START, Arithmetic, Change, reasons, same, server
from tests.support.kill_steps import error_in_child, killed_at_every_step

from fedfr.config.schema import FederationConfig
from fedfr.core.errors import FedfrError
from fedfr.federation.aggregation import StreamingAverage
from fedfr.federation.messages import Broadcast, Failure, Update
from fedfr.federation.robust_rules import sort_clients
from fedfr.federation.rule_registry import AGGREGATIONS
from fedfr.federation.stored_updates import UPDATES, StoredUpdates

STATISTICS = frozenset({"bn.running_mean", "bn.running_var"})
ROBUST = [name for name in AGGREGATIONS.builtin if AGGREGATIONS[name].combine is not None]
UNORDERED = (2, 0, 1, 4, 3)
State = dict[str, torch.Tensor]


def state(seed: int) -> State:
    """A model with an entry of several blocks, channels last, a scalar, statistics, a counter, an empty entry."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "fc.weight": torch.randn(40, 500, generator=generator),
        "conv.weight": torch.randn(4, 3, 3, 3, generator=generator).contiguous(memory_format=torch.channels_last),
        "scalar": torch.randn((), generator=generator),
        "half": torch.randn(7, generator=generator).bfloat16(),
        "bn.running_mean": 5 * torch.randn(6, generator=generator),
        "bn.running_var": torch.rand(6, generator=generator),
        "bn.num_batches_tracked": torch.tensor(3 * seed % 7),
        "empty": torch.zeros(0, 4),
    }


def aggregate(rounds: Path, name: str, states: list[State], counts: list[int], **settings: Any) -> State:
    federation, rule = FederationConfig(aggregation=name, **settings), AGGREGATIONS[name]
    stored = StoredUpdates(rounds, rule, federation, state(99), STATISTICS)
    with StreamingAverage() if rule.combine is None else stored as found:
        for tensors, count in zip(states, counts, strict=True):
            found.add(tensors, count)
        return found.result()


def plain(name: str, states: list[State], counts: list[int], trim: int, clip_norm: float | None) -> dict[str, Any]:
    """The rules as formulas over whole models in memory."""
    before = {key: value.double().numpy() for key, value in state(99).items()}
    every = {key: np.stack([each[key].double().numpy() for each in states]) for key in before}
    shares = np.array(counts) / np.sum(counts)

    def scales(keys: list[str], limit: float | None) -> Any:
        squares = [((every[key] - before[key]) ** 2).reshape(len(states), -1).sum(axis=1) for key in keys]
        norms = np.sqrt(np.sum(squares, axis=0))
        return np.minimum(1.0, (np.median(norms) if limit is None else limit) / norms)

    weights = [key for key, value in state(99).items() if value.dtype.is_floating_point and key not in STATISTICS]
    found = {}
    for key, values in every.items():
        if not state(99)[key].dtype.is_floating_point:
            found[key] = values.max(axis=0) if name == "mean" else np.sort(values, axis=0)[(len(values) - 1) // 2]
        elif name == "mean":
            found[key] = np.tensordot(shares, values, 1)
        elif name == "median":
            found[key] = np.median(values, axis=0)
        elif name == "trimmed":
            found[key] = np.sort(values, axis=0)[trim : len(values) - trim].mean(axis=0)
        else:
            clipped = scales(sorted(STATISTICS), None) if key in STATISTICS else scales(weights, clip_norm)
            found[key] = before[key] + np.tensordot(shares * clipped, values - before[key], 1)
    return found


@pytest.mark.parametrize("name", AGGREGATIONS.builtin)
@pytest.mark.parametrize(("clients", "trim", "clip_norm"), [(3, 1, None), (4, 1, 20.0), (9, 3, 150.0), (10, 4, None)])
def test_equals_plain_numpy(tmp_path: Path, name: str, clients: int, trim: int, clip_norm: float | None) -> None:
    states, counts = [state(number) for number in range(clients)], list(range(1, clients + 1))
    copies = [{key: value.clone() for key, value in each.items()} for each in states]
    found = aggregate(tmp_path, name, states, counts, trim=trim, clip_norm=clip_norm)
    expected = plain(name, copies, counts, trim, clip_norm)
    assert found.keys() == expected.keys()
    for key, value in state(99).items():
        assert (found[key].dtype, found[key].shape) == (value.dtype, value.shape)
        rounded = torch.from_numpy(np.asarray(expected[key])).to(value.dtype)
        if name in ("median", "trimmed") or not value.dtype.is_floating_point:
            assert torch.equal(found[key], rounded), key
        else:
            # The running mean is rounded with every client, the sum of clipped changes once.
            near = torch.finfo(value.dtype).eps * (2 * clients if name == "mean" else 1)
            assert torch.allclose(found[key].double(), rounded.double(), rtol=near, atol=near), key
    assert all(torch.equal(left[key], right[key]) for left, right in zip(states, copies, strict=True) for key in left)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("clients", [1, 2, 3, 5, 8, 13, 40])
def test_clients_are_sorted(clients: int) -> None:
    values = torch.randint(-5, 6, (clients, 300), generator=torch.Generator().manual_seed(clients)).float()
    assert torch.equal(sort_clients(values.clone()), values.sort(dim=0).values)


@pytest.mark.parametrize("name", ROBUST)
def test_the_number_of_threads_changes_no_bit(tmp_path: Path, name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    states = [{**state(number), "fc.weight": torch.randn(40, 500, generator=generator)} for number in range(5)]
    threads = torch.get_num_threads()
    try:
        found = []
        for number in (1, 3):
            torch.set_num_threads(number)
            found.append(aggregate(tmp_path, name, states, [5, 1, 2, 9, 3]))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(found[0][key], value) for key, value in found[1].items())


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("order", [(4, 3, 2, 1, 0), UNORDERED])
def test_the_order_of_arrival_changes_no_bit(tmp_path: Path, name: str, order: tuple[int, ...]) -> None:
    expected = server(tmp_path / "in order", Arithmetic(), aggregation=name).run(START)
    assert same(server(tmp_path, Arithmetic(order), aggregation=name).run(START), expected)
    assert not same(server(tmp_path / "mean", Arithmetic()).run(START), expected)


def honest_updates() -> list[Update]:
    found = Arithmetic().exchange(Broadcast(1, START.weights, START.prototypes), CLIENTS, {}, {})
    return [update for update in found if isinstance(update, Update)]


@pytest.mark.parametrize("name", ROBUST)
def test_a_minority_cannot_move_the_model_far(tmp_path: Path, name: str) -> None:
    """Two of five clients send a large change in one direction; the mean follows them."""

    def boost(update: Update) -> Update:
        return replace(update, weights={**update.weights, "w": 100 + update.weights["w"]})

    changes: Mapping[str, Change] = dict.fromkeys(CLIENTS[3:], boost)

    def moved(rule: str) -> float:
        run = server(tmp_path / rule, Arithmetic(changes=changes), rounds=1, aggregation=rule, trim=2)
        return float(run.run(START).weights["w"].norm())

    honest = max(float(update.weights["w"].norm()) for update in honest_updates())
    assert moved("mean") > 10 * honest
    # The values of a median and a trimmed mean each lie among honest ones, so the whole does up to a factor.
    assert moved(name) <= (honest if name == "norm-clipped" else 2 * honest)


@pytest.mark.parametrize("name", ROBUST)
def test_killed_at_a_write_a_run_resumes_with_the_same_bits(tmp_path: Path, name: str) -> None:
    """SIGKILL of the server in a round, with updates of it on disk; the next process repeats the round."""
    expected = server(tmp_path / "expected", Arithmetic(UNORDERED), rounds=2, aggregation=name).run(START)
    step = leftovers = 0

    def prepare() -> None:
        nonlocal step
        step += 1

    def run() -> object:
        return server(tmp_path / str(step), Arithmetic(UNORDERED), rounds=2, aggregation=name).run(START)

    for _ in killed_at_every_step(prepare, run, stride=9):
        folder = tmp_path / str(step)
        leftovers += (folder / "rounds" / UPDATES).exists()
        assert same(server(folder, Arithmetic(), rounds=2, aggregation=name).run(START), expected)
        assert not (folder / "rounds" / UPDATES).exists()
    assert leftovers >= 2


def test_fewer_updates_than_the_rule_needs_stop_the_round(tmp_path: Path) -> None:
    def lost(update: Update) -> Failure:
        return Failure(update.client, "no power")

    broken = Arithmetic(changes=dict.fromkeys(CLIENTS[:2], lost))
    run = server(tmp_path, broken, aggregation="trimmed", trim=2, quorum=0.2)
    with pytest.raises(
        FedfrError,
        match=r"round 1: 3 of 5 clients delivered, federation\.aggregation = trimmed needs 5; fix the cause and resume"
        r"\. First reason: client-01 failed in round 1: no power",
    ):
        run.run(START)
    assert run.journal.rounds() == [0]
    expected = server(tmp_path / "all", Arithmetic(), aggregation="trimmed", trim=2).run(START)
    assert same(server(tmp_path, Arithmetic(), aggregation="trimmed", trim=2).run(START), expected)


@pytest.mark.parametrize("fault", ["truncated", "removed"])
def test_a_stored_update_that_is_damaged_stops_the_round(tmp_path: Path, fault: str) -> None:
    stored = tmp_path / "rounds" / UPDATES / "1"

    def damage(update: Update) -> Update:
        if fault == "removed":
            stored.unlink()
        else:
            stored.write_bytes(stored.read_bytes()[:-1])
        return update

    run = server(tmp_path, Arithmetic(changes={"client-05": damage}), aggregation="median")
    reason = f"cannot read {stored}: No such file" if fault == "removed" else f"{stored} was changed during the round;"
    with pytest.raises(FedfrError, match=reason):
        run.run(START)
    assert not stored.parent.exists()
    expected = server(tmp_path / "expected", Arithmetic(), aggregation="median").run(START)
    assert same(server(tmp_path, Arithmetic(), aggregation="median").run(START), expected)


def test_a_full_disk_stops_the_round_and_loses_nothing(tmp_path: Path) -> None:
    """No update is left out because it could not be stored."""

    def fill(update: Update) -> Update:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return update

    def run() -> object:
        return server(tmp_path, Arithmetic(changes={"client-02": fill}), aggregation="median").run(START)

    reason = error_in_child(run, tmp_path / "reason")
    assert reason.startswith(
        f"cannot write {tmp_path / 'rounds' / UPDATES / '1'}: File too large; free space or choose"
    )
    assert sorted(path.name for path in (tmp_path / "rounds").iterdir()) == ["0000"]
    expected = server(tmp_path / "expected", Arithmetic(), aggregation="median").run(START)
    assert same(server(tmp_path, Arithmetic(), aggregation="median").run(START), expected)


def test_an_invalid_update_is_left_out(tmp_path: Path) -> None:
    def spoil(update: Update) -> Update:
        return replace(update, weights={**update.weights, "w": torch.full((50,), torch.nan)})

    events: list[dict[str, object]] = []
    spoilt = Arithmetic(changes={"client-02": spoil})
    found = server(tmp_path, spoilt, events, rounds=1, aggregation="median").run(START)
    assert reasons(events) == ["update of client-02 for round 1 refused: w holds NaN or infinity"]
    kept = [update.weights["w"].numpy() for update in honest_updates() if update.client != "client-02"]
    assert np.array_equal(found.weights["w"].numpy(), np.median(np.stack(kept), axis=0))


MEMORY = """
import sys, torch
from pathlib import Path
from fedfr.config.schema import FederationConfig
from fedfr.federation.aggregation import check_update
from fedfr.federation.messages import Update, decode_update, encode
from fedfr.federation.rule_registry import AGGREGATIONS
from fedfr.federation.stored_updates import StoredUpdates
weights = {f"layer{n}": torch.randn(500_000) for n in range(6)} | {"fc": torch.randn(2_000_000)}
message = encode(Update(1, "a", weights, None, 1))
def peak(): return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
settings = FederationConfig(aggregation=sys.argv[2])
rule = AGGREGATIONS[sys.argv[2]]
Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts here
before = peak()
with StoredUpdates(Path(sys.argv[1]), rule, settings, weights, frozenset()) as stored:
    for number in range(40):
        update = decode_update(message)
        check_update(update, 1, weights, None)
        stored.add(update.weights, number + 1)
        del update
    stored.result()
print(1 + (peak() - before) / 20e6)
"""


def test_memory_stays_below_three_models(tmp_path: Path) -> None:
    """40 updates of a 20 MB model, each freshly decoded, in a separate process; the model sent is one of the three."""
    command = [sys.executable, "-c", MEMORY, str(tmp_path), "trimmed"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 1.5 < float(done.stdout) < 3.0
