"""Random requests to every route of a real gallery: answered or refused in the documented form, and nothing grows."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.doors import Door
from tests.support.fuzz.mutator import TOKENS, Mutator
from tests.support.service_doors import NAMES, Served, jpeg_form, served

from fedfr.recognition.service.models import ErrorBody

API = "/api/v1/recognition"
NASTY = ["", " ", "..", "%00", "a/b", "\x00", "\ud7ff", "９", "1" * 400, "unknown", "ada", "'; DROP TABLE persons;--"]

BODIES = [b"", b"{}", b"[]", b"\xff", b'{"fpir": 3}']


def check(door: Served, method: str, path: str, **given: object) -> int:
    """Status of a request, which is never an internal error, and whose error has the form of its interface."""
    answer = door.client(method, path, **given)
    assert answer.status_code < 500 or answer.status_code == 503, answer.text
    if answer.status_code >= 400:
        content = answer.json()
        if path.startswith("/api/"):
            assert content.keys() == {"message", "code"}
            message = content["message"]
        else:
            ErrorBody.model_validate(content)
            message = content["error"]["message"]
        assert message.isprintable()
        assert "Traceback" not in answer.text
        assert str(door.door.folder) not in answer.text
    return answer.status_code


def test_damaged_images(door: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in door.door.folder.iterdir())
    whole, mutator = door.photo(0), Mutator(9)
    others = [whole, b"\xff\xd8\xff\xe0" + whole, b"RIFF\x00\x01\x00\x00WEBPVP8 " + whole, b"GIF89a" + whole, b""]
    seen = set()
    for number in range(90):
        photo = mutator.raw(whole, others) if number % 3 else mutator.random.choice(others)
        seen.add(check(door, "POST", "/v1/identify", files=jpeg_form(photo)))
        seen.add(check(door, "POST", "/v1/detect", files=jpeg_form(photo)))
        if number % 5 == 0:
            seen.add(
                check(door, "POST", "/v1/persons", data={"name": f"n{number}"}, files=jpeg_form(photo, field="files"))
            )
            body = {"file": base64.b64encode(photo).decode()[: mutator.random.randrange(9000)]}
            seen.add(check(door, "POST", f"{API}/recognize", json=body))
    assert seen <= {200, 201, 400, 409, 422}
    assert sorted(path.name for path in door.door.folder.iterdir()) == before
    assert door.state.budget.used == door.state.workers.active == 0
    assert door.client.post("/v1/identify", files=jpeg_form(whole)).json()["decision"] in {"accept", "no-decision"}


def test_damaged_json_and_paths(door: Served) -> None:
    mutator = Mutator(4)
    bodies = [b'{"fpir": 0.1}', b'{"subject": "ada"}', b'["a", "b"]', b'{"file": "AAAA"}']
    routes = [
        ("POST", "/v1/calibration"), ("POST", "/v1/rebuild"), ("POST", f"{API}/subjects"),
        ("POST", f"{API}/faces/delete"), ("POST", f"{API}/recognize"), ("POST", f"{API}/faces?subject=new"),
        ("PUT", f"{API}/subjects/ada"),
    ]  # fmt: skip
    for number in range(200):
        method, path = routes[number % len(routes)]
        body = mutator.either(mutator.random.choice(bodies), bodies)
        kind = mutator.random.choice(["application/json", "application/json; charset=x", "text/plain", ""])
        check(door, method, path, content=body, headers={"Content-Type": kind})
    for text in [*NASTY, *(token[:200].decode("latin-1") for token in TOKENS)]:
        name = quote(text, safe="")
        for method, path in (
            ("GET", f"/v1/persons/{name}"), ("DELETE", f"/v1/persons/{name}"), ("GET", f"/v1/journal?limit={name}"),
            ("GET", f"/v1/gallery?{name}"), ("GET", f"/page/{name}"), ("GET", f"/v1/{name}"),
            ("DELETE", f"{API}/faces/{name}"), ("GET", f"{API}/faces?page={name}&size={name}&subject={name}"),
            ("GET", f"/{name}"),
        ):  # fmt: skip
            check(door, method, path)


TEXTS = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
PATHS = st.sampled_from(["identify", "verify", "persons"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(TEXTS.filter(bool), TEXTS, max_size=4),
    st.lists(TEXTS, max_size=3),
    PATHS,
)
def test_forms_with_any_fields(unchanged_door: Served, data: dict[str, str], fields: list[str], path: str) -> None:
    forms = [(field, ("x", b"no image", "image/png")) for field in ["file", *fields]]
    check(unchanged_door, "POST", f"/v1/{path}", data=data, files=forms)


def test_every_described_route_takes_random_values(enrolled_door: Door, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    with served(enrolled_door, tmp_path / "door") as door:
        description = door.client.get("/v1/openapi.json").json()
        for path, methods in description["paths"].items():
            for method in [*methods, "put", "patch", "delete"]:
                for _ in range(4):
                    filled = path.replace("{person_id}", quote(str(random.choice(NASTY)), safe=""))
                    body = BODIES[random.integers(len(BODIES))]
                    kind = random.choice(["application/json", "multipart/form-data; boundary=x", "text/html"])
                    check(door, method.upper(), filled, content=body, headers={"Content-Type": str(kind)})
        assert set(door.ids()) == set(NAMES)
