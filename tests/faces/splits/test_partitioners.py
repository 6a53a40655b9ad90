"""Splits by the real partitioners of flwr-datasets.

They are not among the pinned packages: flwr-datasets 0.6.1 wants rich below 15 and datasets below 5.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.faces.conftest import MakeFaces

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet, export_faces, make_split, split_from_partitions
from fedfr.faces.splits.partitioners import partitions_of


@pytest.fixture(scope="module")
def faces(make_faces: MakeFaces) -> FaceSet:
    return make_faces([12] * 20)


@pytest.fixture(scope="module")
def flower(hf: Any) -> Any:
    """The module ``flwr_datasets.partitioner``."""
    if find_spec("flwr_datasets") is None:
        pytest.skip("flwr-datasets is not installed; pip install --no-deps flwr-datasets==0.6.1 seaborn tqdm")
    import flwr_datasets.partitioner

    return flwr_datasets.partitioner


def test_natural_ids_make_a_client_of_each_person(flower: Any, faces: FaceSet) -> None:
    split = split_from_partitions(faces, flower.NaturalIdPartitioner(partition_by="identity"), public_identities=5)
    assert len(split.clients) == 15
    for client in split.clients:
        assert len(split.identities[client]) == 1
    # Partitions are numbered by name; those of public people are no clients.
    assert all(split.identities[client] == (f"p0{client[-2:]}",) for client in split.clients)


def test_groups_of_people(flower: Any, faces: FaceSet) -> None:
    partitioner = flower.GroupedNaturalIdPartitioner(partition_by="identity", group_size=4, sort_unique_ids=True)
    split = split_from_partitions(faces, partitioner, test_count=2, min_images=3)
    assert [split.identities[client] for client in split.clients] == [
        tuple(f"p{person:03d}" for person in range(first, first + 4)) for first in range(0, 20, 4)
    ]
    assert {len(client.train) for client in split.clients.values()} == {40}
    assert split.settings["partition"] == "GroupedNaturalIdPartitioner"
    assert split.settings["test_count"] == 2


def test_iid_shares_people_at_the_borders(flower: Any, faces: FaceSet) -> None:
    """240 images in 7 contiguous parts of 34 or 35: six borders, of which each cuts a person in two."""
    with pytest.raises(
        FedfrError, match=r"6 of 20 identities have images in several partitions: p002 \(11 in 0, 1 in 1"
    ):
        split_from_partitions(faces, flower.IidPartitioner(num_partitions=7))
    dropped = split_from_partitions(faces, flower.IidPartitioner(num_partitions=7), shared_identities="drop")
    assert sum(len(dropped.identities[client]) for client in dropped.clients) == 14
    kept = split_from_partitions(faces, flower.IidPartitioner(num_partitions=7), shared_identities="largest")
    assert sum(len(kept.identities[client]) for client in kept.clients) == 20


def test_dirichlet_over_identities(flower: Any, faces: FaceSet) -> None:
    def make(alpha: float) -> Any:
        return flower.DirichletPartitioner(4, "identity", alpha, min_partition_size=5, seed=1)

    given = partitions_of(faces, make(0.3))
    assert sorted(set(given), key=str) == [0, 1, 2, 3]
    with pytest.raises(FedfrError, match=r"identities have images in several partitions: p\d+ \(\d+ in \d"):
        make_split(faces, "partition", partition=given)
    split = split_from_partitions(faces, make(0.3), shared_identities="largest")
    for number, client in enumerate(split.clients.values()):
        for index in (*client.train, *client.test):
            assert given[index] == number
    people = [identity for client in split.clients for identity in split.identities[client]]
    assert len(people) == len(set(people))


# Of classes that are not used (Pathological), and of pyarrow's newest version (Shard).
@pytest.mark.filterwarnings("ignore:Classes. .* will NOT be used", "ignore:Specifying null_placement:FutureWarning")
@pytest.mark.parametrize(
    "make",
    [
        lambda flower: flower.LinearPartitioner(num_partitions=5),
        lambda flower: flower.SquarePartitioner(num_partitions=3),
        lambda flower: flower.ExponentialPartitioner(num_partitions=3),
        lambda flower: flower.SizePartitioner([100, 80, 60]),
        lambda flower: flower.PathologicalPartitioner(3, "identity", 12, "first-deterministic"),
        lambda flower: flower.ShardPartitioner(5, "label", num_shards_per_partition=2),
    ],
)
def test_every_other_partitioner_of_rows(flower: Any, faces: FaceSet, make: Callable[[Any], Any]) -> None:
    partitions = partitions_of(faces, make(flower))
    split = split_from_partitions(faces, make(flower), shared_identities="largest")
    split.check(faces)
    # Not all of them give away every image.
    assert sum(own is not None for own in partitions) > 120
    assert len(split.clients) == len(set(partitions) - {None})


def test_partitioners_that_do_not_fit(flower: Any, hf: Any, faces: FaceSet) -> None:
    used = flower.IidPartitioner(num_partitions=2)
    split_from_partitions(faces, used, shared_identities="drop")
    with pytest.raises(FedfrError, match="the IidPartitioner has a data set already; create a new one"):
        split_from_partitions(faces, used)
    with pytest.raises(FedfrError, match="the VerticalEvenPartitioner divides columns, not images"):
        split_from_partitions(faces, flower.VerticalEvenPartitioner(num_partitions=2))

    class Twice(flower.IidPartitioner):  # type: ignore[misc]
        def load_partition(self, partition_id: int) -> Any:
            return super().load_partition(0)

    with pytest.raises(FedfrError, match="the Twice puts 'p000#0' into partitions 0 and 1; use one that assigns"):
        split_from_partitions(faces, Twice(num_partitions=2))


def test_the_snippet_of_the_documentation_makes_the_file(
    flower: Any, hf: Any, make_faces: MakeFaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The documented snippet gives the same split as the partitioner."""
    faces = make_faces([12] * 80)
    text = (Path(__file__).resolve().parents[2] / "docs" / "faces.md").read_text(encoding="utf-8")
    snippet = next(part.partition("```")[0] for part in text.split("```python\n")[1:] if "partitions.csv" in part)
    assert len([line for line in snippet.splitlines() if line.strip()]) == 6
    export_faces(faces, tmp_path / "EXPORTED", "parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hf.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    exec(compile(snippet, "docs/faces.md", "exec"), {})
    ours = make_split(faces, "partition", partition="partitions.csv", shared_identities="largest")
    partitioner = flower.DirichletPartitioner(num_partitions=10, partition_by="identity", alpha=0.3)
    assert ours.clients == split_from_partitions(faces, partitioner, shared_identities="largest").clients
