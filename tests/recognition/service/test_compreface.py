"""The endpoints of CompreFace, as double-take and compreface-sdk call them."""

from __future__ import annotations

import base64
import uuid
from pathlib import Path

import numpy as np
import pytest
from tests.support.doors import Door, make_door
from tests.support.service_client import ServiceClient
from tests.support.service_doors import NAMES, Served, jpeg_form, png, served

from fedfr.recognition.service.app import create_app
from fedfr.recognition.service.tokens import Tokens

API = "/api/v1/recognition"


def test_faces_are_added_listed_recognized_and_deleted(door: Served) -> None:
    client = door.client
    first, second = (png(image) for image in door.door.photos(3, 0, 2))
    made = client.post(f"{API}/faces?subject=new", files=jpeg_form(first))
    assert made.status_code == 201, made.text
    assert made.json()["subject"] == "new"
    assert str(uuid.UUID(made.json()["image_id"])) == made.json()["image_id"]
    again = client.post(
        f"{API}/faces", params={"subject": "new"}, json={"file": base64.b64encode(second).decode()}
    ).json()
    faces = client.get(f"{API}/faces?subject=new&size=1&page=1").json()
    assert faces == {
        "faces": [again], "page_number": 1, "page_size": 1, "total_pages": 2, "total_elements": 2,
    }  # fmt: skip
    (result,) = client.post(
        f"{API}/recognize?limit=0&face_plugins=age&det_prob_threshold=0.8", files=jpeg_form(door.photo(3))
    ).json()["result"]
    assert result["subjects"][0]["subject"] == "new"
    assert 0.9 <= result["subjects"][0]["similarity"] <= 1
    assert result["box"].keys() == {"probability", "x_min", "y_min", "x_max", "y_max"}
    assert client("DELETE", f"{API}/faces/{again['image_id']}").json() == again
    assert client("DELETE", f"{API}/faces?subject=new").json() == {"deleted": 1}
    assert client.get(f"{API}/subjects/").json() == {"subjects": list(NAMES)}
    kinds = [entry["kind"] for entry in client.get("/v1/journal").json()["entries"]]
    assert kinds[:5] == ["remove", "remove", "identify", "enrol", "enrol"]


def test_strangers_are_unknown(door: Served) -> None:
    (result,) = door.client.post(f"{API}/recognize", files=jpeg_form(door.stranger())).json()["result"]
    assert result["subjects"] == [{"subject": "unknown", "similarity": 0.0}]
    image = door.client.get(f"{API}/faces?subject=ada").json()["faces"][0]["image_id"]
    (result,) = door.client.post(f"{API}/faces/{image}/verify", files=jpeg_form(door.stranger())).json()["result"]
    assert (result["subject"], result["similarity"]) == ("unknown", 0.0)
    (result,) = door.client.post(f"{API}/faces/{image}/verify", files=jpeg_form(door.photo(0))).json()["result"]
    assert (result["subject"], result["similarity"] >= 0.9) == ("ada", True)


def test_subjects(door: Served) -> None:
    client = door.client
    assert client.post(f"{API}/subjects", json={"subject": "new"}).json() == {"subject": "new"}
    assert client.post(f"{API}/subjects", json={"subject": "new"}).json()["code"] == 43
    assert client("PUT", f"{API}/subjects/new", json={"subject": "newer", "api_endpoint": "new"}).json() == {
        "updated": "true"
    }
    assert client("PUT", f"{API}/subjects/newer", json={"subject": "ada"}).json()["code"] == 43
    assert client.get(f"{API}/subjects").json() == {"subjects": [*NAMES, "newer"]}
    assert client("DELETE", f"{API}/subjects/newer").json() == {"subject": "newer"}
    assert client("DELETE", f"{API}/subjects/newer").json()["code"] == 42


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "code"),
    [
        ("POST", "recognize", None, 415, 21),
        ("POST", "recognize", {"file": "no base64"}, 400, 21),
        ("POST", "recognize", {"file": ""}, 400, 21),
        ("POST", "recognize", {}, 400, 34),
        ("POST", "recognize", [1], 400, 34),
        ("POST", "recognize?limit=-1", {"file": "AAAA"}, 400, 36),
        ("POST", "faces", {"file": "AAAA"}, 400, 33),
        ("POST", "faces?subject=Unknown", {"file": "AAAA"}, 400, 36),
        ("POST", "faces?subject=new", {"file": "AAAA"}, 400, 21),
        ("POST", "subjects", {"subject": " "}, 400, 33),
        ("POST", "subjects", {"subject": "unknown"}, 400, 36),
        ("DELETE", "faces/12", None, 404, 44),
        ("DELETE", "faces/00000000-0000-4000-8000-000000000001", None, 404, 44),
        ("DELETE", "faces", None, 400, 33),
        ("DELETE", "subjects", None, 405, 0),
        ("GET", "faces?page=x", None, 400, 36),
        ("GET", "embeddings", None, 404, 0),
    ],
)
def test_errors_have_the_form_that_clients_read(
    unchanged_door: Served, method: str, path: str, content: object, status: int, code: int
) -> None:
    answer = unchanged_door.client(method, f"{API}/{path}", **({} if content is None else {"json": content}))
    assert (answer.status_code, answer.json().keys()) == (status, {"message", "code"}), answer.text
    assert answer.json()["code"] == code


def test_a_key_is_a_token(enrolled_door: Door, tmp_path: Path) -> None:
    with served(enrolled_door, tmp_path / "door") as door:
        key = Tokens(door.door.folder).add("double-take", "admin")
        with ServiceClient(create_app(door.state)) as client:
            assert client.get(f"{API}/subjects").status_code == 401
            assert client.get(f"{API}/subjects", headers={"x-api-key": "0" * 36}).status_code == 401
            assert client.get(f"{API}/subjects", headers={"x-api-key": key}).json() == {"subjects": list(NAMES)}


def test_several_images_are_deleted(door: Served) -> None:
    ids = [face["image_id"] for face in door.client.get(f"{API}/faces?subject=ada").json()["faces"]]
    answer = door.client.post(f"{API}/faces/delete", json=[ids[0], "nothing", ids[1]])
    assert [face["image_id"] for face in answer.json()] == ids[:2]
    assert door.client.get(f"{API}/faces?subject=ada").json()["total_elements"] == 1
    assert door.client("DELETE", f"{API}/faces/{ids[2]}").status_code == 200
    assert door.client.get(f"{API}/subjects").json() == {"subjects": list(NAMES[1:])}


def test_an_image_without_a_face_has_the_code_28(models_dir: Path, tmp_path: Path) -> None:
    detector = models_dir / "face_detection_yunet_2023mar_int8bq.onnx"
    whole = make_door(tmp_path / "whole", detector=detector)
    with served(whole, tmp_path / "door") as door:
        blank = png(np.full((200, 300, 3), 90, np.uint8))
        for path in ("recognize", "faces?subject=new"):
            answer = door.client.post(f"{API}/{path}", files=jpeg_form(blank))
            assert (answer.status_code, answer.json()["code"]) == (400, 28), answer.text
        assert door.client.post("/v1/detect", files=jpeg_form(blank)).json()["faces"] == []
