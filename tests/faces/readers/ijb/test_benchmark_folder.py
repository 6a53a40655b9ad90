"""A set in the published layout is read as it was written; whatever is wrong is told with file and line."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.ijb_set import IjbSet, make_ijb

from fedfr.core.errors import FedfrError
from fedfr.faces import FacesWarning
from fedfr.faces.readers.ijb import IJB_KINDS, IjbFolder, find_ijb
from fedfr.faces.readers.ijb.template_pairs import rows_of

LISTS = ("face_tid_mid", "name_5pts_score", "template_pair_label", "gallery_G1", "gallery_G2", "probe_mixed")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> IjbSet:
    return make_ijb(tmp_path_factory.mktemp("Bän ke") / "IJBC")


@pytest.fixture
def copy(made: IjbSet, tmp_path: Path) -> IjbSet:
    """One that a test may spoil."""
    shutil.copytree(made.folder, tmp_path / "IJBC")
    return replace(made, folder=tmp_path / "IJBC")


def opened(made: IjbSet) -> IjbFolder:
    """As if the counts of this set had been published, all of it read."""
    counts = {
        "images": len(made.images),
        "templates": len({template for _, template, _ in made.images}),
        "genuine pairs": sum(mark for _, _, mark in made.pairs),
        "impostor pairs": sum(1 - mark for _, _, mark in made.pairs),
        "enrolled subjects": sum(len(made.searches[name]) for name in ("G1", "G2")),
        "probes": len(made.searches["probe_mixed"]),
    }
    found = find_ijb(made.folder)
    assert found is not None
    ijb = IjbFolder(found.path, replace(found.kind, counts=counts))
    ijb.require("pairs", "searches")
    assert ijb.images is not None
    assert ijb.pairs is not None
    assert ijb.searches is not None
    return ijb


def content(ijb: IjbFolder) -> list[object]:
    """Everything read, to be compared."""
    images = ijb.images
    lists = [*ijb.searches.galleries, ijb.searches.probes]
    return [
        images.names,
        *(part.tolist() for part in (images.points, images.faceness, images.template_ids, images.templates)),
        images.media_sizes.tolist(),
        *(part.tolist() for part in (ijb.pairs.left, ijb.pairs.right, ijb.pairs.same)),
        *(part.tolist() for each in lists for part in (each.templates, each.subjects)),
    ]


def test_everything_is_read_as_it_was_written(made: IjbSet) -> None:
    ijb = opened(made)
    images = ijb.images
    ids = images.template_ids.tolist()
    assert images.names == tuple(name for name, _, _ in made.images)
    assert ids == sorted({template for _, template, _ in made.images})
    assert [ids[row] for row in images.templates] == [template for _, template, _ in made.images]
    together = [(template, medium) for _, template, medium in made.images]
    assert images.media_sizes.tolist() == [together.count(each) for each in together]
    assert {1, 2} == set(images.media_sizes.tolist())
    np.testing.assert_array_equal(images.points.reshape(-1, 10), np.array(made.points, np.float32))
    np.testing.assert_array_equal(images.faceness, np.array(made.scores, np.float32))
    pairs = zip(ijb.pairs.left, ijb.pairs.right, ijb.pairs.same, strict=True)
    assert [(ids[a], ids[b], int(same)) for a, b, same in pairs] == made.pairs
    for each in (*ijb.searches.galleries, ijb.searches.probes):
        wanted = made.searches["probe_mixed" if each.name == "probes" else each.name]
        assert {
            ids[row]: subject for row, subject in zip(each.templates, each.subjects.tolist(), strict=True)
        } == wanted
    assert ijb.differences() == []


def test_the_published_counts() -> None:
    """Whitelam et al. 2017 and Maze et al. 2018: every template is enrolled or a probe."""
    for kind in IJB_KINDS:
        assert kind.counts["templates"] == kind.counts["enrolled subjects"] + kind.counts["probes"]
    assert sum(IJB_KINDS[1].counts[name] for name in ("genuine pairs", "impostor pairs")) == 15_658_489


def test_another_count_is_named(made: IjbSet) -> None:
    ijb = find_ijb(made.folder)
    assert ijb is not None
    assert ijb.differences() == []  # nothing has been read yet
    assert len(ijb.images) == len(made.images)
    assert ijb.differences() == [f"{len(made.images)} images (469,375 published)", "30 templates (23,124 published)"]


def test_the_benchmark_is_recognized_by_its_files(tmp_path: Path) -> None:
    other = make_ijb(tmp_path / "b", subjects=2, probes=1, prefix="ijbb")
    for name in ("gallery_G1", "gallery_G2"):
        path = other.file(name)
        path.rename(path.with_name(path.name.replace("_G", "_S")))
    ijb = find_ijb(other.folder)
    assert ijb is not None
    assert ijb.kind.title == "IJB-B"
    assert [gallery.name for gallery in ijb.searches.galleries] == ["S1", "S2"]
    (other.folder / "meta" / "ijbc_face_tid_mid.txt").touch()
    with pytest.raises(FedfrError, match="meta holds files of IJB-B and IJB-C; put them in separate folders"):
        find_ijb(other.folder)
    assert find_ijb(tmp_path) is None


def test_all_that_is_missing_is_named_and_where_it_came_from(copy: IjbSet) -> None:
    for name in ("gallery_G2", "face_tid_mid"):
        copy.file(name).unlink()
    shutil.rmtree(copy.folder / "loose_crop")
    ijb = find_ijb(copy.folder)
    assert ijb is not None
    with pytest.raises(FedfrError) as caught:
        ijb.require("searches")
    message = str(caught.value)
    assert "lacks loose_crop, meta/ijbc_face_tid_mid.txt, meta/ijbc_1N_gallery_G2.csv of IJB-C" in message
    assert "distributed by NIST until 14 March 2023" in message
    with pytest.raises(FedfrError, match=r"lacks loose_crop, meta/ijbc_face_tid_mid.txt of IJB-C"):
        ijb.require("pairs")


def changed(name: str, change: Callable[[list[str]], list[str]]) -> Callable[[IjbSet], str]:
    """A spoiling that changes the lines of one list, and returns the path of it."""

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


@pytest.mark.parametrize("step", [3, 1 << 20])
def test_templates_are_found_by_their_numbers(step: int) -> None:
    """Small numbers by a table, large ones by a search."""
    known = np.array([2, 5, 6, 9], np.int64) * step
    asked = [[0, 2 * step], [6 * step, 5 * step + 1], [9 * step, 9 * step + 1], [999_999_999, 5 * step]]
    assert rows_of(np.array(asked), known).tolist() == [[-1, 0], [2, -1], [3, -1], [-1, 1]]


def test_a_missing_image_is_named_with_its_line(copy: IjbSet) -> None:
    for name in ("4.jpg", "9.jpg"):
        (copy.folder / "loose_crop" / name).unlink()
    with pytest.raises(FedfrError, match=r"lacks 2 of \d+ images, first 4.jpg \(.*face_tid_mid.txt, line 4\)"):
        opened(copy)


def test_images_in_sub_folders(copy: IjbSet) -> None:
    (copy.folder / "loose_crop" / "a").mkdir()
    (copy.folder / "loose_crop" / "1.jpg").rename(copy.folder / "loose_crop" / "a" / "1.jpg")
    for name in LISTS[:2]:
        path = copy.file(name)
        path.write_text("a/" + path.read_text())
    assert opened(copy).images.names[:2] == ("a/1.jpg", "2.jpg")


def test_a_list_that_cannot_be_read(copy: IjbSet) -> None:
    copy.file("gallery_G1").write_bytes(b"TEMPLATE_ID,SUBJECT_ID\n\xff\xfe,1\n")
    with pytest.raises(FedfrError, match=r"cannot read .*G1.csv \(it is not UTF-8 text\)"):
        opened(copy)
    copy.file("face_tid_mid").unlink()
    (copy.folder / "meta" / "ijbc_face_tid_mid.txt").mkdir()
    with pytest.raises(FedfrError, match=r"cannot read .*face_tid_mid.txt: Is a directory"):
        opened(copy)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_cut_short_is_told(name: str, tmp_path: Path) -> None:
    """At any of the last bytes and at ends of lines: an error or a warning, other counts, or nothing was lost."""
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
    """The error, or what was read, and what was said about it: other counts and warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            ijb = opened(made)
        except FedfrError as error:
            return str(error), [], ""
    return "", content(ijb), "".join([*ijb.differences(), *(str(each.message) for each in caught)])
