"""LFW's pair list and tables, and the pairs that a split may verify."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.tiny_experiment import tiny_faces

from fedfr.core.errors import FedfrError
from fedfr.faces import ClientFaces, FaceSet, Split, make_split
from fedfr.faces.readers.pairs.face_pairs import read_pairs

LIST = "2\t1\nAnn\t1\t3\nAnn\t2\tBob\t1\nBob\t1\t2\nBob\t2\tAnn\t3\n"


def faces() -> FaceSet:
    made = tiny_faces(2, 3)
    names = [f"{name}/{name}_{number:04d}.jpg" for name in ("Ann", "Bob") for number in (1, 2, 3)]
    return FaceSet(made.images(np.arange(6)), made.labels, ("Ann", "Bob"), names)


def test_pairs_in_the_order_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(LIST)
    assert read_pairs(path, faces()) == ((0, 2), (1, 3), (3, 4), (4, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no pairs; list at least one"),
        ("2\t1\n\n \n", "0 pairs, line 1 declares 4; it may be truncated"),
        ("ten 300\n", "line 1: image ten is not among these faces"),
        (LIST[: LIST.rindex("Bob")], "3 pairs, line 1 declares 4; it may be truncated"),
        (LIST.replace("Ann\t1\t3", "Ann\t1"), r"line 2: expected `name number number` .* found 'Ann\\t1'"),
        (LIST.replace("Ann\t1\t3", "Ann\t1\tthree"), "line 2: expected"),
        (LIST.replace("Bob\t1\t2", "Bob\t1\t4"), "line 4: image Bob/Bob_0004 is not among these faces"),
    ],
)
def test_a_bad_list_names_its_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(text)
    with pytest.raises(FedfrError, match=message):
        read_pairs(path, faces())


CSV = (
    "n,a,b,same\n1,Ann/Ann_0001,Ann/Ann_0003.jpg,1\n\n2,Ann/Ann_0002,Bob/Bob_0001,False\n3,Bob/Bob_0001,Bob/Bob_0002,\n"
)


@pytest.mark.parametrize("text", [CSV, CSV.replace("\n", "\r\n"), "\ufeff" + CSV, CSV.replace(",same", ",remark", 1)])
def test_pairs_of_a_table(tmp_path: Path, text: str) -> None:
    """Further columns, empty lines, Windows line ends, a byte order mark, and unknown truth values."""
    path = tmp_path / "my pairs.CSV"
    path.write_bytes(text.encode())
    assert read_pairs(path, faces()) == ((0, 2), (1, 3), (3, 4))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: found the columns ''; expected a, b and, if known, same"),
        ("x,y\n1,2\n", "line 1: found the columns 'x, y'; expected a, b"),
        ("a,b\n", r"pairs\.csv holds no pairs; list at least one"),
        ("a,b\nAnn/Ann_0001,nobody\n", "line 2: image nobody is not among these faces"),
        ("a,b\n\n\nAnn/Ann_0001,nobody\n", "line 4: image nobody is not among these faces"),
        ('a,b\n"no\nbody",Ann/Ann_0001\n', r"line 3: image 'no\\nbody' is not among these faces"),
        ("a,b\nAnn/Ann_0001\n", "line 2: expected the names of two images, found one"),
        ("a,b,same\nAnn/Ann_0001,Ann/Ann_0002,0\n", "line 2: same = '0', but true by identity; correct one of them"),
        ("a,b,same\nAnn/Ann_0001,Bob/Bob_0002,true\n", "line 2: same = 'true', but false by identity"),
        (
            "a,b,same\nAnn/Ann_0001,Ann/Ann_0002,perhaps\n",
            "line 2: 'perhaps' is not a label of a pair; allowed are 1, true, .* and 0, -1, false,",
        ),
        ("a,b\n" + "x" * 200_000 + ",y\n", "it is not UTF-8 text in lines"),
    ],
)
def test_a_bad_table_names_its_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    with pytest.raises(FedfrError, match=message) as caught:
        read_pairs(path, faces())
    assert str(caught.value).isprintable()


def test_ambiguous_names_need_their_suffix(tmp_path: Path) -> None:
    made = tiny_faces(1, 3)
    twice = FaceSet(made.images(np.arange(3)), made.labels, ("Ann",), ("Ann/a.jpg", "Ann/a.png", "Ann/Dr. B"))
    path = tmp_path / "pairs.csv"
    path.write_text("a,b\nAnn/a.png,Ann/Dr. B\n")
    assert read_pairs(path, twice) == ((1, 2),)
    path.write_text("a,b\nAnn/a,Ann/Dr. B\n")
    with pytest.raises(FedfrError, match="line 2: image Ann/a is ambiguous, as it occurs with several suffixes"):
        read_pairs(path, twice)


def test_unreadable_lists(tmp_path: Path) -> None:
    with pytest.raises(FedfrError, match="No such file"):
        read_pairs(tmp_path / "none.txt", faces())
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FedfrError, match="not UTF-8"):
        read_pairs(tmp_path / "binary.txt", faces())


def test_a_manifest_keeps_its_pairs(tmp_path: Path) -> None:
    made = faces()
    split = Split("given", 0, made.fingerprint(), (), {}, tuple(range(6)), (), ((0, 2), (1, 3)))
    split.check(made)
    split.save(tmp_path / "split.json")
    assert Split.load(tmp_path / "split.json").pairs == ((0, 2), (1, 3))
    replace(split, generic=(0, 1, 2)).check(made)
    with pytest.raises(FedfrError, match=r"a pair of the split uses image 6; these faces have 0 … 5; remove the pair"):
        replace(split, pairs=((0, 6),)).check(made)
    for owner, part in (("public", {"public": (4,)}), ("a", {"clients": {"a": ClientFaces((4,), ())}})):
        seen = replace(split, generic=(0, 1, 2), pairs=((0, 5),), **part)
        with pytest.raises(FedfrError, match=f"a pair of the split uses image 5, of a person of {owner}, whom models"):
            seen.check(made)


def test_the_official_pairs_of_unseen_people(data_dir: Path) -> None:
    """Of LFW's 6 000 pairs exactly those whose two people are neither private nor public."""
    folders = sorted(path for path in (data_dir / "lfw112").iterdir() if path.is_dir())
    names = [f"{folder.name}/{file.name}" for folder in folders for file in sorted(folder.iterdir())]
    labels = [number for number, folder in enumerate(folders) for _ in folder.iterdir()]
    # One pixel array for all, told apart by a number in the corner: the pairs do not depend on what is seen.
    pixels = np.zeros((len(names), 112, 112, 3), np.uint8)
    pixels[:, 0, 0, :] = np.stack([np.arange(len(names)) % 256, np.arange(len(names)) // 256, np.zeros(len(names))], 1)
    lfw = FaceSet(pixels, labels, [folder.name for folder in folders], names)
    split = make_split(lfw, "lfw-fed", pairs=str(data_dir / "lfw_pairs.txt"))
    trained_on = [*split.public, *(index for client in split.clients.values() for index in client.train)]
    trained = {names[index].split("/")[0] for index in trained_on}
    counts = dict(zip(lfw.identities, lfw.counts().tolist(), strict=True))
    unused = {name for name, count in counts.items() if count >= 10}
    expected = 0
    for line in (data_dir / "lfw_pairs.txt").read_text().splitlines()[1:]:
        people = {part for part in line.split() if not part.isdigit()}
        expected += not people & (trained | unused)
    assert len(split.pairs) == expected > 1000


def test_pairs_of_omitted_images_are_omitted(tmp_path: Path) -> None:
    made = tiny_faces(6, 4)
    names = [f"{made.identities[label]}/{number}.png" for number, label in enumerate(made.labels)]
    kept = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 17, 18, 20, 21]
    faces = FaceSet(made.images(kept), made.labels[kept], made.identities, [names[image] for image in kept])
    listed = [(a, b) for a in range(8, 17) for b in range(a + 1, 17)]
    lines = [f"{faces.names[a]},{faces.names[b]}" for a, b in listed]
    (tmp_path / "pairs.csv").write_text("\n".join(["a,b", *lines]), encoding="utf-8")
    (tmp_path / "found.csv").write_text(f"image,decision\n{faces.names[12]},exclude\n", encoding="utf-8")
    given: dict[str, Any] = {"clients": 1, "identities_per_client": 1, "min_images": 4, "public_identities": 1}
    given["pairs"] = str(tmp_path / "pairs.csv")
    every = ((seed, make_split(faces, "lfw-fed", **given, seed=seed)) for seed in range(20))
    given["seed"], whole = next((seed, split) for seed, split in every if any(12 in pair for pair in split.pairs))
    without = make_split(faces, "lfw-fed", **given, exclude=str(tmp_path / "found.csv"))
    assert without.pairs == tuple(pair for pair in whole.pairs if 12 not in pair)
    with pytest.raises(FedfrError, match=r"split setting pairs = \[\[0, 1\]\]; give the path of a list of pairs"):
        make_split(faces, "lfw-fed", **{**given, "pairs": [[0, 1]]})
