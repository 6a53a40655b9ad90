"""Private states of a client: exact, its own, never of a later round than the server's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fedfr.core.errors import FedfrError
from fedfr.federation.private_state import PrivateState
from fedfr.federation.private_store import PrivateStore


def state(round_number: int) -> PrivateState:
    generator = torch.Generator().manual_seed(round_number)
    backbone = {"conv.weight": torch.randn(2, 3, 3, 3, generator=generator), "steps": torch.tensor(round_number)}
    dfc = {"branches.weight": torch.randn(4, 8, generator=generator)}
    return PrivateState(round_number, backbone, torch.randn(4, 8, generator=generator), dfc)


def same(left: PrivateState | None, right: PrivateState) -> bool:
    return (
        left is not None
        and left.round == right.round
        and torch.equal(left.prototypes, right.prototypes)
        and all(torch.equal(left.backbone[name], value) for name, value in right.backbone.items())
        and all(torch.equal(left.dfc[name], value) for name, value in right.dfc.items())
        and left.backbone.keys() == right.backbone.keys()
        and left.dfc.keys() == right.dfc.keys()
    )


@pytest.fixture
def store(tmp_path: Path) -> PrivateStore:
    return PrivateStore(tmp_path / "clients" / "client-01", "client-01")


def test_empty(store: PrivateStore) -> None:
    assert store.latest() is None
    assert store.rounds() == []


def test_the_newest_two_are_kept_and_exact(store: PrivateStore) -> None:
    for number in (1, 2, 5):
        store.save(state(number))
    assert store.rounds() == [2, 5]
    assert same(store.latest(), state(5))


def test_the_state_of_a_repeated_round_is_discarded(store: PrivateStore) -> None:
    """The server lost round 5: the client trains from its state before that round."""
    for number in (4, 5):
        store.save(state(number))
    assert same(store.latest(before=5), state(4))
    assert store.rounds() == [4]
    assert store.latest(before=4) is None
    assert store.rounds() == []


def test_reading_discards_nothing(store: PrivateStore) -> None:
    for number in (4, 5):
        store.save(state(number))
    store.latest()
    assert store.rounds() == [4, 5]


def test_the_newest_state_until_a_round(store: PrivateStore) -> None:
    assert store.at_or_before(3) is None
    for number in (2, 5):
        store.save(state(number))
    assert store.at_or_before(1) is None
    assert same(store.at_or_before(2), state(2))
    assert same(store.at_or_before(4), state(2))
    assert same(store.at_or_before(9), state(5))
    assert store.rounds() == [2, 5], "nothing is discarded"


def test_a_leftover_of_a_killed_process_is_ignored(store: PrivateStore) -> None:
    store.save(state(1))
    (store.folder / ".private-000002.safetensors.77.tmp").write_bytes(b"half")
    assert same(store.latest(), state(1))


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_truncated_state_is_named(store: PrivateStore, keep: int) -> None:
    store.save(state(1))
    path = store.folder / "private-000001.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FedfrError) as caught:
        store.latest()
    assert str(path) in str(caught.value)
    assert "remove it to restart this client from the beginning" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_state_without_prototypes_is_named(store: PrivateStore) -> None:
    """A complete file of the right client without a private state gives a one-line error."""
    store.save(state(1))
    path = store.folder / "private-000001.safetensors"
    save_file({"backbone/w": torch.ones(2)}, path, {"client": "client-01", "round": "1"})
    with pytest.raises(
        FedfrError, match=r"private state .* holds no prototypes; remove it to restart this client"
    ) as caught:
        store.latest()
    assert str(path) in str(caught.value)


def test_another_clients_state_is_refused(store: PrivateStore, tmp_path: Path) -> None:
    store.save(state(1))
    other = PrivateStore(tmp_path / "clients" / "client-02", "client-02")
    other.folder.mkdir()
    (store.folder / "private-000001.safetensors").rename(other.folder / "private-000001.safetensors")
    with pytest.raises(FedfrError, match="belongs to 'client-01' round 1, not to 'client-02' round 1"):
        other.latest()


def test_a_renamed_state_is_refused(store: PrivateStore) -> None:
    store.save(state(1))
    (store.folder / "private-000001.safetensors").rename(store.folder / "private-000003.safetensors")
    with pytest.raises(FedfrError, match="round 1, not to 'client-01' round 3"):
        store.latest()
