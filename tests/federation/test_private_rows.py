"""Rows of private states: each follows its identity, and those of departed people are erased."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.federation.test_private_store import state

from fedfr.core.errors import FedfrError
from fedfr.federation.identity_key import KEY
from fedfr.federation.packing import pack, read_header_metadata
from fedfr.federation.private_state import PrivateState
from fedfr.federation.private_store import PERSONAL_MODEL, PrivateStore


@pytest.fixture
def store(tmp_path: Path) -> PrivateStore:
    return PrivateStore(tmp_path / "clients" / "client-01", "client-01")


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


def test_the_first_rounds_outlive_the_states(store: PrivateStore) -> None:
    """From which round on a person had an influence: also after states were removed, and never too late."""

    def first_rounds() -> list[int]:
        return [store.rows_of([person]).first for person in PEOPLE[:4]]

    for number, people in ((2, PEOPLE[:2]), (3, PEOPLE[:2]), (5, PEOPLE[:3])):
        store.save(known_state(store, number, people))
    assert first_rounds() == [2, 2, 5, 0]
    store.forget(PEOPLE[:1], models=True)
    assert store.rounds() == []
    assert first_rounds() == [0, 2, 5, 0]
    store.save(known_state(store, 7, PEOPLE[1:4]))
    assert first_rounds() == [0, 2, 5, 7]
    # A damaged or missing file: those who were there may have been there from the beginning.
    file = store.folder / "participation.json"
    for content in (b"{", b"[]", b'{"a": "b"}', None):
        file.unlink() if content is None else file.write_bytes(content)
        store.save(known_state(store, 8, PEOPLE[1:4]))
        assert first_rounds() == [0, 0, 0, 0]


@pytest.mark.parametrize("models", [False, True])
def test_forgotten_people_are_erased_and_the_others_kept(store: PrivateStore, models: bool) -> None:
    for number in (4, 5):
        store.save(known_state(store, number, PEOPLE[:3]))
    (store.folder / PERSONAL_MODEL).write_bytes(b"a model")
    gone = store.identities(PEOPLE[1:2])[0].encode()
    for _ in range(2):
        store.forget([PEOPLE[1], "not enrolled"], models=models)
        held = b"".join(path.read_bytes() for path in store.folder.iterdir() if path.name != KEY)
        assert gone not in held
        for number in (4, 5):
            for part in ("prototypes", "branches", "personal model"):
                assert row_of(PEOPLE[1], number, part).numpy().tobytes() not in held
        assert not (store.folder / PERSONAL_MODEL).exists()
        assert store.rounds() == ([] if models else [4, 5])
        assert [bool(store.rows_of([person]).identities) for person in PEOPLE[:3]] == [True, False, True]
