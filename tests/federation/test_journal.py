"""Journal of rounds: a round is stored completely or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fedfr.core.errors import FedfrError
from fedfr.federation.journal import Journal
from fedfr.federation.method import GenericModel


def generic(round_number: int) -> GenericModel:
    generator = torch.Generator().manual_seed(round_number)
    weights = {"conv.weight": torch.randn(2, 3, 3, 3, generator=generator), "count": torch.tensor(round_number)}
    return GenericModel(weights, torch.randn(4, 8, generator=generator))


def same(left: GenericModel, right: GenericModel) -> bool:
    return (
        left.weights.keys() == right.weights.keys()
        and all(torch.equal(left.weights[name], value) for name, value in right.weights.items())
        and torch.equal(left.prototypes, right.prototypes)
    )


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    made = Journal(tmp_path / "rounds", keep=2)
    for number in range(5):
        made.commit(number, generic(number), {"totals": {"images": 10 * number}})
    return made


def test_empty(tmp_path: Path) -> None:
    assert Journal(tmp_path / "rounds").latest() is None


def test_the_newest_round_is_exact(journal: Journal) -> None:
    entry = journal.latest()
    assert entry is not None
    assert entry.round == 4
    assert same(entry.generic, generic(4))
    assert entry.record["totals"] == {"images": 40}


def test_old_models_are_removed_and_records_kept(journal: Journal) -> None:
    assert [record["totals"]["images"] for record in journal.records()] == [0, 10, 20, 30, 40]
    models = sorted(path.parent.name for path in journal.folder.glob("*/generic.safetensors"))
    assert models == ["0003", "0004"]
    assert same(journal.read(3).generic, generic(3))
    with pytest.raises(FedfrError, match="cannot read round 1"):
        journal.read(1)


def test_an_unfinished_round_is_ignored(journal: Journal) -> None:
    unfinished = journal.folder / ".0005.99.tmp"
    unfinished.mkdir()
    (unfinished / "generic.safetensors").write_bytes(b"half")
    entry = journal.latest()
    assert entry is not None
    assert entry.round == 4


def test_a_finished_round_is_never_replaced(journal: Journal) -> None:
    with pytest.raises(FedfrError, match="0004 already holds files and is not replaced"):
        journal.commit(4, generic(44), {"totals": {}})
    entry = journal.latest()
    assert entry is not None
    assert same(entry.generic, generic(4))


@pytest.mark.parametrize("keep", [0, 30, -1])
def test_a_damaged_round_is_named_and_can_be_removed(journal: Journal, keep: int) -> None:
    path = journal.folder / "0004" / "generic.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FedfrError) as caught:
        journal.latest()
    assert f"remove {path.parent} to resume one round earlier" in str(caught.value)
    path.unlink()
    (path.parent / "round.json").unlink()
    path.parent.rmdir()
    entry = journal.latest()
    assert entry is not None
    assert same(entry.generic, generic(3))
