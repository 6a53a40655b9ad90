"""Pairs as LFW lists them, and those of them that a split may verify."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.tiny_experiment import tiny_faces

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet, Split, make_split
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
    """Further columns, empty lines, Windows' line ends and byte order mark, truths that are not known."""
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


PEOPLE = {"Ann_A": 2, "Bo_B": 3, "Cy_C": 2, "Ed E": 2, "Di_D": 3}
NAMES = tuple(f"{name}/{name}_{number:04d}.jpg" for name, count in PEOPLE.items() for number in range(1, count + 1))
A1, A2, B1, B3, C2, D3 = (
    NAMES.index(f"{name}/{name}_000{number}.jpg")
    for name, number in (("Ann_A", 1), ("Ann_A", 2), ("Bo_B", 1), ("Bo_B", 3), ("Cy_C", 2), ("Di_D", 3))
)
E1, E2 = (NAMES.index(f"Ed E/Ed E_000{number}.jpg") for number in (1, 2))
FOUR = ((A1, A2), (B1, B3), (A1, B1), (C2, D3))


def people() -> FaceSet:
    labels = [number for number, count in enumerate(PEOPLE.values()) for _ in range(count)]
    return FaceSet(np.zeros((len(labels), 112, 112, 3), np.uint8), labels, tuple(PEOPLE), NAMES)


LFW = "Ann_A\t1\t2\nBo_B\t1\t3\nAnn_A\t1\tBo_B\t1\nCy_C\t2\tDi_D\t3\n"
PATHS = (
    ("Ann_A/Ann_A_0001.jpg", "Ann_A/Ann_A_0002.jpg", True),
    ("Bo_B/Bo_B_0001.jpg", "Bo_B/Bo_B_0003.jpg", True),
    ("Ann_A/Ann_A_0001.jpg", "Bo_B/Bo_B_0001.jpg", False),
    ("Cy_C/Cy_C_0002.jpg", "Di_D/Di_D_0003.jpg", False),
)


def rows(form: str, same: str = "1", different: str = "0") -> str:
    return "".join(form.format(first, second, same if truth else different) + "\n" for first, second, truth in PATHS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("folds.txt", "1\t2\n" + LFW),
        ("dev.txt", "2\n" + LFW),
        ("none.txt", LFW),
        ("blanks.txt", "\n1\t2\n" + LFW.replace("\n", "\n\n") + "  \n\t\n"),
        ("bom.txt", "\ufeff1 2\r\n" + LFW.replace("\t", " ").replace("\n", "\r\n")),
        ("label_first.txt", rows("{2} {0} {1}")),
        ("label_last.txt", rows("{0} {1} {2}", "1", "-1")),
        ("tabs.txt", rows("{0}\t{1}\t{2}", "genuine", "Impostor")),
        ("commas.txt", rows("{0},{1},{2}", "same", "diff")),
        ("bare.txt", rows("{0} {1}")),
        ("folders.txt", rows("../data/images/{0} ./{1} {2}")),
        ("windows.txt", rows("{0} {1} {2}").replace("/", "\\")),
        ("other_ending.txt", rows("{0} {1} {2}").replace(".jpg", ".png")),
        ("two_lines.txt", rows("{0} {2}\n{1} {2}").replace("Ann_A/", "")),
        ("folds_of_calfw.txt", rows("{0} {2}\n{1} {2}", "7", "0")),
        ("header.csv", "file1,file2,label\n" + rows("{0},{1},{2}", "y", "n")),
        ("headless.csv", "\n" + rows("{0},{1},{2}", "TRUE", "False")),
        ("label_first.csv", rows("{2},{0},{1}", "yes", "no")),
        ("bare.csv", rows("{0},{1}")),
        ("header.txt", "file1,file2,label\n" + rows("{0},{1},{2}")),
        ("header.tsv", "Image 1\tImage_2\tSame?\n" + rows("{0}\t{1}\t{2}", "S", "D")),
        ("blanks_and_header.txt", "img1 img2 is_match\n" + rows("{0} {1} {2}", "1.0", "-1.0")),
        ("comment.txt", "# two cameras\n" + rows("{0} {1} {2}", "matched", "unmatched")),
        ("semicolons.txt", rows("{0};{1};{2}", "same person", "not same")),
        ("bars.txt", rows("{0} | {1} | {2}")),
        ("numbers.csv", "name,imagenum1,imagenum2,\n" + LFW.replace("\t", ",").replace("2\nBo", "2,\nBo")),
        ("numbers_alone.csv", LFW.replace("\t", ",")),
        ("semicolons.csv", "n;a;b;same\n" + rows("7;{0};{1};{2}", "match", "mismatch") + ";;;\n\n"),
    ],
)
def test_lists_as_they_are_found(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert read_pairs(tmp_path / name, people()) == FOUR


def test_a_list_in_utf_16(tmp_path: Path) -> None:
    """As spreadsheet programs save "Unicode text"."""
    (tmp_path / "pairs.txt").write_bytes(("2\n" + LFW).encode("utf-16"))
    assert read_pairs(tmp_path / "pairs.txt", people()) == FOUR


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1\t1\nEd E\t1\t2\nAnn_A\t1\tEd E\t1\n", ((E1, E2), (A1, E1))),
        ("Ed E 1 2\nAnn_A 1 Ed E 1\nEd E 2 Ann_A 1\n", ((E1, E2), (A1, E1), (E2, A1))),
        ("Ed E/Ed E_0001,Ed E/Ed E_0002,1\n", ((E1, E2),)),
        ("Ed E/Ed E_0001.jpg Ed E/Ed E_0002.jpg 1\n", ((E1, E2),)),
        ("0 Ann_A/Ann_A_0001.jpg Ed E/Ed E_0001.jpg\n", ((A1, E1),)),
        ("Ed E_0001.jpg 1\nEd E_0002.jpg 1\n", ((E1, E2),)),
    ],
)
def test_names_with_spaces(text: str, expected: tuple[tuple[int, int], ...], tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text(text)
    assert read_pairs(tmp_path / "pairs.txt", people()) == expected


def cfp(root: Path) -> Path:
    """CFP's folders, its frontal and profile images numbered apart."""
    frontal = sorted({first for first, _, _ in PATHS})
    profile = sorted({second for _, second, _ in PATHS})
    for letter, names in (("F", frontal), ("P", profile)):
        lines = (f"{number} ../Data/Images/{name}\n" for number, name in enumerate(names, start=1))
        (root / f"Pair_list_{letter}.txt").write_text("".join(lines))
    for fold, chosen in (("01", PATHS[::2]), ("02", PATHS[1::2])):
        (root / "Split" / "FP" / fold).mkdir(parents=True)
        for name, truth in (("same", True), ("diff", False)):
            lines = (f"{frontal.index(a) + 1},{profile.index(b) + 1}\n" for a, b, same in chosen if same is truth)
            (root / "Split" / "FP" / fold / f"{name}.txt").write_text("".join(lines) + "\n")
    return root


def test_the_folders_of_cfp(tmp_path: Path) -> None:
    root = cfp(tmp_path)
    expected = (FOUR[0], FOUR[2], FOUR[1], FOUR[3])
    assert read_pairs(root, people()) == read_pairs(root / "Split" / "FP", people()) == expected
    (root / "Split" / "FF").mkdir()
    with pytest.raises(
        FedfrError, match=r"should have one kind of pairs in Split, it has .*FF, .*FP; give one of them"
    ):
        read_pairs(root, people())
    (root / "Split" / "FP" / "02" / "diff.txt").write_text("1,9\n")
    with pytest.raises(
        FedfrError, match=r"diff\.txt, line 1: expected two numbers of images in Pair_list, found '1,9'"
    ):
        read_pairs(root / "Split" / "FP", people())
    (root / "Split" / "FP" / "02" / "diff.txt").unlink()
    with pytest.raises(FedfrError, match=r"cannot read the pairs .*No such file"):
        read_pairs(root / "Split" / "FP", people())
    with pytest.raises(FedfrError, match=r"is a folder without Pair_list_F\.txt"):
        read_pairs(tmp_path.parent, people())


def test_images_of_cfp_in_folders_of_their_identities(tmp_path: Path) -> None:
    """Where identities have no folders within, frontal/01.jpg became frontal_01.jpg."""
    names = ("001/frontal_01.jpg", "001/profile_01.jpg", "002/frontal_01.jpg")
    faces = FaceSet(np.zeros((3, 112, 112, 3), np.uint8), [0, 0, 1], ("001", "002"), names)
    text = "Images/001/frontal/01.jpg Images/001/profile/01.jpg 1\nImages/002/frontal/01.jpg 001/profile_01 0\n"
    (tmp_path / "pairs.txt").write_text(text)
    assert read_pairs(tmp_path / "pairs.txt", faces) == ((0, 1), (2, 1))
    (tmp_path / "pairs.txt").write_text("frontal_01.jpg 001/profile_01 0\n")
    with pytest.raises(FedfrError, match=r"image frontal_01\.jpg is ambiguous"):
        read_pairs(tmp_path / "pairs.txt", faces)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            rows("{0} {1} {2}", "1", "perhaps"),
            "line 3: 'perhaps' is not a label of a pair; allowed are 1, true, t, yes,",
        ),
        (rows("{0} {1} {2}", "0", "1"), "line 1: same = '0', but true by identity"),
        ("a_1.jpg 1\n", "line 1: the second image of the pair is missing"),
        ("a_1.jpg 1\na_2.jpg 0\n", "line 2: expected an image and the label of the pair, equal in both"),
        ("3\n" + LFW, "4 pairs, line 1 declares 6; it may be truncated"),
        ("1 2 3 4 5\n", "line 1: expected `name number number` or"),
        ("Ann_A 1 " + "9" * 5000, "line 1: expected"),
    ],
)
def test_a_bad_line_of_any_list(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(FedfrError, match=message) as caught:
        read_pairs(tmp_path / "pairs.txt", people())
    assert str(caught.value).isprintable()


def test_an_image_that_alignment_skipped_is_named_as_such(tmp_path: Path) -> None:
    people().subset([index for index in range(len(NAMES)) if index not in (A2, B3)]).save(tmp_path / "faces")
    skipped = "path,reason,width\nAnn_A/Ann_A_0002.jpg,no face,250\nBo_B/Bo_B_0003.jpg,blurred,250\n"
    (tmp_path / "faces" / "skipped.csv").write_text(skipped)
    (tmp_path / "pairs.txt").write_text("2\n" + LFW)
    said = (
        r"line 2: image Ann_A/Ann_A_0002 was skipped when the faces were aligned \(no face\), as were 1 others of the "
        r"list, see .*skipped\.csv; take its pairs out"
    )
    with pytest.raises(FedfrError, match=said):
        read_pairs(tmp_path / "pairs.txt", FaceSet.load(tmp_path / "faces"))
    (tmp_path / "pairs.txt").write_text("Ann_A 1 9\n")
    with pytest.raises(FedfrError, match="Ann_A_0009 is not among these faces"):
        read_pairs(tmp_path / "pairs.txt", FaceSet.load(tmp_path / "faces"))


def test_a_name_with_two_endings_must_be_whole(tmp_path: Path) -> None:
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
    with pytest.raises(FedfrError, match="a pair of the split uses image 3, which is not in its generic part"):
        replace(split, generic=(0, 1, 2)).check(made)


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
