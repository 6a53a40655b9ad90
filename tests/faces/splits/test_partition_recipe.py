"""Partitions from a file as clients who own their people alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.faces.conftest import MakeFaces

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet, Split, make_split
from fedfr.faces.splits.partition_files import Partition, read_partitions

PEOPLE = (4, 5, 6, 3, 4, 2, 1, 5)
"""Images of p000, p001, …"""

Partitions = Sequence[Partition | None]


@pytest.fixture(scope="module")
def faces(make_faces: MakeFaces) -> FaceSet:
    return make_faces(PEOPLE)


def whole(*owners: Partition | None) -> list[Partition | None]:
    """Every image of an identity in the same partition."""
    return [owner for owner, images in zip(owners, PEOPLE, strict=True) for _ in range(images)]


BY_PERSON = whole(0, 1, 0, 1, 10, 10, 0, None)


def write(path: Path, faces: FaceSet, partitions: Partitions, by: str) -> Path:
    """Write a partition file in the format of its suffix."""
    rows = [
        {by: index if by == "index" else faces.names[index], "partition": own} for index, own in enumerate(partitions)
    ]
    if path.suffix == ".json":
        path.write_text(json.dumps(rows if by == "index" else {row["name"]: row["partition"] for row in rows}))
    elif path.suffix == ".csv":
        lines = [f"{row[by]},{'' if row['partition'] is None else row['partition']}\n" for row in rows]
        path.write_text("".join([f"{by},partition\n", *lines]))
    else:
        pa: Any = pytest.importorskip("pyarrow", reason="pyarrow is not installed; pip install 'fedfr[hf]'")
        parquet: Any = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
@pytest.mark.parametrize("by", ["index", "name"])
def test_every_file_format_gives_the_same_split(faces: FaceSet, suffix: str, by: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"Aufteilung ü{suffix}", faces, BY_PERSON, by)
    assert read_partitions(path, faces) == BY_PERSON


def test_a_bare_list_and_other_columns(faces: FaceSet, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text(json.dumps(BY_PERSON))
    assert read_partitions(tmp_path / "list.json", faces) == BY_PERSON
    (tmp_path / "few.csv").write_text("partition_id,age,index\n3,40,7\nnorth,41,0\n")
    expected: list[Partition | None] = [None] * len(faces)
    expected[7], expected[0] = 3, "north"
    assert read_partitions(tmp_path / "few.csv", faces) == expected


def test_each_partition_is_a_client(faces: FaceSet, tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv", faces, BY_PERSON, "index")
    split = make_split(faces, "partition", partition=str(path), test_share=0.25)
    assert {name: split.identities[name] for name in split.clients} == {
        "client-00": ("p000", "p002"),
        "client-01": ("p001", "p003"),
        "client-10": ("p004", "p005"),
    }
    # By identity, the last quarter rounded: 1 of 4, 2 (1.5) of 6.
    assert split.clients["client-00"].train == (0, 1, 2, 9, 10, 11, 12)
    assert split.clients["client-00"].test == (3, 13, 14)
    # p006 has one image, too few to train and test on; p007 is in no partition. Nobody trains on them.
    assert split.identities["generic"] == ("p006", "p007")
    assert split.public == split.distractors == ()
    split.save(tmp_path / "split.json")
    loaded = Split.load(tmp_path / "split.json")
    loaded.check(faces)
    assert loaded.clients == split.clients
    assert loaded.settings["partition"] == str(path)
    assert loaded.settings["shared_identities"] == "refuse"


def test_named_partitions_keep_their_names(faces: FaceSet) -> None:
    split = make_split(faces, "partition", partition=whole("nord", "süd", "nord", 3, 3, None, None, None))
    assert list(split.clients) == ["client-03", "nord", "süd"]
    for name in ("../x", "a/b", "client-03", " ", "-x"):
        with pytest.raises(
            FedfrError,
            match=r"partition .* (cannot be a client id.*; use numbers|is not a valid client id.*; use letters)",
        ):
            make_split(faces, "partition", partition=whole(name, 1, 1, 1, 1, 1, 1, 1))


SHARED = [0, 0, 1, 1, *[0] * 4, 1, *[1] * 6, *[2] * 3, *[2] * 4, *[0] * 2, 0, *[0] * 4, 2]
"""p000 is half in 0 and half in 1; p001 mostly in 0; p007 mostly in 0 and a little in 2."""


def test_people_in_several_partitions_are_refused_by_name_and_count(faces: FaceSet) -> None:
    with pytest.raises(FedfrError) as caught:
        make_split(faces, "partition", partition=SHARED)
    assert str(caught.value) == (
        "3 of 8 identities have images in several partitions: p000 (2 in 0, 2 in 1), p001 (4 in 0, 1 in 1), "
        "p007 (4 in 0, 1 in 2); keep each in one, or set shared_identities to largest or drop"
    )
    with pytest.raises(FedfrError, match=r"4 of 8 identities .*, p002 \(1 in 0, 1 in 1, 4 in 2\), and 1 more; keep"):
        make_split(faces, "partition", partition=[0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, *[2] * 18, 0])
    with pytest.raises(FedfrError, match="unknown split setting shared_identities 'larges'; did you mean 'largest'"):
        make_split(faces, "partition", partition=SHARED, shared_identities="larges")


def test_people_in_several_partitions_can_be_dropped(faces: FaceSet) -> None:
    split = make_split(faces, "partition", partition=SHARED, shared_identities="drop", distractors="generic")
    assert {name: split.identities[name] for name in split.clients} == {
        "client-00": ("p005",),
        "client-01": ("p002",),
        "client-02": ("p003", "p004"),
    }
    assert split.identities["generic"] == ("p000", "p001", "p006", "p007")
    assert len(split.generic) == 4 + 5 + 1 + 5
    assert split.distractors == split.generic


def test_people_in_several_partitions_can_go_to_the_largest(faces: FaceSet) -> None:
    split = make_split(faces, "partition", partition=SHARED, shared_identities="largest")
    assert {name: split.identities[name] for name in split.clients} == {
        "client-00": ("p000", "p001", "p005", "p007"),
        "client-01": ("p002",),
        "client-02": ("p003", "p004"),
    }
    images = split.clients["client-00"].all()
    # Of p000 (0 to 3) the two in partition 0, of p001 (4 to 8) the four there; the others are in no part.
    assert sorted(images)[:6] == [0, 1, 4, 5, 6, 7]
    assert split.identities["generic"] == ("p006",)


def test_public_and_unassigned_identities(faces: FaceSet) -> None:
    partitions = whole(0, 0, 0, 1, 1, 1, 1, 1)
    split = make_split(
        faces, "partition", partition=partitions, public_identities=2, generic_identities=1, max_images=4, seed=3
    )
    again = make_split(
        faces, "partition", partition=partitions, public_identities=2, generic_identities=1, max_images=4, seed=3
    )
    assert again == split
    assert len(split.identities["public"]) == 2
    # p006 has too few images for anybody; one more is drawn.
    assert len(split.identities["generic"]) == 2
    assert "p006" in split.identities["generic"]
    owned = [*split.identities["client-00"], *split.identities["client-01"]]
    assert sorted([*owned, *split.identities["public"], *split.identities["generic"]]) == list(faces.identities)
    assert np.bincount(faces.labels[list(split.public)]).max() <= 4
    other = make_split(faces, "partition", partition=partitions, public_identities=2, generic_identities=1, seed=4)
    assert other.identities["public"] != split.identities["public"]


def test_a_drawn_identity_may_lie_in_several_partitions(faces: FaceSet) -> None:
    """A public identity may have images in several partitions."""
    everybody = [index % 2 for index in range(len(faces))]
    with pytest.raises(FedfrError, match="7 of 8 identities have images in several partitions"):
        make_split(faces, "partition", partition=everybody)
    with pytest.raises(FedfrError, match=r"partition 0 has no identity of its own with 2 or more images; low"):
        make_split(faces, "partition", partition=everybody, public_identities=7)


def test_partitions_of_drawn_people_only_are_no_clients(faces: FaceSet) -> None:
    each = whole(*range(8))
    split = make_split(faces, "partition", partition=each, public_identities=5, min_images=1)
    assert len(split.clients) == 3
    assert {name[-1] for name in split.clients} == {split.identities[name][0][-1] for name in split.clients}
    with pytest.raises(FedfrError, match="no partition is left to be a client; lower public_identities"):
        make_split(faces, "partition", partition=each, public_identities=8, min_images=1)


def test_public_partitions(faces: FaceSet) -> None:
    split = make_split(faces, "partition", partition=BY_PERSON, public_partitions=[1])
    assert list(split.clients) == ["client-00", "client-10"]
    assert split.identities["public"] == ("p001", "p003")
    assert split.public == (*range(4, 9), *range(15, 18))
    with pytest.raises(FedfrError, match="public_partitions names 2; the partitions are 0, 1, 10"):
        make_split(faces, "partition", partition=BY_PERSON, public_partitions=[2])
    with pytest.raises(FedfrError, match=r"public_partitions = 1; give a list, for example \[0\]"):
        make_split(faces, "partition", partition=BY_PERSON, public_partitions=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_images": 7}, "partition 0 has no identity of its own with 7 or more images"),
        ({"min_images": 0}, "split setting min_images = 0; give a whole number of at least 1"),
        ({"public_identities": -1}, "split setting public_identities = -1"),
        (
            {"public_identities": 8},
            "the split needs 8 identities with 2 or more images for the public .* have 7; lower",
        ),
        ({"test_share": 0.5, "test_count": 1}, "give only one"),
        ({"test_count": 2}, "test_count = 2 leaves no training images of 2 images"),
        ({"distractors": "all"}, "split setting distractors = 'all'; give none or generic"),
        ({"partition": 3}, "split setting partition = 3; give a file, or a list"),
        ({"partition": [0, 1]}, "split setting partition holds 2 entries for 30 images"),
        ({"partition": [None] * 30}, "assigns no image to a partition"),
        ({"partition": [0.5] * 30}, "split setting partition holds 0.5; give whole numbers from 0, names or null"),
        ({"partition": [-1] * 30}, "split setting partition holds -1"),
        ({"parts": "x"}, "split 'partition' has no setting 'parts'; it has partition, shared_identities"),
    ],
)
def test_invalid_settings_are_refused(faces: FaceSet, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(FedfrError, match=message):
        make_split(faces, "partition", **{"partition": BY_PERSON, **settings})
    with pytest.raises(FedfrError, match="split 'partition' needs the setting 'partition'; give it"):
        make_split(faces, "partition")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "index,partition\n0,0\n0,1\n", r"line 3 of .* lists image 0 \(p000#0\) a second time"),
        ("a.csv", "index,partition\n30,0\n", "line 2 of .* has index '30'; these faces have images 0 to 29"),
        ("a.csv", "index,partition\n-1,0\n", "has index '-1'"),
        ("a.csv", "index,partition\n1.0,0\n", r"has index '1\.0'"),
        ("a.csv", "index,partition\n0\n", "line 2 has more or fewer cells than line 1; the file may be truncated"),
        ("a.csv", "name,partition\np000#99,0\n", "line 2 of .*: image 'p000#99' is not among these faces"),
        ("a.csv", "image,partition\n0,0\n", "line 2 of .* has no index or name of an image; it has image, partition"),
        ("a.csv", "index,client\n0,0\n", "line 2 of .* has no partition; it has index, client"),
        ("a.csv", b"index,partition\n0,\xff\n", "is not readable .*utf-8"),
        ("a.json", '{"p000#0": 0, "p000', "is not readable .*Unterminated string"),
        ("a.json", "3", "it is neither a list nor an object"),
        ("a.json", '[{"index": 0, "partition": 0.5}]', r"entry 0 of .* has partition 0\.5; give a whole number from 0"),
        ("a.json", '[{"index": 0, "partition": -1}]', "has partition -1"),
        ("a.json", '[{"index": true, "partition": 1}]', "has index True"),
        ("a.json", "[" + "0, " * 30 + "0]", "entry 30 of .* has index 30; these faces have images 0 to 29"),
        ("a.json", "[" * 100_000, "is not readable"),
        ("a.parquet", "index,partition\n", "is not a complete Parquet file"),
        ("a.txt", "0\n", r"unknown kind of partition file '\.txt';.* known: \.csv, \.json, \.parquet"),
    ],
)
def test_invalid_files_are_refused(
    faces: FaceSet, name: str, content: str | bytes, message: str, tmp_path: Path
) -> None:
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow", reason="pyarrow is not installed; pip install 'fedfr[hf]'")
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(FedfrError, match=message) as caught:
        make_split(faces, "partition", partition=str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(faces: FaceSet, tmp_path: Path) -> None:
    with pytest.raises(FedfrError, match="does not exist; give a file with a partition for each image"):
        read_partitions(tmp_path / "gone.csv", faces)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(FedfrError, match=r"cannot read .*: Is a directory; check the file"):
        read_partitions(tmp_path / "folder.csv", faces)


def test_a_name_shared_by_two_images_is_refused(faces: FaceSet, tmp_path: Path) -> None:
    twice = FaceSet(faces.images([0, 1]), [0, 0], ["a"], ["same", "same"])
    (tmp_path / "p.csv").write_text("name,partition\nsame,0\n")
    with pytest.raises(FedfrError, match="several images are called 'same'; give their index instead"):
        read_partitions(tmp_path / "p.csv", twice)
