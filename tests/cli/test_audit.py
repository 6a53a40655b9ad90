"""`fedfr faces audit`: text, JSON, CSV, exit codes; the faces stay unchanged."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import Fedfr
from tests.cli.test_commands import content
from tests.support.drawn_faces import draw_faces, encoded, with_pixels

from fedfr.faces import FaceSet


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces") / "çlean set"
    draw_faces(8, 3).save(folder)
    return folder


@pytest.fixture(scope="module")
def faulty(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face set with a re-encoded image under another name, an exact copy and a black image."""
    folder = tmp_path_factory.mktemp("faces") / "faulty"
    faces = FaceSet.load(clean)
    images = faces.images([0, 6])
    black = np.zeros((112, 112, 3), np.uint8)
    with_pixels(faces, {4: encoded(images[0], 60), 7: images[1], 20: black}).save(folder)
    return folder


def test_a_clean_set(fedfr: Fedfr, clean: Path) -> None:
    answer = fedfr("faces", "audit", clean, "--strict")
    assert answer.code == 0
    assert answer.out == f"{clean}: 24 images of 8 identities\nno findings\n"
    assert "checking images: 24/24 images" in answer.err


def test_findings_fail_only_on_request(fedfr: Fedfr, faulty: Path) -> None:
    before = content(faulty)
    answer = fedfr("faces", "audit", faulty)
    assert answer.code == 0
    for expected in (
        "error: image-of-two-people (1)",
        "person-000#0 = person-001#4: 0.99",
        "warning: exact-duplicates (1)",
        "person-002#6 = person-002#7: 1",
        "warning: blank (1)",
        "person-006#20: 0",
        "kinds of finding: 1 error, 2 warnings",
    ):
        assert expected in answer.out
    strict = fedfr("faces", "audit", faulty, "--strict")
    assert (strict.code, strict.out) == (1, answer.out)
    assert content(faulty) == before


def test_json_and_csv_agree(fedfr: Fedfr, faulty: Path, tmp_path: Path) -> None:
    table = tmp_path / "new folder" / "findings é.csv"
    answer = fedfr("faces", "audit", faulty, "--json", "--csv", table)
    assert answer.code == 0
    facts = json.loads(answer.out)
    assert (facts["images"], facts["identities"], facts["comparison"]) == (24, 8, None)
    rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))))
    assert [row["image"] for row in rows] == [
        image for each in facts["findings"] for case in each["cases"] for image in case["images"]
    ]
    assert [each["count"] for each in facts["findings"]] == [1, 1, 1]
    assert all(each["advice"] for each in facts["findings"])


def test_copies_in_training_and_test_are_refused_or_dropped(fedfr: Fedfr, clean: Path, tmp_path: Path) -> None:
    """The last image of each person is the test; the one of person-002 is a copy of the first."""
    faces = FaceSet.load(clean)
    with_pixels(faces, {8: faces.images([6])[0]}).save(tmp_path / "set")
    settings = ("clients=2", "identities_per_client=4", "public_identities=0", "test_count=1", "min_images=2")
    wanted = [part for setting in settings for part in ("--set", setting)]
    manifest = tmp_path / "split.json"
    refused = fedfr("faces", "split", tmp_path / "set", manifest, *wanted)
    assert refused.code == 2
    assert "'person-002#6' in client-0" in refused.err
    assert not manifest.exists()
    dropped = fedfr("faces", "split", tmp_path / "set", manifest, *wanted, "--set", "duplicates=drop")
    assert dropped.code == 0, dropped.err
    assert "2 clients with 15 training and 8 test images" in dropped.out
    audited = fedfr("faces", "audit", tmp_path / "set", "--split", manifest, "--json")
    found = {each["kind"]: each["cases"] for each in json.loads(audited.out)["findings"]}
    (case,) = found["exact-duplicates"]
    assert case["images"] == ["person-002#6", "person-002#8"]
    assert len(case["parts"]) == 1, "the copy is in no part"
    assert "image-in-two-parts" not in found


def test_findings_are_printed_if_the_csv_cannot_be_written(fedfr: Fedfr, faulty: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    answer = fedfr("faces", "audit", faulty, "--csv", tmp_path / "file" / "findings.csv")
    assert answer.code == 2
    assert "image-of-two-people" in answer.out
    assert answer.err.splitlines()[-1].startswith(
        f"fedfr: cannot write {tmp_path / 'file' / 'findings.csv'}: Not a directory"
    )
    assert (tmp_path / "file").read_text(encoding="utf-8") == "in the way"
