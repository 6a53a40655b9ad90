"""Private states of a client: exact, its own, never of a later round than the server's."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from fedfr.core.errors import FedfrError
from fedfr.federation.identity_key import KEY
from fedfr.federation.packing import pack, read_header_metadata
from fedfr.federation.private_state import PrivateState
from fedfr.federation.private_store import PERSONAL_MODEL, PrivateStore


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


WIDTH = 8
PEOPLE = [f"person-{number}" for number in range(7)]


def row_of(person: str, round_number: int, part: str, width: int = WIDTH) -> torch.Tensor:
    """Return values that occur nowhere else."""
    generator = torch.Generator().manual_seed(hash((PEOPLE.index(person), round_number, len(part))) & 0xFFFF)
    return torch.randn(width, generator=generator)


def known_state(store: PrivateStore, round_number: int, people: Sequence[str]) -> PrivateState:
    """A state of these people with every kind of row that there is."""

    def rows(part: str, width: int = WIDTH) -> torch.Tensor:
        return torch.stack([row_of(person, round_number, part, width) for person in people])

    dfc = {
        "transform.weight": torch.eye(WIDTH),
        "branches.weight": rows("branches"),
        "branches.bias": rows("bias", 2)[:, 0],
    }
    personal = {"backbone/w": torch.ones(3), "prototypes": rows("personal model")}
    backbone = {"w": torch.full((3,), float(round_number))}
    identities = store.identities(people)
    return PrivateState(round_number, backbone, rows("prototypes"), dfc, personal, {"w": torch.ones(3)}, identities)


def check_rows(state: PrivateState, people: Sequence[str], before: Sequence[str], round_number: int) -> None:
    """Check that known identities have their own rows and new ones those of a first participation."""
    for row, person in enumerate(people):
        old = person in before
        first = torch.full((WIDTH,), 100.0 + row)
        for part, found in (
            ("prototypes", state.prototypes),
            ("branches", state.dfc["branches.weight"]),
            ("personal model", state.personal["prototypes"]),
        ):
            assert torch.equal(found[row], row_of(person, round_number, part) if old else first), (person, part)
        bias = row_of(person, round_number, "bias", 2)[0] if old else torch.tensor(0.0)
        assert torch.equal(state.dfc["branches.bias"][row], bias)
    assert {len(state.prototypes), len(state.dfc["branches.bias"]), len(state.personal["prototypes"])} == {len(people)}
    assert torch.equal(state.dfc["transform.weight"], torch.eye(WIDTH))
    assert torch.equal(state.backbone["w"], torch.full((3,), float(round_number)))


def somebody() -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(PEOPLE), min_size=1, unique=True)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(older=somebody(), before=somebody(), after=somebody())
def test_rows_follow_identities_and_departed_ones_are_erased(
    older: list[str], before: list[str], after: list[str]
) -> None:
    """Identities that leave, join, are replaced or reordered, in the newest state and the one before."""
    with tempfile.TemporaryDirectory() as folder:
        store = PrivateStore(Path(folder) / "client-01", "client-01")
        store.save(known_state(store, 4, older))
        store.save(known_state(store, 5, before))
        (store.folder / ".private-000006.safetensors.77.tmp").write_bytes(b"half of one")
        (store.folder / PERSONAL_MODEL).write_bytes(b"with everybody's branches")
        left = PrivateStore(store.folder, "client-01").erase_departed(after)
        assert left == len({*before} - {*after})
        held = b"".join(path.read_bytes() for path in store.folder.iterdir() if path.name != KEY)
        texts = dict(zip(PEOPLE, store.identities(PEOPLE), strict=True))
        for number, those in ((4, older), (5, before)):
            for person in those:
                for part in ("prototypes", "branches", "personal model"):
                    there = row_of(person, number, part).numpy().tobytes() in held
                    assert there == (person in after), (person, number, part)
        for person in {*older, *before} - {*after}:
            assert texts[person].encode() not in held
        assert b"half of one" not in held
        assert (store.folder / PERSONAL_MODEL).exists() == ({*older, *before} <= {*after})
        for number, those in ((5, before), (4, older)):
            state = store.latest(before=number + 1)
            assert state is not None
            assert state.round == number
            wanted = store.identities(after)
            first = 100.0 + torch.arange(len(after))[:, None].expand(-1, WIDTH)
            for_identities = state.for_identities(wanted, lambda first=first: first)  # type: ignore[misc]
            assert for_identities.identities == wanted
            check_rows(for_identities, after, those, number)


def test_nothing_is_written_without_departures(store: PrivateStore) -> None:
    """Without departures no file is written, and without arrivals no prototypes are computed."""
    store.save(known_state(store, 1, PEOPLE[:3]))
    path = store.folder / "private-000001.safetensors"
    before = path.stat()
    assert store.erase_departed(PEOPLE) == 0
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino
    state = store.latest()
    assert state is not None

    def never() -> torch.Tensor:
        raise AssertionError

    check_rows(state.for_identities(store.identities(PEOPLE[:3][::-1]), never), PEOPLE[:3][::-1], PEOPLE, 1)


def test_states_contain_no_names(store: PrivateStore) -> None:
    store.save(known_state(store, 1, PEOPLE))
    held = b"".join(path.read_bytes() for path in store.folder.iterdir())
    assert not [person for person in PEOPLE if person.encode() in held]


def test_rows_in_states_of_earlier_versions_are_erased(store: PrivateStore) -> None:
    """Rows without names cannot be assigned and are erased; backbone and transform stay."""
    old = state(3)
    tensors = {f"backbone/{name}": value for name, value in old.backbone.items()}
    tensors |= {"prototypes": old.prototypes, "dfc/branches.weight": old.dfc["branches.weight"]}
    store.folder.mkdir(parents=True)
    path = store.folder / "private-000003.safetensors"
    path.write_bytes(pack(tensors, {"client": "client-01", "round": "3"}))
    assert store.erase_departed(PEOPLE[:4]) == 0
    assert old.prototypes[0].numpy().tobytes() not in path.read_bytes()
    found = store.latest()
    assert found is not None
    assert found.identities == ()
    assert found.prototypes.shape == found.dfc["branches.weight"].shape == (0, WIDTH)
    assert torch.equal(found.backbone["conv.weight"], old.backbone["conv.weight"])
    first = torch.randn(4, WIDTH)
    for_identities = found.for_identities(store.identities(PEOPLE[:4]), lambda: first)
    assert torch.equal(for_identities.prototypes, first)
    assert torch.equal(for_identities.dfc["branches.weight"], first)


def test_a_missing_or_different_key_erases_nothing(store: PrivateStore) -> None:
    store.save(known_state(store, 1, PEOPLE[:3]))
    path, key = store.folder / "private-000001.safetensors", store.folder / KEY
    before, own = path.read_bytes(), key.read_bytes()
    key.unlink()
    with pytest.raises(FedfrError, match=r"identities.key is missing, and the private states beside it need it"):
        PrivateStore(store.folder, "client-01").erase_departed(PEOPLE[:3])
    assert not key.exists()
    key.write_bytes(own[::-1])
    with pytest.raises(FedfrError, match=r"was written with another key than .*; restore that key"):
        PrivateStore(store.folder, "client-01").erase_departed(PEOPLE[:3])
    assert path.read_bytes() == before
    key.write_bytes(own)
    assert PrivateStore(store.folder, "client-01").erase_departed(PEOPLE[:2]) == 1


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"format": "3"}, "has format '3', this version reads 2; use the version that wrote it"),
        ({"identities": "nobody"}, "cannot be read"),
        ({"identities": '{"a": 1}'}, "its identities are not a list of texts"),
        ({"identities": "[1, 2]"}, "its identities are not a list of texts"),
        ({"identities": '["a"]'}, "does not have one row per identity"),
        ({"identities": '["a", "a"]'}, "does not have one row per identity"),
    ],
)
def test_an_inconsistent_state_is_named(store: PrivateStore, metadata: dict[str, str], reason: str) -> None:
    store.save(known_state(store, 1, PEOPLE[:2]))
    path = store.folder / "private-000001.safetensors"
    given_state = known_state(store, 1, PEOPLE[:2])
    spoiled = {**read_header_metadata(path), **metadata}
    path.write_bytes(pack({"prototypes": given_state.prototypes}, spoiled))
    before = path.read_bytes()
    with pytest.raises(FedfrError, match=reason) as caught:
        store.latest()
    assert "\n" not in str(caught.value)
    with pytest.raises(FedfrError):
        store.erase_departed(PEOPLE[2:])
    assert path.read_bytes() == before, "nothing is lost"
