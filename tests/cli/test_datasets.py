"""Data sets of the library ``datasets`` on the command line: import, export, split and training."""

from __future__ import annotations

import json
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.cli.conftest import Fedfr

from fedfr.config.schema import load_config
from fedfr.faces import FaceSet, Split

BAD = (
    "2 of 2 rows cannot be used: row 0 of {set}/x.parquet holds no image; row 1 of {set}/x.parquet has no "
    "identity; repair the data set, or leave such rows out with --skip-bad"
)


@pytest.fixture(autouse=True)
def _pyarrow() -> None:
    if find_spec("pyarrow") is None:
        pytest.skip("pyarrow is not installed; pip install 'fedfr[hf]'")


@pytest.mark.parametrize("form", ["parquet", "imagefolder"])
def test_export_and_import(fedfr: Fedfr, faceset: Path, form: str, tmp_path: Path) -> None:
    given = FaceSet.load(faceset)
    answer = fedfr("faces", "export", faceset, tmp_path / "o ü", "--format", form)
    assert answer.code == 0, answer.err
    assert answer.out == f"{tmp_path}/o ü: 70 images of 14 identities in {1 if form == 'parquet' else 71} files\n"
    assert "exporting: 70/70" in answer.err
    answer = fedfr("faces", "import", tmp_path / "o ü", tmp_path / "in", "--part", "train", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["fingerprint"] == given.fingerprint()
    assert "importing: 70/70" in answer.err
    answer = fedfr("faces", "export", faceset, tmp_path / "again", "--format", form, "--json")
    facts = json.loads(answer.out)
    assert facts == {"folder": str(tmp_path / "again"), "format": form, "images": 70, "identities": 14} | {
        "files": facts["files"]
    }


def test_partitions_become_clients(fedfr: Fedfr, faceset: Path, tmp_path: Path) -> None:
    partitions = tmp_path / "partitions.json"
    partitions.write_text(json.dumps([image // 5 % 3 for image in range(70)]))
    sets = ("--set", f"partition={partitions}", "--set", "public_identities=4", "--set", "test_count=1")
    arguments = ("faces", "split", faceset, tmp_path / "split.json", "--recipe", "partition", *sets)
    answer = fedfr(*arguments)
    assert answer.out == (
        f"{tmp_path}/split.json: 20 public images; 3 clients with 40 training and 10 test images; "
        "0 images of unseen identities, 0 distractors\n"
    )
    split = Split.load(tmp_path / "split.json")
    assert list(split.clients) == ["client-00", "client-01", "client-02"]
    assert sum(len(split.identities[client]) for client in split.clients) == 10
    partitions.write_text(json.dumps([image % 3 for image in range(70)]))
    answer = fedfr(*arguments[:3], tmp_path / "other.json", *arguments[4:])
    assert answer.code == 2
    assert answer.err.startswith("fedfr: 10 of 10 identities have images in several partitions: person-")
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "other.json").exists()


def test_a_path_in_a_configuration_is_relative_to_its_folder(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("split: {recipe: partition, settings: {partition: parts.csv}}\n")
    config = load_config(tmp_path / "run.yaml", [])
    assert config.split.settings["partition"] == str(tmp_path / "parts.csv")


def test_a_run_on_parquet_files(fedfr: Fedfr, faceset: Path, settings: list[str], tmp_path: Path) -> None:
    """The images named in the configuration are decoded once, into the run's folder."""
    fedfr("faces", "export", faceset, tmp_path / "data", "--format", "parquet")
    (tmp_path / "run.yaml").write_text("{}\n")
    more = ("--set", "faces.source=parquet", "--set", f"faces.path={tmp_path / 'data'}")
    answer = fedfr("pretrain", tmp_path / "run.yaml", "--out", tmp_path / "run", *settings, *more, "--json")
    assert answer.code == 0, answer.err
    assert FaceSet.load(tmp_path / "run" / "faces").fingerprint() == FaceSet.load(faceset).fingerprint()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["import", "{set}/x.parquet", "{set}/out"], BAD),
        (
            ["import", "{set}/x.parquet", "{set}/out", "--image-column", "face"],
            "{set}/x.parquet has no column 'face' for images; ",
        ),
        (["import", "{set}/x.parquet", "{set}/out", "--part", "test"], "{set}/x.parquet has no part 'test'; it has x"),
        (["import", "{set}/x.parquet", "{set}/out", "--link"], "--link has no effect on {set}/x.parquet, which is "),
        (
            ["import", "{set}/plain", "{set}/out", "--part", "a"],
            "--part has no effect on {set}/plain, which is read by",
        ),
        (["import", "{set}", "{set}/o", "--align", "yunet", "--part", "a"], "--align yunet needs"),
        (
            ["export", "{set}/none", "{set}/out", "--format", "parquet"],
            "{set}/none is not a folder; give a folder writ",
        ),
        (["export", "{faces}", "{set}/out", "--format", "csv"], "unknown format 'csv'; known: parquet, imagefolder"),
        (["export", "{faces}", "{faces}", "--format", "parquet"], "{faces} already holds files; give a new or empty"),
    ],
)
def test_invalid_arguments_are_refused(
    fedfr: Fedfr, faceset: Path, arguments: list[str], expected: str, tmp_path: Path
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "plain" / "anna").mkdir(parents=True)
    pq.write_table(pa.table({"image": [b"", b""], "identity": ["a", None]}), tmp_path / "x.parquet")
    answer = fedfr("faces", *(each.format(set=tmp_path, faces=faceset) for each in arguments))
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("fedfr: " + expected.format(set=tmp_path, faces=faceset)), answer.err
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_incompatible_options_are_refused(fedfr: Fedfr, tmp_path: Path) -> None:
    (tmp_path / "points.tsv").write_text("x.png\t1\t2\t3\t4\t5\t6\t7\t8\t9\t10\n")
    align = ("--align", "landmarks", "--landmarks", tmp_path / "points.tsv")
    answer = fedfr("faces", "import", tmp_path, tmp_path / "out", *align, "--identity-column", "who")
    assert answer.code == 2
    expected = "fedfr: --identity-column has no effect here: it is for a data set; leave it out with --align\n"
    assert answer.err == expected


def test_bad_rows_are_skipped_and_reported(fedfr: Fedfr, faceset: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fedfr("faces", "export", faceset, tmp_path / "data", "--format", "parquet")
    path = next((tmp_path / "data").iterdir())
    rows = pq.read_table(path)
    images = rows["image"].to_pylist()
    images[3] = None
    pq.write_table(rows.set_column(0, "image", pa.array(images)), path)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        answer = fedfr("faces", "import", path, tmp_path / "in", "--skip-bad")
    assert answer.code == 0, answer.err
    assert "left out 1 bad rows (all in" in answer.err
    assert f"row 3 of {path} holds no image" in answer.err
    assert answer.out.startswith(f"{tmp_path}/in: 69 images of 14 identities, 4 to 5 images each\n")
