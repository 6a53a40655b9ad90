"""Exclusion of images marked in a list of findings, as spreadsheet programs save it."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from fedfr.audit import audit_images
from fedfr.audit.findings_table import findings_csv
from fedfr.core.errors import FedfrError
from fedfr.faces import FaceSet, Split, import_folder, make_split
from fedfr.faces.exclusions import EXCLUDED, exclude_faces, import_with_exclusions, read_exclusions

MakeFaces = Callable[[Sequence[int]], FaceSet]
SETTINGS = {"public_identities": 1, "clients": 2, "identities_per_client": 1, "test_count": 1, "min_images": 3}


@pytest.fixture
def faces(make_faces: MakeFaces) -> FaceSet:
    """Five people of four images; one image is a copy within p000, one is under p001 and p002."""
    made = make_faces([4, 4, 4, 4, 4])
    pixels = made.images(range(20))
    pixels[2] = pixels[0]
    pixels[9] = pixels[5]
    identities = ("Zoë", *made.identities[1:])
    names = [f"{made.identities[label]}/ü{row}.jpg" for row, label in enumerate(made.labels.tolist())]
    return FaceSet(pixels, made.labels, identities, names)


def marked(faces: FaceSet, *images: str) -> list[dict[str, str]]:
    """The list of an audit, with exclude for these images."""
    rows = list(csv.DictReader(io.StringIO(findings_csv(audit_images(faces), faces))))
    for row in rows:
        row["decision"] = "exclude" if row["image"] in images else "keep" if "/" in row["image"] else ""
    return rows


def written(path: Path, rows: list[dict[str, str]], delimiter: str = ",", end: str = "\n", quoting: int = 0) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator=end, quoting=quoting)  # type: ignore[arg-type]
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    return text.getvalue()


def test_the_list_of_an_audit_locates_images(faces: FaceSet) -> None:
    rows = marked(faces)
    assert {row["image"]: row["index"] for row in rows if row["kind"] == "image-of-two-people"} == {
        "p001/ü5.jpg": "5",
        "p002/ü9.jpg": "9",
    }
    assert all(row["faces"] == f"sha256:{faces.fingerprint()[:16]}" for row in rows)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize(("delimiter", "end"), [(",", "\n"), (";", "\r\n"), ("\t", "\r\n"), (",", "\r\n")])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_lists_saved_by_spreadsheets_are_read(
    faces: FaceSet, tmp_path: Path, encoding: str, delimiter: str, end: str, quoting: int
) -> None:
    rows = marked(faces, "p001/ü5.jpg", "p002/ü9.jpg")
    for row in rows:
        row["decision"] = f" {row['decision'].upper()} "
        row["index"] = row["index"] and f"{row['index']}{',0' if delimiter != ',' else '.0'}"
    text = written(tmp_path / "f.csv", rows, delimiter, end, quoting)
    (tmp_path / "f.csv").write_bytes(f"{text}{delimiter * 10}{end}".encode(encoding))
    left = read_exclusions(tmp_path / "f.csv", faces)
    assert [(each.index, each.image, each.identity) for each in left] == [
        (5, "p001/ü5.jpg", "p001"),
        (9, "p002/ü9.jpg", "p002"),
    ]
    assert left[0].reason.startswith("image-of-two-people (f.csv, row ")


def test_the_separator_line_of_excel(faces: FaceSet, tmp_path: Path) -> None:
    text = written(tmp_path / "f.csv", marked(faces, "p001/ü5.jpg"), ";", "\r\n")
    (tmp_path / "f.csv").write_text("sep=;\r\n" + text, encoding="utf-8-sig", newline="")
    assert [each.index for each in read_exclusions(tmp_path / "f.csv", faces)] == [5]


@pytest.mark.parametrize(("given", "taken"), [("utf-8", "cp1252"), ("ascii", "ascii")])
def test_names_in_another_encoding_are_the_same_image(given: str, taken: str, faces: FaceSet, tmp_path: Path) -> None:
    """Decoded differently, or with question marks for missing characters."""
    rows = marked(faces, "p001/ü5.jpg")
    for row in rows:
        row["image"] = row["image"].encode(given, "replace").decode(taken)
    written(tmp_path / "f.csv", rows)
    assert [each.image for each in read_exclusions(tmp_path / "f.csv", faces)] == ["p001/ü5.jpg"]


def test_a_list_by_hand_and_whole_identities(faces: FaceSet, tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("Image;Identity;Decision\np000/ü1.jpg;;exclude\n;p003;exclude\n", encoding="utf-8")
    left = read_exclusions(tmp_path / "f.csv", faces)
    assert [each.index for each in left] == [1, 12, 13, 14, 15]
    assert left[0].reason == "marked (f.csv, row 2)"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"index": "20"}, r"row 2 of .*f\.csv has the index '20'; these faces have images 0 to 19"),
        ({"index": "-1"}, "has the index '-1'"),
        ({"index": "4", "image": "p001/ü5.jpg"}, r"image 4 is 'p001/ü4\.jpg', not 'p001/ü5\.jpg'; if columns were"),
        ({"image": "nobody.jpg"}, "no image of these faces is called 'nobody.jpg'"),
        ({"identity": "p001 | p002"}, "names neither an image nor one identity of these faces"),
        ({"image": "p001/ü5.jpg", "decision": "delete"}, "has the decision 'delete'; allowed are exclude, keep"),
        (
            {"image": "p001/ü5.jpg", "faces": "sha256:0123456789abcdef"},
            "belongs to the face set sha256:0123456789abcdef, this",
        ),
    ],
)
def test_invalid_rows_are_refused(faces: FaceSet, tmp_path: Path, row: dict[str, str], expected: str) -> None:
    written(tmp_path / "f.csv", [{"index": "", "image": "", "identity": "", "faces": "", "decision": "exclude"} | row])
    with pytest.raises(FedfrError, match=expected) as caught:
        read_exclusions(tmp_path / "f.csv", faces)
    assert "\n" not in str(caught.value)


def test_invalid_lists_are_refused(faces: FaceSet, tmp_path: Path) -> None:
    place = tmp_path / "f.csv"
    with pytest.raises(FedfrError, match=r"cannot read .*f\.csv"):
        read_exclusions(place, faces)
    for content, expected in (
        ("", "has no column decision"),
        ("image,kind\na,b\n", "has no column decision, or none of index, image and identity; it has image, kind"),
        ("image,decision\np001/ü5.jpg,exclude\np001/ü5.jpg,keep\n", "row 3 of .* and row 2 contradict each other"),
        ("image,decision\np001/ü5.jpg,exclude,more\n", "row 2 of .* has 3 cells, the header 2"),
    ):
        place.write_text(content, encoding="utf-8")
        with pytest.raises(FedfrError, match=expected):
            read_exclusions(place, faces)


def test_a_set_without_excluded_images(faces: FaceSet, tmp_path: Path) -> None:
    written(tmp_path / "f.csv", marked(faces, "p001/ü5.jpg", "p002/ü9.jpg", "p000/ü2.jpg"))
    left = exclude_faces(faces, tmp_path / "f.csv", tmp_path / "out")
    made = FaceSet.load(tmp_path / "out")
    kept = [row for row in range(20) if row not in (2, 5, 9)]
    assert list(made.names) == [faces.names[row] for row in kept]
    assert np.array_equal(made.images(range(17)), faces.images(kept))
    record = json.loads((tmp_path / "out" / EXCLUDED).read_text(encoding="utf-8"))
    assert record["of"] == faces.fingerprint()
    assert [each["index"] for each in record["images"]] == [2, 5, 9]
    assert [each["reason"] for each in record["images"]] == [each.reason for each in left]
    assert not [found for found in audit_images(made) if "duplicates" in found.kind or "people" in found.kind]
    with pytest.raises(FedfrError, match="already holds files"):
        exclude_faces(faces, tmp_path / "f.csv", tmp_path / "out")
    with pytest.raises(FedfrError, match="belongs to the face set"):
        exclude_faces(made, tmp_path / "f.csv", tmp_path / "again")


def test_an_identity_with_a_single_image_left(faces: FaceSet, tmp_path: Path) -> None:
    rows = "".join(f"{index},exclude\n" for index in (4, 5, 6))
    (tmp_path / "f.csv").write_text(f"index,decision\n{rows}", encoding="utf-8")
    with pytest.raises(FedfrError, match="1 identities would be left with a single image: 'p001'; mark their last"):
        exclude_faces(faces, tmp_path / "f.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    exclude_faces(faces, tmp_path / "f.csv", tmp_path / "out", keep_single=True)
    assert FaceSet.load(tmp_path / "out").num_identities == 5
    (tmp_path / "f.csv").write_text("index,decision\n4,keep\n", encoding="utf-8")
    with pytest.raises(FedfrError, match="marks no image with exclude"):
        exclude_faces(faces, tmp_path / "f.csv", tmp_path / "none")


def test_an_import_without_excluded_images(faces: FaceSet, tmp_path: Path) -> None:
    people = tmp_path / "people"
    for row in range(8):
        (people / f"p{row // 4}").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(people / f"p{row // 4}" / f"{row}.png"), faces.images([row])[0])
    whole = import_folder(people, tmp_path / "whole")
    (tmp_path / "f.csv").write_text(
        f"index,faces,decision\n1,sha256:{whole.fingerprint()[:16]},exclude\n", encoding="utf-8"
    )
    left = import_with_exclusions(lambda place: import_folder(people, place), tmp_path / "f.csv", tmp_path / "out")
    assert [each.image for each in left] == [whole.names[1]]
    assert len(FaceSet.load(tmp_path / "out")) == len(whole) - 1
    (tmp_path / "f.csv").write_text("index,decision\n99,exclude\n", encoding="utf-8")
    with pytest.raises(FedfrError, match="has the index '99'"):
        import_with_exclusions(lambda place: import_folder(people, place), tmp_path / "f.csv", tmp_path / "no")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != people.name) == ["f.csv", "out", "whole"]


def test_a_split_without_excluded_images(faces: FaceSet, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    written(tmp_path / "f.csv", marked(faces, "p001/ü5.jpg", "p002/ü9.jpg"))
    with caplog.at_level(logging.WARNING):
        split = make_split(faces, "general", **SETTINGS, exclude=str(tmp_path / "f.csv"), duplicates="drop")
    assert "the split leaves out 3 images: p000/ü2.jpg (copy of p000/ü0.jpg)" in caplog.text
    used = {index for images in split.parts().values() for index in images}
    assert not used & {2, 5, 9}
    assert [each.index for each in split.left_out] == [2, 5, 9]
    assert split.left_out[1].reason.startswith("image-of-two-people (f.csv, row")
    split.save(tmp_path / "s.json")
    again = Split.load(tmp_path / "s.json")
    assert again.left_out == split.left_out
    assert again.settings["exclude"] == str(tmp_path / "f.csv")
    given = {"exclude": str(tmp_path / "f.csv"), "duplicates": "drop"}
    partition = make_split(faces, "partition", partition=[0] * 8 + [1] * 12, **given)
    assert {*partition.clients["client-00"].all().tolist()} == {*range(8)} - {2, 5}


def test_dropping_duplicates_reports_lost_identities(make_faces: MakeFaces, caplog: pytest.LogCaptureFixture) -> None:
    made = make_faces([4, 4, 4, 2])
    pixels = made.images(range(14))
    pixels[12:14] = pixels[0:2]
    faces = FaceSet(pixels, made.labels, made.identities)
    with caplog.at_level(logging.WARNING):
        split = make_split(faces, "general", **SETTINGS | {"min_images": 2}, duplicates="drop")
    assert split.lost_identities == ("p003",)
    assert "1 identities have no images left: p003" in caplog.text
    assert {each.index for each in split.left_out} == {0, 1, 12, 13}
    assert all(each.reason == "one image under 2 identities: p000, p003" for each in split.left_out)
