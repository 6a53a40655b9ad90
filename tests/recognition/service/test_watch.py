"""Votes of the service over the frames of cameras: one decision and one entry in the journal for each visit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.doors import Door
from tests.support.service_client import ServiceClient
from tests.support.service_doors import NAMES, Served, jpeg_form, served

from fedfr.core.errors import FedfrError
from fedfr.recognition.decision import Decision
from fedfr.recognition.service.app import create_app
from fedfr.recognition.service.cameras import VOTES, WINDOW, Cameras
from fedfr.recognition.service.models import ErrorBody, Watched
from fedfr.recognition.service.tokens import Tokens

ADA = Decision("accept", person="ada", person_id="3f9a01c47be2", score=0.9, threshold=0.5, box=(0, 0, 9, 9))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


def watch(client: ServiceClient, photo: bytes, camera: str = "north") -> httpx.Response:
    return client.post("/v1/watch", files=jpeg_form(photo), data={"camera": camera})


def seen(client: ServiceClient, photo: bytes, camera: str = "north") -> dict[str, Any]:
    answer = watch(client, photo, camera)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    Watched.model_validate(content)
    return content


def entries(door: Served) -> list[tuple[str, str]]:
    found = door.client.get("/v1/journal?limit=9").json()["entries"]
    return [(entry["kind"], entry["outcome"]) for entry in found if entry["kind"] == "identify"]


def test_a_visit_has_one_decision_and_one_entry(door: Served) -> None:
    door.state.cameras = Cameras(clock := Clock())
    found = [seen(door.client, door.stranger()) for _ in range(6)]
    assert [content["new"] for content in found] == [False, False, True, False, False, False]
    assert [None if each["decision"] is None else each["decision"]["decision"] for each in found[1:4]] == [
        *(None, "reject", "reject")
    ]
    assert found[0]["reasons"] == [], "single frames reveal nothing before there is a decision"
    for _ in range(5):
        assert seen(door.client, door.photo(0))["decision"]["decision"] == "reject", "until the face is out of view"
    assert entries(door) == [("identify", "reject")]
    clock.now += WINDOW + 0.1
    own = [seen(door.client, door.photo(0, number)) for number in (3, 4, 5, 3)]
    assert [each["decision"] and each["decision"]["person"] for each in own] == [None, None, "ada", "ada"]
    assert entries(door) == [("identify", "accept"), ("identify", "reject")]
    passing = own[2]["decision"]["strangers_passing"]
    promised = door.client.get("/v1/calibration").json()["strangers_passing"]
    assert passing["images"] == 2 * VOTES - 1
    assert passing["upper95"] == pytest.approx(promised["upper95"] * 5 / 3)
    text = door.client.get("/metrics").text
    assert 'fedfr_decisions_total{operation="watch",outcome="accept"} 1\n' in text
    assert 'fedfr_decisions_total{operation="watch",outcome="reject"} 1\n' in text


def test_cameras_and_clients_do_not_share_votes(enrolled_door: Door, tmp_path: Path) -> None:
    with served(enrolled_door, tmp_path / "door") as door:
        tokens = [Tokens(door.door.folder).add(name, "door") for name in ("one", "two")]
        with (
            ServiceClient(create_app(door.state), tokens[0]) as one,
            ServiceClient(create_app(door.state), tokens[1]) as two,
        ):
            for client, camera in ((one, "north"), (one, "south"), (two, "north")):
                for _ in range(VOTES - 1):
                    assert seen(client, door.photo(0), camera)["decision"] is None
            content = seen(one, door.photo(0))
            assert content["decision"]["person"] == "ada"
            assert content["decision"]["score"] == round(content["decision"]["score"], 2)
            assert seen(two, door.stranger())["decision"] is None


def test_a_vote_is_one_attempt(enrolled_door: Door, tmp_path: Path) -> None:
    with served(enrolled_door, tmp_path / "door", rejects=3) as door:
        for camera in ("a", "b", "c"):
            for _ in range(9):
                seen(door.client, door.stranger(), camera)
        assert entries(door) == [("identify", "reject")] * 3
        seen(door.client, door.stranger(), "d")  # the fourth begins: given up votes count, too
        answer = watch(door.client, door.photo(0))
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "locked-out")


@pytest.mark.parametrize("camera", ["", "x" * 65, "a b", "ü", "../a"])
def test_other_names_of_cameras_are_refused(unchanged_door: Served, camera: str) -> None:
    answer = watch(unchanged_door.client, unchanged_door.photo(0), camera)
    assert answer.status_code == 422
    ErrorBody.model_validate(answer.json())
    assert not any(name in answer.text for name in NAMES)


def test_images_that_cannot_be_read_are_no_visit(door: Served) -> None:
    for _ in range(5):
        content = seen(door.client, b"no image")
        assert (content["decision"], content["box"]) == (None, None)
        assert [reason["code"] for reason in content["reasons"]] == ["unreadable"]
    assert entries(door) == []


def test_what_is_not_in_the_journal_does_not_stand() -> None:
    cameras, noted = Cameras(Clock()), list[Decision]()

    def full(_: Decision) -> None:
        raise FedfrError("the disk is full")

    for _ in range(VOTES - 1):
        assert cameras.add("client", "north", ADA, noted.append).outcome is None
    with pytest.raises(FedfrError, match="the disk is full"):
        cameras.add("client", "north", ADA, full)
    found = [cameras.add("client", "north", ADA, noted.append) for _ in range(VOTES)]
    assert [each.outcome is not None for each in found] == [False, False, True]
    assert len(noted) == 1


def test_few_cameras_are_remembered_and_no_client_takes_the_place_of_another() -> None:
    cameras = Cameras(Clock(), each=3, most=10)
    for _ in range(VOTES - 1):
        cameras.add("quiet", "north", ADA, repr)
    for number in range(50):
        cameras.add("busy", f"camera {number}", ADA, repr)
        cameras.add("busy", "camera 0", ADA, repr)
    assert len(cameras._cameras) == 4
    assert cameras.add("quiet", "north", ADA, repr).new
    for number in range(50):
        cameras.add(f"client {number}", "north", ADA, repr)
    assert len(cameras._cameras) == 10
