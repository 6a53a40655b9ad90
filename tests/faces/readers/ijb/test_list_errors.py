"""Errors in the lists of an IJB benchmark name file and line."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.ijb_reading import LISTS, content, opened
from tests.support.ijb_set import IjbSet, make_ijb

from fedfr.core.errors import FedfrError
from fedfr.faces import FacesWarning


def changed(name: str, change: Callable[[list[str]], list[str]]) -> Callable[[IjbSet], str]:
    """Return a function that changes the lines of one list and returns its path."""

    def spoil(copy: IjbSet) -> str:
        path = copy.file(name)
        path.write_text("".join(f"{line}\n" for line in change(path.read_text().splitlines())))
        return str(path)

    return spoil


def line(number: int, change: Callable[[list[str]], list[str]], blank: str = " ") -> Callable[[list[str]], list[str]]:
    """A change of the words of one line."""

    def apply(lines: list[str]) -> list[str]:
        lines[number - 1] = blank.join(change(lines[number - 1].split(blank)))
        return lines

    return apply


SPOILT: list[tuple[str, Callable[[list[str]], list[str]], str]] = [
    (
        "face_tid_mid",
        line(3, lambda words: words[:2]),
        "line 3: expected 3 columns (name template medium), found '3.jpg ",
    ),
    ("face_tid_mid", line(3, lambda words: [*words, "1"]), "line 3: expected 3 columns"),
    ("face_tid_mid", line(3, lambda words: [words[0], "x", words[2]]), "line 3: the template is 'x'; expected a whole"),
    ("face_tid_mid", line(3, lambda words: [words[0], words[1], "-1"]), "line 3: the medium is '-1'; expected a whole"),
    ("face_tid_mid", line(3, lambda words: [words[0], "9" * 30, "1"]), "line 3: the template is '99999"),
    ("face_tid_mid", line(3, lambda words: ["1.jpg", *words[1:]]), "line 3: image 1.jpg is listed in line 1 already"),
    (
        "face_tid_mid",
        line(3, lambda words: ["../1.jpg", *words[1:]]),
        "line 3: image ../1.jpg is outside the fold",
    ),
    ("face_tid_mid", line(3, lambda words: ["/etc/x", *words[1:]]), "line 3: image /etc/x is outside the folder"),
    ("face_tid_mid", lambda lines: [*lines[:4], "", *lines[4:]], "line 5: expected 3 columns"),
    ("face_tid_mid", lambda _: [], "is empty; fetch it again"),
    ("name_5pts_score", lambda lines: [*lines[:6], *lines[7:]], "line 7: image 8.jpg, but "),
    ("name_5pts_score", lambda lines: [*lines, lines[0]], "ends after line "),
    ("name_5pts_score", lambda lines: lines[:7], "ends after line 7, "),
    ("name_5pts_score", line(2, lambda words: words[:-1]), "line 2: expected 12 columns (name x1 y1 "),
    ("name_5pts_score", line(2, lambda words: [*words[:3], "nan", *words[4:]]), "line 2: found '"),
    ("name_5pts_score", line(2, lambda words: [*words[:3], "inf", *words[4:]]), "line 2: found '"),
    ("name_5pts_score", line(2, lambda words: [*words[:3], "2e6", *words[4:]]), "expected numbers up to 1,000,000"),
    ("name_5pts_score", line(2, lambda words: [*words[:-1], "nan"]), "line 2: found '"),
    ("name_5pts_score", line(2, lambda words: [*words[:-1], "-0.1"]), "the score not below 0"),
    ("name_5pts_score", line(2, lambda words: [*words[:3], "1,5", *words[4:]]), "line 2: could not convert string to"),
    ("name_5pts_score", line(2, lambda words: [words[0], *["7.5"] * 10, "1"]), "[[7.5, 7.5], [7.5, 7.5], "),
    ("template_pair_label", line(5, lambda words: words[:2]), "line 5: expected 3 whole numbers"),
    (
        "template_pair_label",
        line(5, lambda words: [words[0], words[1], "2"]),
        "line 5: the label is 2; expected 0 or 1",
    ),
    ("template_pair_label", line(5, lambda words: ["4", *words[1:]]), "line 5: template 4 has no images; fetch the"),
    ("template_pair_label", line(5, lambda words: [words[0], "4", "0"]), "line 5: template 4 has no images; fetch the"),
    ("template_pair_label", line(5, lambda words: [words[0], "nan", "0"]), "line 5: expected 3 whole numbers"),
    ("template_pair_label", lambda _: [], "is empty; fetch it again"),
    ("gallery_G1", lambda lines: lines[1:], "line 1: expected the columns TEMPLATE_ID,SUBJECT_ID, … found '"),
    ("gallery_G1", lambda lines: lines[:1], "has no rows below its header; fetch it again"),
    ("gallery_G1", lambda _: [], "line 1: expected the columns TEMPLATE_ID,SUBJECT_ID, … found ''"),
    ("gallery_G1", line(3, lambda cells: cells[:3], ","), "line 3: expected 4 cells as in line 1, found '"),
    ("gallery_G1", line(3, lambda cells: ["4", *cells[1:]], ","), "line 3: template 4 has no images; fetch the"),
    ("gallery_G1", line(3, lambda cells: [cells[0], "nan", *cells[2:]], ","), "line 3: SUBJECT_ID is 'nan'; expected"),
    ("probe_mixed", line(2, lambda cells: ["", *cells[1:]], ","), "line 2: TEMPLATE_ID is ''; expected a whole number"),
]


@pytest.mark.parametrize(("name", "change", "message"), SPOILT)
def test_a_wrong_line_is_named(name: str, change: Callable[[list[str]], list[str]], message: str, copy: IjbSet) -> None:
    path = changed(name, change)(copy)
    with pytest.raises(FedfrError) as caught:
        opened(copy)
    assert path in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_template_of_two_people_and_a_person_with_two_templates(copy: IjbSet) -> None:
    path = copy.file("probe_mixed")
    lines = path.read_text().splitlines()
    template, _, rest = lines[1].split(",", 2)
    path.write_text("\n".join([*lines, f"{template},999,{rest}"]) + "\n")
    with pytest.raises(
        FedfrError, match=rf"line {len(lines) + 1}: template {template} has subject 999, but .* in line 2"
    ):
        opened(copy)
    path.write_text("\n".join(lines) + "\n")
    gallery, other = copy.file("gallery_G1"), copy.file("gallery_G2")
    subject = gallery.read_text().splitlines()[1].split(",")[1]
    lines = other.read_text().splitlines()
    template, _, rest = lines[1].split(",", 2)
    same_template = [each.startswith(f"{template},") for each in lines]
    swapped = [
        f"{template},{subject},{rest}" if same else each for same, each in zip(same_template, lines, strict=True)
    ]
    other.write_text("\n".join(swapped) + "\n")
    with pytest.raises(
        FedfrError, match=rf"G2.csv, line 2: template {template} enrols subject {subject}, as does template .*G1.csv"
    ):
        opened(copy)


def test_contradicting_comparisons_are_refused_and_repeated_ones_counted(copy: IjbSet) -> None:
    path = copy.file("template_pair_label")
    lines = path.read_text().splitlines()
    a, b, mark = lines[3].split()
    path.write_text("\n".join([*lines, f"{b} {a} {1 - int(mark)}"]) + "\n")
    message = rf"line {len(lines) + 1}: templates {b} and {a} have the other label in line 4|templates {a} and {b} have"
    with pytest.raises(FedfrError, match=message) as caught:
        opened(copy)
    assert f"line {len(lines) + 1}: " in str(caught.value)
    path.write_text("\n".join([*lines, lines[3], f"{b} {a} {mark}"]) + "\n")
    with pytest.warns(FacesWarning, match=f"2 of {len(lines) + 2} comparisons are repeated and count repeatedly"):
        ijb = opened(copy)
    assert len(ijb.pairs) == len(lines) + 2


def test_a_missing_image_is_named_with_its_line(copy: IjbSet) -> None:
    for name in ("4.jpg", "9.jpg"):
        (copy.folder / "loose_crop" / name).unlink()
    with pytest.raises(FedfrError, match=r"lacks 2 of \d+ images, first 4.jpg \(.*face_tid_mid.txt, line 4\)"):
        opened(copy)


def test_unreadable_lists_are_refused(copy: IjbSet) -> None:
    copy.file("gallery_G1").write_bytes(b"TEMPLATE_ID,SUBJECT_ID\n\xff\xfe,1\n")
    with pytest.raises(FedfrError, match=r"cannot read .*G1.csv \(it is not UTF-8 text\)"):
        opened(copy)
    copy.file("face_tid_mid").unlink()
    (copy.folder / "meta" / "ijbc_face_tid_mid.txt").mkdir()
    with pytest.raises(FedfrError, match=r"cannot read .*face_tid_mid.txt: Is a directory"):
        opened(copy)


@pytest.mark.parametrize("name", LISTS)
def test_a_truncated_list_is_reported(name: str, tmp_path: Path) -> None:
    """A list truncated at any point gives an error, a warning or other counts, unless no entry was lost."""
    copy = make_ijb(tmp_path / "IJBC", subjects=4, probes=2)
    path = copy.file(name)
    text, whole = path.read_bytes(), content(opened(copy))
    ends = [place + 1 for place, byte in enumerate(text) if byte == ord("\n")]
    told = 0
    for size in [0, *ends[:3], *ends[len(ends) // 2 :][:2], *range(len(text) - 45, len(text))]:
        path.write_bytes(text[:size])
        mistake, found, other = reading(copy)
        if mistake:
            assert str(path) in mistake, size
            assert "\n" not in mistake
        told += bool(mistake or other)
        assert mistake or other or found == whole, size
    assert told >= 20


def reading(made: IjbSet) -> tuple[str, list[object], str]:
    """Return the error, or the content with its counts and warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            ijb = opened(made)
        except FedfrError as error:
            return str(error), [], ""
    return "", content(ijb), "".join([*ijb.differences(), *(str(each.message) for each in caught)])
