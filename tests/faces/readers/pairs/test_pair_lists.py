"""Pair lists in all published formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet
from fedfr.faces.readers.pairs.face_pairs import read_pairs

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
def test_published_pair_lists(name: str, text: str, tmp_path: Path) -> None:
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
    """The folders of CFP with separately numbered frontal and profile images."""
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
