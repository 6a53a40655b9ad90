"""Commands of a gallery: enrolment to removal, JSON, exit codes, and invalid input."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tests.cli.conftest import Answer, Fedfr, answered
from tests.support.doors import Door, save_tiny_model
from tests.support.tiny_experiment import tiny_faces

from fedfr.models import UserPreprocessing, build_backbone
from fedfr.recognition.gallery import encryption
from fedfr.recognition.recognizer import Recognizer


@pytest.fixture
def place(gallery_place: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder, in which the command runs."""
    shutil.copytree(gallery_place.folder.parent, tmp_path / "a place")
    monkeypatch.chdir(tmp_path / "a place")
    return tmp_path / "a place"


def refused(answer: Answer) -> str:
    """The error line of a mistake."""
    assert answer.code == 2, answer
    assert len(answer.err.splitlines()) == 1
    assert answer.err.startswith("fedfr: ")
    return answer.err


def test_a_gallery_from_its_creation_to_an_empty_one(fedfr: Fedfr, place: Path) -> None:
    """Every command as people use it: text, with spaces in paths."""
    tiny_faces(40, 1, seed=7).save(place / "some strangers")
    init = fedfr(
        *("gallery", "init", "my door", "--model", "model.safetensors", "--strangers", "some strangers"),
        *("--quality", "off", "--fpir", "0.1", "--keep-crops"),
    )
    assert init.code == 0, init.err
    assert "my door: generic model in space sha256:" in init.out
    assert "40 strangers" in init.out
    enrolled = fedfr("enrol", "my door", "ada", "photos of 0", "--aligned")
    assert (enrolled.code, enrolled.out) == (0, "ada: 6 of 6 photos enrolled\n")
    assert fedfr("enrol", "my door", "ben", "photos of 1/[0-2].png", "--aligned").code == 0
    accepted = fedfr("identify", "my door", "photos of 1/5.png", "--aligned")
    assert accepted.code == 0
    assert accepted.out.startswith("accept: ben\n  score 0.99")
    assert "of 40 strangers did, with 2 people enrolled)" in accepted.out
    rejected = fedfr("identify", "my door", "photos of 2/0.png", "--aligned")
    assert rejected.code == 1
    assert rejected.out.startswith("reject\n  below-threshold: no enrolled person is similar enough; try again")
    assert "ada" not in rejected.out + rejected.err
    assert fedfr("verify", "my door", "ada", "photos of 0/1.png", "--aligned").code == 0
    assert fedfr("verify", "my door", "ada", "photos of 1/1.png", "--aligned").code == 1
    calibrated = fedfr("calibrate", "my door", "--fpir", "0.2")
    assert calibrated.code == 0
    assert "at most 20 % of strangers pass" in calibrated.out
    shown = fedfr("gallery", "show", "my door")
    assert "liveness" in shown.out
    listed = fedfr("gallery", "list", "my door")
    assert [line.split()[:2] for line in listed.out.splitlines()[2:]] == [["ada", "6"], ["ben", "3"]]
    for name in ("ada", "ben"):
        assert "is removed" in fedfr("gallery", "remove", "my door", name).out
    assert "nobody is enrolled" in fedfr("gallery", "list", "my door").out
    assert "nobody-enrolled" in fedfr("identify", "my door", "photos of 2/0.png", "--aligned").out


def test_every_command_has_json(fedfr: Fedfr, place: Path) -> None:
    shown = answered(fedfr("gallery", "show", "door", "--json"))
    assert (shown["enrolled"], shown["problem"], shown["calibration"]["enrolled"]) == (2, None, 2)
    listed = answered(fedfr("gallery", "list", "door", "--json"))
    assert [(person["name"], person["needs_photo"]) for person in listed] == [("ada", False), ("Jürgen Groß", False)]
    partial = answered(fedfr("enrol", "door", "ben", "photos of 2", "photos of 3/0.png", "--aligned", "--json"))
    assert (partial["accepted"], partial["enrolled"]) == (6, True)
    (outlier,) = [photo for photo in partial["photos"] if not photo["accepted"]]
    assert (outlier["photo"], outlier["reasons"][0]["code"]) == ("photos of 3/0.png", "outlier")
    decision = answered(fedfr("identify", "door", "photos of 1/5.png", "--aligned", "--json"))
    assert (decision["decision"], decision["person"]) == ("accept", "Jürgen Groß")
    assert decision["strangers_passing"]["enrolled"] == 3
    (one,) = answered(fedfr("identify", "door", "photos of 1/5.png", "--aligned", "--all", "--json"))
    assert one == decision
    verified = answered(fedfr("verify", "door", "ADA", "photos of 0/5.png", "--aligned", "--json"))
    assert verified["person"] == "ada"
    assert answered(fedfr("calibrate", "door", "--json"))["identify"]["strangers"] == 40
    rejected = fedfr("identify", "door", "photos of 3/5.png", "--aligned", "--json")
    assert (rejected.code, json.loads(rejected.out)["person"]) == (1, None)
    again = fedfr("enrol", "door", "twin", "photos of 0/4.png", "--aligned", "--json")
    assert (again.code, json.loads(again.out)["similar"][0]["person"]) == (1, "ada")
    assert fedfr("enrol", "door", "twin", "photos of 0/4.png", "--aligned", "--allow-similar").code == 0
    assert answered(fedfr("gallery", "remove", "door", "twin", "--json"))["photos"] == 1
    save_tiny_model(place / "new.safetensors", seed=5)
    tiny_faces(40, 1, seed=7).save(place / "strangers")
    rebuilt = answered(
        fedfr("gallery", "rebuild", "door", "--model", "new.safetensors", "--strangers", "strangers", "--json")
    )
    assert (rebuilt["changed"], rebuilt["people"], rebuilt["needs_photo"]) == (True, 3, [])
    assert "has this model already" in fedfr("gallery", "rebuild", "door", "--model", "new.safetensors").out


def test_the_journal_is_checked_and_listed(fedfr: Fedfr, place: Path) -> None:
    assert fedfr("identify", "door", "photos of 3/5.png", "--aligned").code == 1
    listed = fedfr("gallery", "journal", "door", "--limit", "2")
    assert listed.code == 0
    assert "3 entries, the newest is number 3" in listed.out
    assert [line.split()[0] for line in listed.out.splitlines()[2:4]] == ["3", "2"]
    assert "ada" not in listed.out
    assert answered(fedfr("gallery", "show", "door", "--json"))["newest_entry"] == 3
    with contextlib.closing(sqlite3.connect(place / "door" / "gallery.db", isolation_level=None)) as database:
        database.execute("DELETE FROM journal WHERE number = 2")
    broken = fedfr("gallery", "journal", "door")
    assert (broken.code, broken.err) == (1, "")
    assert broken.out.splitlines()[-1] == "entry 2 of the journal was removed by another program"
    as_json = fedfr("gallery", "journal", "door", "--json")
    assert as_json.code == 1
    content = json.loads(as_json.out)
    assert (content["check"]["wrong"], content["check"]["newest"]) == (2, 3)
    assert [entry["number"] for entry in content["entries"]] == [1]
    shown = answered(fedfr("gallery", "show", "door", "--json"))["drift"]
    assert shown["level"] == "watch"
    assert "entry 2 of the journal was removed" in shown["text"]


def test_strangers_are_compared_with_the_faces_of_the_training(fedfr: Fedfr, place: Path) -> None:
    tiny_faces(40, 1, seed=7).save(place / "strangers")
    trained = tiny_faces(40, 1, seed=3)
    trained.renamed([f"other {number}" for number in range(40)], trained.names).save(place / "trained")
    options = ("--model", "model.safetensors", "--strangers", "strangers", "--quality", "off", "--fpir", "0.1")
    refused(fedfr("gallery", "init", "new", *options, "--trained-on", "strangers"))
    assert not (place / "new").exists()
    init = fedfr("gallery", "init", "new", *options, "--trained-on", "trained")
    assert "40 strangers, compared with 40 images on which the model was trained" in init.out
    assert "are no strangers to the model" in refused(fedfr("calibrate", "new", "--strangers", "trained"))
    assert "40 strangers, compared with 40 images" in fedfr("calibrate", "new", "--strangers", "strangers").out
    unknown = "not checked: on whom the model was trained is not known"
    assert f"40 strangers, {unknown}" in fedfr("calibrate", "door", "--strangers", "strangers").out
    save_tiny_model(place / "new.safetensors", seed=5)
    rebuild = ("gallery", "rebuild", "door", "--model", "new.safetensors", "--strangers", "strangers")
    assert "are no strangers to the model" in refused(fedfr(*rebuild, "--trained-on", "strangers"))
    assert f"strangers: {unknown}" in fedfr(*rebuild).out


def test_names_of_files_cannot_control_the_terminal(fedfr: Fedfr, place: Path) -> None:
    name = "a\x1b]0;title\x07\u202egpj.png"
    (place / "photos of 3" / name).write_bytes(b"no image")
    answer = fedfr("enrol", "door", "eve", "photos of 3", "--aligned")
    assert "photos of 3/a\\x1b]0;title\\x07\\u202egpj.png: unreadable" in answer.out
    assert all(sign.isprintable() for sign in (answer.out + answer.err).replace("\n", ""))


@pytest.mark.filterwarnings("default:.*contains slimface-small")
def test_the_preprocessing_of_plain_weights_is_given_or_named(fedfr: Fedfr, place: Path) -> None:
    """A file without a contract does not say how its input is scaled."""
    torch.save(build_backbone("slimface-small", 0).state_dict(), place / "weights.pth")
    tiny_faces(40, 1, seed=7).save(place / "strangers")
    options = ("--strangers", "strangers", "--quality", "off", "--fpir", "0.1")
    init = fedfr("gallery", "init", "plain", "--model", "weights.pth", *options)
    assert init.code == 0, init.err
    assert "fedfr: warning: weights.pth contains slimface-small" in init.err
    assert "(x − 127.5) / 127.5 – assumed from" in init.err
    scaled = fedfr("gallery", "init", "scaled", "--model", "weights.pth", "--colour", "BGR", "--std", "128", *options)
    assert "BGR; (x − 127.5) / 128 – colour, std as given, the rest assumed from" in scaled.err
    space, other = (answered(fedfr("gallery", "show", name, "--json"))["space"] for name in ("plain", "scaled"))
    assert space != other
    rebuilt = answered(fedfr("gallery", "rebuild", "plain", "--model", "weights.pth", "--colour", "BGR", "--std", "128",
        "--strangers", "strangers", "--json"))  # fmt: skip
    assert rebuilt["space"] == other
    with Recognizer.create(
        place / "python", model=place / "weights.pth", strangers=tiny_faces(40, 1, seed=7), quality="off", fpir=0.1,
        user_preprocessing=UserPreprocessing(colour="BGR", mean=127.5, std=128.0),
    ) as recognizer:  # fmt: skip
        assert recognizer.status().space == other
    assert "leave out --std" in refused(
        fedfr("gallery", "init", "new", "--model", "model.safetensors", "--std", "128", *options)
    )


def test_passphrases_come_from_files(fedfr: Fedfr, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encryption, "_COST", min(encryption._COSTS))
    for name, text in (
        ("one", "correct horse\nnotes"),
        ("two", "battery staple\r\n"),
        ("empty", "\n"),
        ("bad", "\xff"),
    ):
        (place / name).write_bytes(text.encode("latin-1"))
        assert "passphrase file" in refused(fedfr("gallery", "list", "door", "--passphrase-file", name))
        (place / name).chmod(0o600)
    (place / "two").chmod(0o640)
    assert "passphrase file two is readable by other users; chmod 600" in refused(
        fedfr("gallery", "rekey", "door", "--new-passphrase-file", "two")
    )
    (place / "two").chmod(0o600)
    assert "needs a terminal" in refused(fedfr("gallery", "export", "door", "copy"))
    assert answered(fedfr("gallery", "rekey", "door", "--new-passphrase-file", "one", "--json"))["passphrase"]
    assert "needs its passphrase, and there is no terminal; give --pass" in refused(fedfr("gallery", "list", "door"))
    assert "wrong passphrase" in refused(fedfr("gallery", "list", "door", "--passphrase-file", "two"))
    assert len(answered(fedfr("gallery", "list", "door", "--passphrase-file", "one", "--json"))) == 2
    given = ("--passphrase-file", "one", "--new-passphrase-file", "two")
    assert answered(fedfr("gallery", "export", "door", "copy", *given, "--json")) == {"gallery": "copy"}
    assert len(answered(fedfr("gallery", "list", "copy", "--passphrase-file", "two", "--json"))) == 2
    assert "already holds files" in refused(fedfr("gallery", "export", "door", "copy", *given))
    for name, message in (("empty", "is empty"), ("bad", "not UTF-8"), ("none", "cannot read")):
        assert message in refused(fedfr("gallery", "list", "door", "--passphrase-file", name))
    assert "needs a terminal" in refused(fedfr("gallery", "export", "door", "more", "--passphrase-file", "one"))
    assert not fedfr("gallery", "rekey", "door", "--passphrase-file", "one").err
    assert fedfr("gallery", "list", "door").code == 0


def test_a_missing_model_can_be_replaced(fedfr: Fedfr, place: Path) -> None:
    (file,) = (place / "door" / "models").iterdir()
    file.unlink()
    assert "rebuild the gallery" in refused(fedfr("identify", "door", "photos of 0/5.png", "--aligned"))
    assert fedfr("gallery", "remove", "door", "ada").code == 0
    save_tiny_model(place / "new.safetensors", seed=5)
    tiny_faces(40, 1, seed=7).save(place / "strangers")
    rebuilt = fedfr("gallery", "rebuild", "door", "--model", "new.safetensors", "--strangers", "strangers")
    assert rebuilt.code == 0, rebuilt.err
    assert fedfr("identify", "door", "photos of 1/5.png", "--aligned").code == 0


def test_a_backbone_of_another_package_is_imported_when_the_gallery_is_opened(place: Path) -> None:
    """In a process that has not imported it; its standard input is closed, and its locale is ASCII."""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "fedfr", "identify", "door", "photos of 1/5.png", "--aligned"]
    found = subprocess.run(command, cwd=place, env=environment, stdin=subprocess.DEVNULL, capture_output=True)
    assert (found.returncode, found.stderr) == (0, b"")
    assert "Jürgen Groß".encode("ascii", "backslashreplace") in found.stdout


def test_photos_that_cannot_be_judged_are_no_mistake(fedfr: Fedfr, place: Path) -> None:
    (place / "text.png").write_text("text", encoding="utf-8")
    assert cv2.imwrite(str(place / "small.png"), np.zeros((9, 9, 3), np.uint8))
    for name in ("text.png", "small.png"):
        answer = fedfr("identify", "door", name, "--aligned", "--json")
        assert answer.code == 1
        content: dict[str, Any] = json.loads(answer.out)
        assert (content["decision"], content["reasons"][0]["code"]) == ("no-decision", "unreadable")
    nothing = fedfr("enrol", "door", "ben", "text.png", "--aligned")
    assert nothing.code == 1
    assert "text.png: unreadable: " in nothing.out


def test_a_camera_that_cannot_be_reached_is_one_line(place: Path) -> None:
    """In a process of its own: FFmpeg's log level is set once in a process. This address is refused in two lines."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"rtmp://user:secret@127.0.0.1:{free.getsockname()[1]}/stream"
        command = [sys.executable, "-m", "fedfr", "watch", "door", "--camera", url]
        found = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stdout, len(found.stderr.splitlines())) == (2, "", 1), found.stderr
    assert found.stderr.startswith("fedfr: cannot open rtmp://…@127.0.0.1")


@pytest.mark.usefixtures("place")
def test_a_video_needs_a_detector(fedfr: Fedfr) -> None:
    writer = cv2.VideoWriter("video.avi", cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (112, 112))
    for _ in range(5):
        writer.write(np.zeros((112, 112, 3), np.uint8))
    writer.release()
    assert "there is no detector" in refused(fedfr("watch", "door", "--camera", "video.avi"))


def test_a_gallery_that_cannot_be_written_is_one_line(fedfr: Fedfr, place: Path) -> None:
    """Root may write everywhere, so the database is made read-only by its file system attributes where that works."""
    with Recognizer.open(place / "door") as recognizer:
        assert len(recognizer.persons()) == 2
    if os.geteuid() == 0:
        pytest.skip("root may write in read-only folders")
    (place / "door").chmod(0o500)
    assert "cannot write" in refused(fedfr("enrol", "door", "ben", "photos of 2", "--aligned"))
    (place / "door").chmod(0o700)
