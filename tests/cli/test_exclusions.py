"""Exclusion of images: ``fedfr faces audit --csv``, ``faces exclude`` and ``faces split --exclude``."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
from tests.cli.conftest import Fedfr

from fedfr.faces import FaceSet

SETTINGS = {"public_identities": 1, "clients": 2, "identities_per_client": 1, "test_count": 1, "min_images": 3}


def test_audit_exclude_and_split(tmp_path: Path, fedfr: Fedfr) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 112, 112, 3), np.uint8)
    pixels[2], pixels[9] = pixels[0], pixels[5]
    FaceSet(pixels, np.repeat(np.arange(5), 4), [f"p{number}" for number in range(5)]).save(tmp_path / "faces")
    findings = tmp_path / "f.csv"
    fedfr("faces", "audit", tmp_path / "faces", "--csv", findings)
    rows = list(csv.DictReader(findings.read_text(encoding="utf-8").splitlines()))
    for row in rows:
        row["decision"] = "exclude" if row["kind"] == "image-of-two-people" else ""
    with findings.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    out = tmp_path / "out"
    answer = json.loads(fedfr("faces", "exclude", tmp_path / "faces", findings, "--out", out, "--json").out)
    assert [each["index"] for each in answer["left_out"]] == [5, 9]
    assert (answer["images"], answer["lost_identities"]) == (18, [])
    general = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
    more = ("--exclude", findings, "--set", "duplicates=drop", *general)
    said = fedfr("faces", "split", tmp_path / "faces", tmp_path / "s.json", *more)
    assert "left out: 3 images, no identity lost" in said.out
    answer = json.loads(fedfr("faces", "split", tmp_path / "faces", tmp_path / "t.json", *more, "--json").out)
    assert [each["index"] for each in answer["left_out"]] == [2, 5, 9]
    refused = fedfr("faces", "exclude", out, findings, "--out", tmp_path / "again")
    assert refused.code == 2
    assert "belongs to the face set sha256:" in refused.err


def test_an_import_reports_excluded_images(tmp_path: Path, fedfr: Fedfr) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 112, 112, 3), np.uint8)
    for row, image in enumerate(pixels):
        folder = tmp_path / "people" / f"p{row // 4}"
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{row}.png"), image)
    (tmp_path / "f.csv").write_text("image;decision\r\np0/1.png;exclude\r\n", encoding="utf-8")
    command = ("faces", "import", tmp_path / "people", "--exclude", tmp_path / "f.csv")
    assert "left out 1 images; listed in" in fedfr(*command, tmp_path / "one").out
    answer = json.loads(fedfr(*command, tmp_path / "two", "--json").out)
    assert (answer["images"], [each["image"] for each in answer["left_out"]]) == (7, ["p0/1.png"])
    assert "--link has no effect here" in fedfr(*command, tmp_path / "three", "--link").err
