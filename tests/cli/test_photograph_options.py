"""``fedfr faces import --align``: output, invalid options, and the path from photographs to a split."""

from __future__ import annotations

import inspect
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import Fedfr
from tests.support.photograph_files import YUNET, landmarks_file, people, save

from fedfr.cli import face_import
from fedfr.faces import FaceSet, import_photographs
from fedfr.faces.alignment.photographs import REASONS, Limits

DOCS = Path(__file__).resolve().parents[2] / "docs" / "faces.md"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    landmarks_file(tmp_path / "points.tsv", people(tmp_path / "in put", {"Zoë": 2, "anna": 3}))
    save(tmp_path / "in put" / "bo" / "1.png", np.full((160, 160, 3), 90, np.uint8))
    return tmp_path


def test_output_and_list_of_skipped_files(fedfr: Fedfr, place: Path) -> None:
    given = (place / "in put", place / "out", "--align", "landmarks", "--landmarks", place / "points.tsv")
    answer = fedfr("faces", "import", *given, "--sheet", place / "sheet.html")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[:-1] == [
        "aligned 5 of 6 photographs",
        f"skipped: 1 no-landmarks; each with its numbers in {place}/out/skipped.csv",
        "no face left of: bo",
        f"{place}/sheet.html: it shows real people; store it only where the faces may be stored",
        f"{place}/out: 5 images of 2 identities, 2 to 3 images each",
    ]
    assert "importing: 6/6" in answer.err
    again = fedfr("faces", "import", *given)
    assert (again.code, again.out) == (2, "")
    assert again.err == f"fedfr: {place}/out already holds files; give a new or empty folder for the faces\n"


def test_json_contains_the_counts(fedfr: Fedfr, place: Path) -> None:
    answer = fedfr(
        "faces", "import", place / "in put", place / "out", "--align", "landmarks", "--landmarks", place / "points.tsv",
        "--threads", "1", "--json",
    )  # fmt: skip
    facts = json.loads(answer.out)
    assert facts["images"] == 5
    assert facts["photographs"] == 6
    assert facts["skipped"] == {"no-landmarks": 1}
    assert facts["identities_lost"] == ["bo"]
    assert Path(facts["list"]).is_file()
    assert facts["fingerprint"] == FaceSet.load(place / "out").fingerprint()


def test_yunet_and_limits(fedfr: Fedfr, data_dir: Path, models_dir: Path, tmp_path: Path) -> None:
    answer = fedfr(
        "faces", "import", data_dir / "lfw250_sample", tmp_path / "out", "--align", "yunet",
        "--detector", models_dir / YUNET, "--least-size", "130", "--skip-several", "--json",
    )  # fmt: skip
    facts = json.loads(answer.out)
    assert set(facts["skipped"]) == {"several-faces", "too-small"}
    assert facts["images"] + sum(facts["skipped"].values()) == 56
    assert answer.err.splitlines()[-1] == "importing: 56/56 images"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ["--align", "landmark"],
            "unknown --align 'landmark'; did you mean 'landmarks'? known: none, yunet, landmarks",
        ),
        (
            ["--align", "yunet"],
            (
                "--align yunet needs --detector FILE, an .onnx of YuNet (in OpenCV's model zoo, licence "
                "Apache-2.0/MIT), which fedfr does not include"
            ),
        ),
        (["--align", "landmarks"], "--align landmarks needs --landmarks FILE.tsv with five points of every image"),
        (
            ["--align", "yunet", "--landmarks", "x"],
            "--landmarks is for --align landmarks, not --align yunet; leave it out or change --align",
        ),
        (
            ["--detector", "x"],
            "--detector is for --align yunet, not --align none; leave it out or change --align",
        ),
        (
            ["--least-size", "30"],
            "--least-size has no effect here: it is for photographs; add --align yunet or --align landmarks",
        ),
        (
            ["--skip-several"],
            "--skip-several has no effect here: it is for photographs; add --align yunet or --align landmarks",
        ),
        (
            ["--sheet", "x.html"],
            "--sheet has no effect here: it is for photographs; add --align yunet or --align landmarks",
        ),
        (
            ["--align", "landmarks", "--landmarks", "{place}/points.tsv", "--link"],
            "--link has no effect here: it is for a train.rec; leave it out with --align",
        ),
        (
            ["--align", "landmarks", "--landmarks", "{place}/points.tsv", "--sheet", "{place}/points.tsv"],
            "{place}/points.tsv does not end in .html; the contact sheet is an HTML page",
        ),
    ],
)
def test_incompatible_options_are_refused(fedfr: Fedfr, place: Path, options: list[str], expected: str) -> None:
    given = [option.format(place=place) for option in options]
    answer = fedfr("faces", "import", place / "in put", place / "out", *given)
    assert answer.code == 2
    assert answer.err == f"fedfr: {expected.format(place=place)}\n"
    assert not (place / "out").exists()


def test_ctrl_c(fedfr: Fedfr, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = (place / "in put", place / "out", "--align", "landmarks", "--landmarks", place / "points.tsv")

    def interrupted(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fedfr.faces.readers.photograph_import.write_faces", interrupted)
        answer = fedfr("faces", "import", *given)
    assert answer.code == 130
    assert "aligned faces are kept, repeat the same command to continue" in answer.err
    assert fedfr("faces", "import", *given).code == 0


def test_the_command_has_the_defaults_of_the_library() -> None:
    defaults = {name: value.default for name, value in inspect.signature(face_import.import_).parameters.items()}
    plain = Limits()
    assert defaults["least_score"] == plain.score
    assert defaults["least_size"] == plain.size
    assert defaults["least_sharpness"] == plain.sharpness
    assert defaults["skip_several"] is not plain.several
    assert inspect.signature(import_photographs).parameters["limits"].default is None


def test_unaligned_photographs_are_refused_with_the_remedy(fedfr: Fedfr, place: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        answer = fedfr("faces", "import", place / "in put", place / "out")
    assert answer.code == 0
    assert "6 images were not 112x112 and resized without alignment" in answer.err
    assert "`fedfr faces import --align yunet`" in answer.err


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_is_documented(reason: str) -> None:
    assert f"| `{reason}` |" in DOCS.read_text(encoding="utf-8")


def test_every_limit_is_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for name, value in (("score", "0.6"), ("size", "56"), ("sharpness", "8")):
        assert f"`--least-{name}` ({value})" in text
