"""Rounds of the server: order of arrival, refused updates, quorum, resuming."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedfr.config.schema import FederationConfig
from fedfr.core.errors import FedfrError
from fedfr.core.rng import torch_generator
from fedfr.federation.journal import Journal
from fedfr.federation.messages import Broadcast, Failure, Update
from fedfr.federation.method import GenericModel
from fedfr.federation.server import Server, sample_clients
from fedfr.methods.fedavg import FedAvg
from fedfr.methods.fedface import FedFace
from fedfr.methods.fedfr import FedFR

CLIENTS = tuple(f"client-{number:02d}" for number in range(1, 6))
START = GenericModel({"w": torch.zeros(50), "steps": torch.tensor(0)}, torch.zeros(3, 4))
Change = Callable[[Update], Update | Failure]


class Arithmetic:
    """An engine whose clients add noise to the model; replies arrive in ``order``, and some are changed."""

    def __init__(self, order: Sequence[int] = range(5), changes: Mapping[str, Change] | None = None) -> None:
        self.order = order
        self.changes = changes or {}
        self.asked: list[tuple[int, tuple[str, ...]]] = []
        self.accepted: dict[int, dict[str, int]] = {}

    def exchange(
        self,
        broadcast: Broadcast,
        clients: Sequence[str],
        identities: Mapping[str, torch.Tensor],
        accepted: Mapping[str, int],
    ) -> Iterator[Update | Failure]:
        """One reply per client."""
        self.asked.append((broadcast.round, tuple(clients)))
        self.accepted[broadcast.round] = dict(accepted)
        for position in self.order:
            if position >= len(clients):
                continue
            client = clients[position]
            generator = torch_generator(0, broadcast.round, client)
            noise = torch.randn(50, generator=generator)
            update = Update(
                broadcast.round,
                client,
                {"w": broadcast.weights["w"] + noise, "steps": broadcast.weights["steps"] + 1},
                broadcast.prototypes + torch.randn(3, 4, generator=generator),
                10 + position,
            )
            change = self.changes.get(client)
            yield update if change is None else change(update)


def server(
    folder: Path, engine: Arithmetic, events: list[dict[str, object]] | None = None, **federation: object
) -> Server:
    settings = FederationConfig.model_validate({"rounds": 3, "prototypes": "share", **federation})
    return Server(
        FedFR({}),
        engine,
        Journal(folder / "rounds"),
        settings,
        CLIENTS,
        lambda number: frozenset(START.weights),
        seed=0,
        on_event=lambda event: (events if events is not None else []).append(dict(event)),
    )


def same(left: GenericModel, right: GenericModel) -> bool:
    return torch.equal(left.prototypes, right.prototypes) and all(
        torch.equal(left.weights[name], value) for name, value in right.weights.items()
    )


def reasons(events: Sequence[Mapping[str, object]]) -> list[object]:
    return [event["reason"] for event in events if event["event"] == "refused"]


@pytest.fixture
def expected(tmp_path: Path) -> GenericModel:
    return server(tmp_path / "expected", Arithmetic()).run(START)


@pytest.mark.parametrize("order", [(4, 3, 2, 1, 0), (2, 0, 4, 1, 3)])
def test_the_order_of_arrival_changes_no_bit(tmp_path: Path, expected: GenericModel, order: tuple[int, ...]) -> None:
    assert same(server(tmp_path, Arithmetic(order)).run(START), expected)


def test_integer_counters_take_the_maximum(expected: GenericModel) -> None:
    assert int(expected.weights["steps"]) == 3


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, expected: GenericModel) -> None:
    server(tmp_path, Arithmetic(), rounds=2).run(START)
    second = Arithmetic()
    assert same(server(tmp_path, second, rounds=3).run(START), expected)
    assert [number for number, _ in second.asked] == [3]


def test_an_invalid_update_is_refused_and_named(tmp_path: Path) -> None:
    def spoil(update: Update) -> Update:
        return replace(update, weights={**update.weights, "w": torch.full((50,), torch.nan)})

    events: list[dict[str, object]] = []
    run = server(tmp_path, Arithmetic(changes={"client-02": spoil}), events, rounds=1)
    found = run.run(START)
    good = list(Arithmetic().exchange(Broadcast(1, START.weights, START.prototypes), CLIENTS, {}, {}))
    kept = [update for update in good if isinstance(update, Update) and update.client != "client-02"]
    total = sum(update.count for update in kept)
    mean = sum((update.weights["w"].double() * update.count for update in kept), torch.zeros(50).double()) / total
    assert torch.allclose(found.weights["w"].double(), mean, rtol=1e-5, atol=1e-6)
    refused = [event for event in events if event["event"] == "refused"]
    assert refused == [
        {
            "event": "refused",
            "round": 1,
            "client": "client-02",
            "reason": "update of client-02 for round 1 refused: w holds NaN or infinity",
        }
    ]
    totals = run.journal.records()[1]["totals"]
    assert totals == {"clients": 4, "refused": 1, "images": total}


def test_an_update_with_too_large_a_change_is_refused_and_named(tmp_path: Path) -> None:
    """A boosted update, as model replacement needs it (Bagdasaryan et al., AISTATS 2020), is refused by its length."""

    def boost(update: Update) -> Update:
        return replace(update, weights={**update.weights, "w": 50 * update.weights["w"]})

    events: list[dict[str, object]] = []
    run = server(tmp_path, Arithmetic(changes={"client-04": boost}), events, rounds=1, largest_change=10)
    assert run.run(START).weights["w"].norm() < 10
    (reason,) = reasons(events)
    assert str(reason).startswith("update of client-04 for round 1 refused: its weights changed by ")


def test_an_update_with_too_large_a_count_is_refused_and_named(tmp_path: Path) -> None:
    events: list[dict[str, object]] = []
    inflated = Arithmetic(changes={"client-04": lambda update: replace(update, count=10**15)})
    server(tmp_path, inflated, events, rounds=1).run(START)
    (reason,) = reasons(events)
    assert str(reason).startswith(f"update of client-04 for round 1 refused: count is {10**15}, above 10000000 (")


def test_below_the_quorum_the_run_stops_and_resumes(tmp_path: Path, expected: GenericModel) -> None:
    def lost_in_round_2(update: Update) -> Update | Failure:
        return Failure(update.client, "no power") if update.round == 2 else update

    broken = Arithmetic(changes=dict.fromkeys(CLIENTS[:3], lost_in_round_2))
    with pytest.raises(
        FedfrError,
        match=r"round 2: 2 of 5 clients delivered, the quorum is 3; fix the cause and resume\. "
        r"First reason: client-01 failed in round 2: no power",
    ):
        server(tmp_path, broken).run(START)
    assert Journal(tmp_path / "rounds").rounds() == [0, 1]
    assert same(server(tmp_path, Arithmetic()).run(START), expected)


def test_exactly_the_quorum_is_enough(tmp_path: Path) -> None:
    def lost(update: Update) -> Failure:
        return Failure(update.client, "gone")

    engine = Arithmetic(changes=dict.fromkeys(CLIENTS[:2], lost))
    assert server(tmp_path, engine, rounds=1).run(START).weights["w"].isfinite().all()


def test_a_client_that_does_not_reply_is_named_and_skipped(tmp_path: Path) -> None:
    events: list[dict[str, object]] = []
    run = server(tmp_path, Arithmetic((0, 1, 3, 4)), events, rounds=1)
    found = run.run(START)
    assert reasons(events) == ["client-03 failed in round 1: no reply came"]
    left_out = Arithmetic(changes={"client-03": lambda update: Failure(update.client, "no power")})
    assert same(server(tmp_path / "lost", left_out, rounds=1).run(START), found)


@pytest.mark.parametrize("name", ["client-01", "stranger"])
def test_an_unrequested_reply_is_refused_and_the_round_continues(tmp_path: Path, name: str) -> None:
    """A reply under another id is refused; the round continues with the others."""
    impostor = Arithmetic(changes={"client-02": lambda update: replace(update, client=name)})
    events: list[dict[str, object]] = []
    found = server(tmp_path, impostor, events, rounds=1).run(START)
    assert reasons(events) == [
        f"a reply from '{name}' refused: it was not asked or has answered already",
        "client-02 failed in round 1: no reply came",
    ]
    left_out = Arithmetic(changes={"client-02": lambda update: Failure(update.client, "no power")})
    assert same(server(tmp_path / "lost", left_out, rounds=1).run(START), found)


def test_unrequested_replies_do_not_count_for_the_quorum(tmp_path: Path) -> None:
    impostors = Arithmetic(changes=dict.fromkeys(CLIENTS[1:4], lambda update: replace(update, client="client-01")))
    with pytest.raises(FedfrError, match="round 1: 2 of 5 clients delivered, the quorum is 3"):
        server(tmp_path, impostors).run(START)


def _keeps(update: Update) -> Update:
    return replace(update, prototypes=None)


def test_prototypes_stay_when_clients_keep_theirs(tmp_path: Path, expected: GenericModel) -> None:
    """As in the released code, clients always receive the initial public prototypes."""
    found = server(tmp_path, Arithmetic(changes=dict.fromkeys(CLIENTS, _keeps)), prototypes="keep").run(START)
    assert torch.equal(found.prototypes, START.prototypes)
    assert torch.equal(found.weights["w"], expected.weights["w"])


def test_prototypes_that_are_to_be_kept_are_refused(tmp_path: Path) -> None:
    """A site of another version may send them; none is averaged or stored."""
    events: list[dict[str, object]] = []
    engine = Arithmetic(changes=dict.fromkeys(CLIENTS[1:], _keeps))
    server(tmp_path, engine, events, rounds=1, prototypes="keep").run(START)
    assert reasons(events) == ["update of client-01 for round 1 refused: prototypes are not expected"]


def test_a_method_without_public_prototypes_refuses_them(tmp_path: Path) -> None:
    run = server(tmp_path, Arithmetic())
    run.method = FedAvg({})
    with pytest.raises(FedfrError, match="prototypes are not expected"):
        run.run(START)


def test_sampling() -> None:
    draws = [sample_clients(CLIENTS, 0.5, 7, number) for number in range(40)]
    assert all(draw == sorted(set(draw)) and len(draw) == 3 for draw in draws)
    assert draws == [sample_clients(CLIENTS[::-1], 0.5, 7, number) for number in range(40)]
    assert len({tuple(draw) for draw in draws}) > 5
    assert {client for draw in draws for client in draw} == set(CLIENTS)
    assert sample_clients(CLIENTS, 1.0, 7, 1) == list(CLIENTS)
    assert len(sample_clients(CLIENTS, 0.01, 7, 1)) == 1
    assert len(sample_clients(CLIENTS, 0.2, 7, 1)) == 1
    assert len(sample_clients(CLIENTS, 0.21, 7, 1)) == 2


def test_only_the_drawn_clients_are_asked(tmp_path: Path) -> None:
    engine = Arithmetic()
    server(tmp_path, engine, participation=0.4).run(START)
    assert [clients for _, clients in engine.asked] == [
        tuple(sample_clients(CLIENTS, 0.4, 0, number)) for number in (1, 2, 3)
    ]


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_a_diverging_server_step_is_not_stored(tmp_path: Path, optimizer: str) -> None:
    """A diverging step ends the run with an error; with a lower learning rate it continues from the last round."""
    step = {"optimizer": optimizer, "learning_rate": 1e-3}
    server(tmp_path, Arithmetic(), rounds=1, server=step).run(START)
    wild = server(tmp_path, Arithmetic(), rounds=2, server=step | {"learning_rate": 1e300})
    with pytest.raises(
        FedfrError, match=r"round 2: the server's step made w NaN or infinite; lower federation\.server"
    ):
        wild.run(START)
    assert Journal(tmp_path / "rounds").rounds() == [0, 1]
    found = server(tmp_path, Arithmetic(), rounds=2, server=step).run(START)
    assert all(value.isfinite().all() for value in found.weights.values())


def test_diverging_prototypes_are_not_stored(tmp_path: Path) -> None:
    run = server(tmp_path, Arithmetic(changes=dict.fromkeys(CLIENTS, _reveals)), rounds=1)
    run.method = FedFace({"learning_rate": 3e38, "margin": -1.0})
    with pytest.raises(FedfrError, match=r"step made kept identities/client-0\d NaN or infinite; lower"):
        run.run(START)
    assert Journal(tmp_path / "rounds").rounds() == [0]


def _reveals(update: Update) -> Update:
    own = torch.randn(2, 4, generator=torch_generator(0, "identities", update.client))
    return replace(update, prototypes=None, identities=own)


def test_every_client_receives_the_round_of_its_last_accepted_update(tmp_path: Path) -> None:
    """Also after a resume from the journal, and only for methods that need it."""

    def refused_in(number: int) -> Change:
        return lambda update: update if update.round != number else Failure(update.client, "no power")

    engine = Arithmetic(changes={"client-02": refused_in(2), "client-03": refused_in(1)})
    server(tmp_path, engine, rounds=2).run(START)
    assert engine.accepted == {1: {}, 2: {}}

    told = Arithmetic()
    later = server(tmp_path, told, rounds=3, updates="bf16")
    later.run(START)  # tensors this small travel as they are
    others = {client: 2 for client in CLIENTS if client != "client-02"}
    assert told.accepted == {3: {**others, "client-02": 1}}
