"""Import of an imagefolder: by metadata in CSV, JSON lines or Parquet, or by folders below parts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.huggingface_files import png

from fedfr.core.errors import FedfrError
from fedfr.faces import FacesWarning, import_faces, import_imagefolder, importer_for

IMAGES = ("b 1.png", "tiefer/é.png", "b2.png")


def samples(folder: Path, names: Sequence[str] = IMAGES) -> Path:
    """Images of one colour; the n-th has the green level 2 n."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(number))
    return folder


def jsonl(*lines: dict[str, Any]) -> str:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


LINES = [{"file_name": name, "identity": who} for name, who in zip(IMAGES, ("Bo, Jr", "Zoë", "Bo, Jr"), strict=True)]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_metadata_names_the_identities(kind: str, tmp_path: Path) -> None:
    folder = samples(tmp_path / "mit Umlaut ü")
    if kind == "parquet":
        pa: Any = pytest.importorskip("pyarrow", reason="pyarrow is not installed; pip install 'fedfr[hf]'")
        parquet: Any = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pa.Table.from_pylist(LINES), folder / "metadata.parquet")
    else:
        table = "".join(f'{line["file_name"]},"{line["identity"]}"\n' for line in LINES)
        text = jsonl(*LINES) if kind == "jsonl" else "\ufefffile_name,identity\n" + table
        (folder / f"metadata.{kind}").write_text(text, encoding="utf-8")
    assert importer_for(folder) == "imagefolder"
    faces = import_faces(folder)
    assert faces.identities == ("Bo, Jr", "Zoë")
    assert faces.labels.tolist() == [0, 1, 0]
    assert faces.names == ("Bo, Jr/b 1.png", "Zoë/tiefer/é.png", "Bo, Jr/b2.png")
    assert faces.images(range(3))[:, 0, 0, 1].tolist() == [0, 2, 4]
    on_disk = import_faces(folder, tmp_path / "out")
    assert on_disk.fingerprint() == faces.fingerprint()


def test_numbers_names_and_other_columns(tmp_path: Path) -> None:
    folder = samples(tmp_path / "set")
    lines = [{**line, "label": 3 - row, "age": 40, "name": f"image {row}"} for row, line in enumerate(LINES)]
    for line in lines:
        del line["identity"]
    (folder / "metadata.jsonl").write_text(jsonl(*lines) + "\n")
    faces = import_faces(folder)
    assert faces.identities == ("0000001", "0000002", "0000003")
    assert faces.labels.tolist() == [2, 1, 0]
    assert faces.names == ("image 0", "image 1", "image 2")
    assert import_imagefolder(folder, identity_column="age").identities == ("0000040",)


def test_identities_in_csv_are_not_reformatted(tmp_path: Path) -> None:
    folder = samples(tmp_path / "set")
    table = "".join(f"{name},{who}\n" for name, who in zip(IMAGES, ("007", "7", "NA"), strict=True))
    (folder / "metadata.csv").write_text("file_name,identity\n" + table, encoding="utf-8")
    assert import_faces(folder).identities == ("007", "7", "NA")


def test_parts_with_metadata(tmp_path: Path) -> None:
    for number, part in enumerate(("train", "test")):
        folder = tmp_path / part
        folder.mkdir()
        (folder / "1.png").write_bytes(png(number))
        (folder / "metadata.csv").write_text("file_name,identity\n1.png,anna\n")
    assert importer_for(tmp_path) == "imagefolder"
    faces = import_faces(tmp_path)
    assert faces.names == ("anna/test/1.png", "anna/train/1.png")
    assert faces.images(range(2))[:, 0, 0, 1].tolist() == [2, 0]
    assert import_faces(tmp_path, part="train").names == ("anna/train/1.png",)
    with pytest.raises(FedfrError, match="has no part 'dev'; it has test, train"):
        import_faces(tmp_path, part="dev")
    (tmp_path / "test" / "metadata.csv").unlink()
    with pytest.raises(FedfrError, match=r"test has no metadata file, .*train has one; write one for each part"):
        import_faces(tmp_path)


def test_parts_with_folders(tmp_path: Path) -> None:
    samples(
        tmp_path, ["train/bo/1.png", "train/anna/1.PNG", "train/anna/.2.png", "train/anna/notes.txt", "test/bo/1.png"]
    )
    assert importer_for(tmp_path) == "imagefolder"
    faces = import_faces(tmp_path)
    assert faces.identities == ("anna", "bo")
    assert faces.names == ("bo/test/1.png", "anna/train/1.PNG", "bo/train/1.png")
    assert faces.images(range(3))[:, 0, 0, 1].tolist() == [8, 2, 0]
    assert import_faces(tmp_path, part="train").names == ("anna/train/1.PNG", "bo/train/1.png")
    with pytest.raises(FedfrError, match="its folders are the identities; leave --identity-column out"):
        import_faces(tmp_path, identity_column="who")
    (tmp_path / "test" / "bo" / "1.png").write_bytes(b"")
    with pytest.raises(FedfrError, match=r"test/bo/1\.png is empty; repair the data set"):
        import_faces(tmp_path)


def test_other_folders_are_read_by_the_identity_importer(tmp_path: Path) -> None:
    samples(tmp_path / "plain", ["train/1.png", "anna/2.png"])
    (tmp_path / "plain" / "metadata.csv").write_text("subject,age\nanna,40\n")
    assert importer_for(tmp_path / "plain") == "folder"
    samples(tmp_path / "only train", ["train/1.png"])
    assert importer_for(tmp_path / "only train") == "folder"


def test_unlisted_images_are_counted_and_missing_ones_refused(tmp_path: Path) -> None:
    folder = samples(tmp_path / "set")
    (folder / "metadata.jsonl").write_text(jsonl(*LINES[1:]))
    with pytest.warns(FacesWarning, match="left out 1 images that are not in the metadata") as caught:
        assert len(import_imagefolder(folder)) == 2
    assert caught[0].filename == __file__
    (folder / "b2.png").unlink()
    (folder / "tiefer" / "é.png").write_bytes(b"")
    (folder / "metadata.jsonl").write_text(jsonl(*LINES))
    with pytest.raises(FedfrError, match=r"2 of 3 rows .*: é\.png \(line 2 of .*metadata\.jsonl\) is empty; b2\.png"):
        import_faces(folder)
    with pytest.warns(FacesWarning, match=r"left out 2 bad rows.*b2\.png .* cannot be read \(No such file") as caught:
        faces = import_imagefolder(folder, tmp_path / "out", skip_bad=True)
    assert caught[0].filename == __file__
    assert len(faces) == 1
    assert len((tmp_path / "out" / "dropped.tsv").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("csv", "", "lists no images; give a line for each"),
        ("csv", "file_name,identity\n", "lists no images; give a line for each"),
        ("csv", "file_name,identity\na.png,bo\nb.png", r"line 3 has more or fewer cells than line 1; the file may be"),
        ("csv", "file_name,identity\na.png,bo,40\n", r"line 2 has more or fewer cells than line 1"),
        ("csv", 'file_name,identity\na.png,"bo', r"is not readable \(unexpected end of data\)"),
        (
            "csv",
            "file_name,who\na.png,bo\n",
            r"line 2 of .* has no identity or label \(its identity\); it has file_name, w",
        ),
        ("csv", "file_name,identity\na.png,\n", r"a\.png \(line 2 of .*\) has no identity"),
        ("csv", "file_name,label\na.png,-1\n", r"a\.png \(line 2 of .*\) has no identity"),
        ("jsonl", '{"file_name": "a.png", "label": -1}\n', r"a\.png \(line 1 of .*\) has no identity"),
        ("csv", "file_name,identity\n,bo\n", r"line 2 of .* has the file ''; expected a path below"),
        (
            "csv",
            "file_name,identity\na.png,bo\na.png,bo\n",
            r"line 3 of .* repeats an image, it is also a\.png \(line 2",
        ),
        ("csv", "file_name,identity\na.png,bo\na.png,al\n", "repeats an image"),
        ("jsonl", '{"file_name": "a.png", "identity": "bo"}\n{"file_na', "line 2 is not JSON, it may be truncated"),
        ("jsonl", '["file_name"]\n', "line 1 is not an object such as"),
        (
            "jsonl",
            '{"identity": "bo", "x": "file_name"}\n',
            r"has no file_name or image_file_name \(the image's file\)",
        ),
        ("jsonl", '{"file_name": 3, "identity": "bo"}\n', "has the file 3"),
        ("jsonl", '{"file_name": "a.png", "identity": 0.5}\n', "has the identity 0.5; expected a name or a whole"),
        ("jsonl", '{"file_name": "a.png", "identity": true}\n', "has the identity True"),
        ("jsonl", '{"file_name": "../a.png", "identity": "bo"}\n', r"names '\.\./a\.png'; expected an image below"),
        ("jsonl", '{"file_name": "/etc/passwd", "identity": "bo"}\n', "names '/etc/passwd'; expected an image below"),
        ("jsonl", '{"file_name": ' + "[" * 100_000, "is not readable"),
        ("jsonl", b'{"file_name": "\xff"}', "is not readable .*utf-8"),
        ("parquet", "file_name", "is not a complete Parquet file"),
    ],
)
def test_invalid_metadata_is_refused(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    if name == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed; pip install 'fedfr[hf]'")
    folder = samples(tmp_path / "set", ["a.png", "b.png"])
    (folder / f"metadata.{name}").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(FedfrError, match=message) as caught:
        import_faces(folder, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_two_metadata_files_and_places_that_overlap(tmp_path: Path) -> None:
    folder = samples(tmp_path / "set")
    (folder / "metadata.jsonl").write_text(jsonl(*LINES))
    with pytest.raises(FedfrError, match="has one metadata file and no parts, so no part 'train'"):
        import_faces(folder, part="train")
    for dest in (folder, folder / "out", tmp_path):
        with pytest.raises(FedfrError, match="are inside one another"):
            import_faces(folder, dest)
    (folder / "metadata.csv").touch()
    with pytest.raises(FedfrError, match=r"holds metadata\.csv and metadata\.jsonl; keep one of them"):
        import_faces(folder)
    with pytest.raises(FedfrError, match="is not a folder; give one with images"):
        import_imagefolder(folder / "b2.png")


def test_equals_the_library_datasets(hf: Any, data_dir: Path, tmp_path: Path) -> None:
    """Real faces below parts: the same images of the same people as ``load_dataset`` gives."""
    for part, name in (("train", "Aaron_Peirsol"), ("train", "Abdullah_Gul"), ("test", "Ai_Sugiyama")):
        shutil.copytree(data_dir / "lfw112" / name, tmp_path / "set" / part / name)
    theirs = hf.load_dataset("imagefolder", data_dir=str(tmp_path / "set"), split="train")
    ours = import_faces(tmp_path / "set", part="train")
    assert list(ours.identities) == ["Aaron_Peirsol", "Abdullah_Gul"]
    assert len(theirs) == len(ours)
    assert set(import_faces(tmp_path / "set").identities) == {"Aaron_Peirsol", "Abdullah_Gul", "Ai_Sugiyama"}
