"""The interface ``/v1`` with a real recognizer, a random network and generated faces."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.support.doors import Door
from tests.support.service_client import ServiceClient, checked, error
from tests.support.service_doors import NAMES, Served, jpeg_form, png, served

from fedfr.recognition.calibration.drift import WINDOW
from fedfr.recognition.decision import Decision
from fedfr.recognition.service.app import create_app
from fedfr.recognition.service.gallery_models import (
    CalibrationBody,
    DriftBody,
    EnrolmentBody,
    GalleryBody,
    JournalBody,
    NewCalibration,
    PersonAnswer,
    Persons,
    RemovalBody,
)
from fedfr.recognition.service.models import DecisionBody, Decisions, Faces, Health
from fedfr.recognition.service.tokens import Tokens


def test_people_are_enrolled_recognized_and_deleted(door: Served) -> None:
    client = door.client
    checked(client.get("/v1/health"), Health)
    made = client.post(
        "/v1/persons", data={"name": "new"}, files=jpeg_form(*map(png, door.door.photos(3, 0, 3)), field="files")
    )
    checked(made, EnrolmentBody, 201)
    assert (made.json()["accepted"], made.json()["total"]) == (3, 3)
    own = checked(client.post("/v1/identify", files=jpeg_form(door.photo(3))), DecisionBody)
    assert (own["decision"], own["person"], own["person_id"]) == ("accept", "new", door.ids()["new"])
    assert own["score"] > own["threshold"]
    verified = client.post("/v1/verify", files=jpeg_form(door.photo(3)), data={"person": own["person_id"]})
    assert checked(verified, DecisionBody)["decision"] == "accept"
    assert checked(client.get(f"/v1/persons/{own['person_id']}"), PersonAnswer)["name"] == "new"
    added = client.post(f"/v1/persons/{own['person_id']}/photos", files=jpeg_form(door.photo(3), field="files"))
    assert checked(added, EnrolmentBody)["total"] == 4
    assert checked(client("DELETE", f"/v1/persons/{own['person_id']}"), RemovalBody)["photos"] == 4
    checked(client.get("/v1/persons"), Persons)
    assert error(client.get(f"/v1/persons/{own['person_id']}"), 404) == "unknown-person"
    assert set(door.ids()) == set(NAMES)


def test_a_person_whose_records_are_damaged_is_deleted_by_id(door: Served) -> None:
    ada = door.ids()["ada"]
    with closing(sqlite3.connect(door.door.folder / "gallery.db")) as database, database:
        database.execute("UPDATE persons SET key = zeroblob(60) WHERE id = ?", (ada,))
    content = checked(door.client("DELETE", f"/v1/persons/{ada}"), RemovalBody)
    assert (content["id"], content["calibrated"]) == (ada, True)
    assert door.ids().keys() == {"Zoë", "木村"}
    assert error(door.client("DELETE", f"/v1/persons/{ada}"), 404) == "unknown-person"


def test_a_stranger_gets_no_name(door: Served) -> None:
    answer = door.client.post("/v1/identify", files=jpeg_form(door.stranger()))
    content = checked(answer, DecisionBody)
    assert (content["decision"], content["person"], content["person_id"]) == ("reject", None, None)
    assert [reason["code"] for reason in content["reasons"]] == ["below-threshold"]
    assert not any(name in answer.text for name in NAMES)
    every = door.client.post("/v1/identify", files=jpeg_form(door.stranger()), data={"all": "true"})
    assert [each["decision"] for each in checked(every, Decisions)["decisions"]] == ["reject"]


def test_a_file_that_is_no_image_is_no_decision(door: Served) -> None:
    content = checked(door.client.post("/v1/identify", files=jpeg_form(b"no image")), DecisionBody)
    assert (content["decision"], content["reasons"][0]["code"]) == ("no-decision", "unreadable")
    assert error(door.client.post("/v1/detect", files=jpeg_form(b"no image")), 422) == "unreadable"
    faces = checked(door.client.post("/v1/detect", files=jpeg_form(door.stranger())), Faces)["faces"]
    assert [face["reasons"] for face in faces] == [[]]


@pytest.mark.parametrize(
    ("path", "data", "files", "status", "code"),
    [
        ("identify", {}, [], 422, "missing-file"),
        ("identify", {}, ["file", "file"], 422, "too-many-files"),
        ("identify", {"al": "true"}, ["file"], 422, "unknown-field"),
        ("identify", {"all": "yes"}, ["file"], 422, "invalid"),
        ("identify", {}, ["image"], 422, "unknown-field"),
        ("verify", {}, ["file"], 422, "missing-field"),
        ("verify", {"person": "nobody"}, ["file"], 404, "unknown-person"),
        ("persons", {}, ["files"], 422, "missing-field"),
        ("persons", {"name": "ada"}, ["files"], 409, "person-exists"),
        ("persons", {"name": "ＡＤＡ"}, ["files"], 409, "person-exists"),
        ("persons", {"name": " Unknown "}, ["files"], 422, "reserved-name"),
        ("persons", {"name": "a\x00b"}, ["files"], 409, "refused"),
        ("persons", {"name": "x" * 500}, ["files"], 409, "refused"),
        ("persons/000000000000/photos", {}, ["files"], 404, "unknown-person"),
        ("detect", {"file": "text"}, [], 422, "unknown-field"),
    ],
)
def test_wrong_requests_are_refused(
    unchanged_door: Served, path: str, data: dict[str, str], files: list[str], status: int, code: str
) -> None:
    door = unchanged_door
    forms = [(field, ("a.png", door.photo(4), "image/png")) for field in files]
    if forms:
        answer = door.client.post(f"/v1/{path}", data=data, files=forms)
    else:  # httpx sends a form without files as another type
        parts = [f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{data[name]}\r\n' for name in data]
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = door.client.post(f"/v1/{path}", content="".join([*parts, "--x--\r\n"]).encode(), headers=kind)
    assert error(answer, status) == code
    assert str(door.door.folder) not in answer.text
    assert set(door.ids()) == set(NAMES)


def test_nothing_usable_and_similar_people_are_not_enrolled(door: Served) -> None:
    client = door.client
    answer = client.post("/v1/persons", data={"name": "new"}, files=jpeg_form(b"1", b"2", field="files"))
    assert error(answer, 422) == "no-photo-accepted"
    reasons = [photo["reasons"][0]["code"] for photo in answer.json()["error"]["details"]["photos"]]
    assert reasons == ["unreadable", "unreadable"]
    files = jpeg_form(door.photo(0, 3), door.photo(0, 4), field="files")
    answer = client.post("/v1/persons", data={"name": "double"}, files=files)
    assert error(answer, 409) == "similar-person"
    assert answer.json()["error"]["details"]["similar"][0]["person"] == "ada"
    assert client.post("/v1/persons", data={"name": "double", "allow_similar": "true"}, files=files).status_code == 201


def test_the_scope_door_gets_rounded_scores_and_no_people(enrolled_door: Door, tmp_path: Path) -> None:
    with served(enrolled_door, tmp_path / "door") as door:
        token, owner = (Tokens(door.door.folder).add(scope, scope) for scope in ("door", "admin"))
        with (
            ServiceClient(create_app(door.state), token) as camera,
            ServiceClient(create_app(door.state), owner) as admin,
        ):
            content = checked(camera.post("/v1/identify", files=jpeg_form(door.photo(0))), DecisionBody)
            exact = checked(admin.post("/v1/identify", files=jpeg_form(door.photo(0))), DecisionBody)
            assert content["decision"] == "accept"
            assert content["score"] == round(exact["score"], 2) != exact["score"]
            assert content["llr"] == round(content["llr"])
            assert "verify" in checked(admin.get("/v1/calibration"), CalibrationBody)
            checked(admin.get("/v1/gallery"), GalleryBody)
            checked(camera.get("/v1/calibration"), CalibrationBody)
            assert checked(camera.get("/v1/gallery"), GalleryBody)["scope"] == "door"
            assert (camera.get("/v1/gallery").json()["scope"], admin.get("/v1/gallery").json()["scope"]) == (
                "door",
                "admin",
            )
            for path in ("/v1/calibration", "/v1/gallery", "/metrics"):
                answer = camera.get(path)
                assert answer.status_code == 200
                assert not any(word in answer.text for word in (*NAMES, *door_ids(admin)))
            for method, path in (
                ("GET", "/v1/persons"), ("POST", "/v1/persons"), ("DELETE", "/v1/persons/000000000000"),
                ("POST", "/v1/calibration"), ("POST", "/v1/rebuild"), ("GET", "/v1/journal"), ("GET", "/v1/drift"),
                ("GET", "/api/v1/recognition/subjects"), ("DELETE", "/api/v1/recognition/faces?subject=ada"),
            ):  # fmt: skip
                assert camera(method, path).status_code == 403, path


def test_everybody_sees_that_the_calibration_no_longer_fits(enrolled_door: Door, tmp_path: Path) -> None:
    """Without figures for the scope door; a calibration that is computed anew is not blamed."""
    with served(enrolled_door, tmp_path / "door") as door, door.door.open() as recognizer:
        token, owner = (Tokens(door.door.folder).add(scope, scope) for scope in ("door", "admin"))
        with (
            ServiceClient(create_app(door.state), token) as camera,
            ServiceClient(create_app(door.state), owner) as admin,
        ):
            assert checked(camera.get("/v1/gallery"), GalleryBody)["drift"] == "ok"
            calibration = recognizer.calibration()
            assert calibration is not None
            strange = Decision("reject", score=-0.9, threshold=0.5, calibration=calibration.id)
            while recognizer.journal(1)[0].number < 2 * WINDOW:
                recognizer.note(strange)
            answer = camera.get("/v1/gallery")
            assert checked(answer, GalleryBody)["drift"] == "recalibrate"
            assert "-0.9" not in answer.text
            report = checked(admin.get("/v1/drift"), DriftBody)
            assert "median -0.90" in report["text"]
            assert checked(admin.post("/v1/calibration", json={"fpir": 0.2}), NewCalibration)
            assert checked(camera.get("/v1/gallery"), GalleryBody)["drift"] == "ok"


def door_ids(admin: ServiceClient) -> list[str]:
    return [each["id"] for each in admin.get("/v1/persons").json()["persons"]]


def test_calibration_and_journal(door: Served) -> None:
    client = door.client
    assert client.get("/v1/calibration").json()["fpir"] == 0.1
    answer = client.post("/v1/calibration", json={"fpir": 0.001})
    assert error(answer, 409) == "refused"
    assert "the best rate they prove is 0.0722" in answer.text
    assert checked(client.post("/v1/calibration", json={"fpir": 0.2}), NewCalibration)["calibration"]["fpir"] == 0.2
    client.post("/v1/identify", files=jpeg_form(door.photo(0)))
    answer = client.get("/v1/journal?limit=2")
    first, second = checked(answer, JournalBody)["entries"]
    assert checked(client.get("/v1/drift"), DriftBody)["level"] == "ok"
    assert (first["kind"], first["outcome"], second["kind"]) == ("identify", "accept", "calibrate")
    assert not any(word in answer.text for word in (*NAMES, *door.ids().values()))
    newest = first["number"]
    assert answer.json()["check"] == {
        "entries": newest,
        "newest": newest,
        "wrong": None,
        "reason": "",
        "text": f"the journal is whole: {newest} entries, the newest is number {newest}",
    }
    assert checked(client.get("/v1/gallery"), GalleryBody)["newest_entry"] == newest
    with closing(sqlite3.connect(door.door.folder / "gallery.db")) as database, database:
        database.execute("DELETE FROM journal WHERE number = ?", (newest,))
    broken = checked(client.get("/v1/journal?limit=1"), JournalBody)
    assert (broken["check"]["wrong"], broken["entries"][0]["number"]) == (newest, newest - 1)
    assert checked(client.get("/v1/drift"), DriftBody)["level"] == "watch"
    checked(client.get("/v1/gallery"), GalleryBody)


def test_a_door_does_not_learn_who_is_enrolled(enrolled_door: Door, tmp_path: Path) -> None:
    """Somebody unknown is rejected like a face that is not the person's, and the attempt counts."""
    api = "/api/v1/recognition/faces"
    with served(enrolled_door, tmp_path / "door", rejects=9) as door:
        image = door.client.get(f"{api}?subject=ada").json()["faces"][0]["image_id"]
        with door.door.open() as recognizer:
            waiting = recognizer.add_person("no photo yet").id
        token = Tokens(door.door.folder).add("camera", "door")
        with ServiceClient(create_app(door.state), token) as camera:

            def told(person: str, photo: bytes) -> dict[str, Any]:
                content = checked(
                    camera.post("/v1/verify", files=jpeg_form(photo), data={"person": person}), DecisionBody
                )
                return {name: value for name, value in content.items() if name != "request_id"}

            assert told("ada", door.photo(0))["decision"] == "accept"
            known = told("ada", door.stranger())
            assert (known["decision"], known["score"], known["threshold"]) == ("reject", None, None)
            for person in ("nobody", "000000000000", waiting, "no photo yet", "x" * 80):
                assert told(person, door.stranger()) == known
            assert told("nobody", b"no image") == told("ada", b"no image")
            other = "0" * 8 + image[8:]
            same = [
                camera.post(f"{api}/{each}/verify", files=jpeg_form(door.stranger())).json() for each in (image, other)
            ]
            assert same[0] == same[1]
            # Eight rejections are counted by now: six of names and two of images.
            assert told("nobody", door.photo(0))["decision"] == "reject"
            assert told("nobody", door.photo(0)) == known
            answer = camera.post("/v1/verify", files=jpeg_form(door.photo(0)), data={"person": "ada"})
            assert error(answer, 429) == "locked-out"
        entries = door.state.ready().journal(None)
        assert sum(entry.kind == "verify" for entry in entries) == 13


def test_score_probing_is_locked_out_and_counted(enrolled_door: Door, tmp_path: Path) -> None:
    with served(enrolled_door, tmp_path / "door", rejects=3) as door:
        for _ in range(4):
            assert door.client.post("/v1/identify", files=jpeg_form(door.stranger())).status_code == 200
        for path, data in (("identify", {}), ("verify", {"person": "ada"})):
            answer = door.client.post(f"/v1/{path}", files=jpeg_form(door.photo(0)), data=data)
            assert error(answer, 429) == "locked-out"
            assert int(answer.headers["retry-after"]) in {30, 31}
        answer = door.client.post("/api/v1/recognition/recognize", files=jpeg_form(door.photo(0)))
        assert (answer.status_code, answer.json()["code"]) == (429, 0)
        assert "fedfr_lockouts_total 3" in door.client.get("/metrics").text
